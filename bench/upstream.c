/* A provider that answers at once: OpenAI's and Anthropic's formats, one thread, epoll.
 *
 *   cc -O2 -o upstream bench/upstream.c && ./upstream PORT
 *
 * The path says how to behave, so that one server serves every case: /d50-n100-i50/v1/… waits 50 ms before
 * it answers, and streams 100 pieces 50 ms apart. Each piece of text carries the time at which it was sent,
 * "t=SECONDS.MICROS ", from which the load generator takes its lag. GET /stats tells how many calls were
 * answered in full, how many were broken off, and how many were open at once.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 16, ROOM = 1 << 16, SLOTS = 1 << 17 };
enum { READING, WAITING, STREAMING };

typedef struct Call {
  struct Call *next; /* in its slot of the wheel */
  double due;
  int fd, state, dead, anthropic, stream, usage;
  int delay_ms, pieces, gap_ms, sent;
  int in_len, out_len, out_at;
  char in[ROOM], out[ROOM];
} Call;

static Call *calls[MOST], *wheel[SLOTS]; /* the wheel has a slot for each millisecond */
static long answered, broken, open_now, open_most;
static long wheel_at;
static int poller;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void later(Call *c, double due) {
  long slot = (long)(due * 1e3);
  if (slot <= wheel_at) slot = wheel_at + 1;
  c->due = due;
  c->next = wheel[slot % SLOTS];
  wheel[slot % SLOTS] = c;
}

static void drop(Call *c) { /* a call that waits in the wheel is freed when its turn comes */
  if (c->dead) return;
  close(c->fd);
  calls[c->fd] = NULL;
  c->dead = 1;
  if (c->state == READING) free(c);
  else broken++, open_now--;
}

static void drop_now(Call *c) { /* one that is not in the wheel */
  int waits = c->state != READING;
  drop(c);
  if (waits) free(c);
}

static int flush(Call *c) {
  while (c->out_at < c->out_len) {
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) {
      struct epoll_event e = {EPOLLIN | EPOLLOUT, {.fd = c->fd}};
      epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
      return 0;
    }
    if (n < 0) return -1;
    c->out_at += n;
  }
  c->out_at = c->out_len = 0;
  return 0;
}

static void put(Call *c, const char *text, int n) {
  if (c->out_len + n > ROOM) { fprintf(stderr, "a client reads too slowly\n"); exit(1); }
  memcpy(c->out + c->out_len, text, n);
  c->out_len += n;
}

static void put_chunk(Call *c, const char *text, int n) {
  char size[16];
  put(c, size, sprintf(size, "%x\r\n", n));
  put(c, text, n);
  put(c, "\r\n", 2);
}

static int piece(Call *c, char *b) {
  if (c->anthropic)
    return sprintf(b, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
                      "\"delta\":{\"type\":\"text_delta\",\"text\":\"t=%.6f \"}}\n\n", now());
  return sprintf(b, "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":%ld,"
                    "\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\"t=%.6f \"},"
                    "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                 (long)now(), c->sent ? "" : "\"role\":\"assistant\",", now());
}

static int last_pieces(Call *c, char *b) {
  if (c->anthropic)
    return sprintf(b, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
                      "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
                      "\"stop_sequence\":null},\"usage\":{\"output_tokens\":20}}\n\n"
                      "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
  int n = sprintf(b, "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":%ld,"
                     "\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", (long)now());
  if (c->usage)
    n += sprintf(b + n, "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":%ld,"
                        "\"model\":\"bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":20,"
                        "\"total_tokens\":30}}\n\n", (long)now());
  return n + sprintf(b + n, "data: [DONE]\n\n");
}

static void finished(Call *c) { c->state = READING; answered++; open_now--; }

static int step(Call *c) { /* the next piece of a stream */
  char b[2048];
  if (c->sent < c->pieces) {
    put_chunk(c, b, piece(c, b));
    c->sent++;
    if (flush(c)) return -1;
    later(c, c->sent == c->pieces ? now() : c->due + c->gap_ms / 1e3); /* a fixed rate, without drift */
    return 0;
  }
  put_chunk(c, b, last_pieces(c, b));
  put(c, "0\r\n\r\n", 5);
  finished(c);
  return flush(c);
}

static int whole(Call *c) {
  char b[1024], head[128];
  int n = c->anthropic
    ? sprintf(b, "{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench\",\"content\":"
                 "[{\"type\":\"text\",\"text\":\"Hello from the benchmark's upstream.\"}],\"stop_reason\":\"end_turn\","
                 "\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,\"output_tokens\":20}}")
    : sprintf(b, "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":%ld,\"model\":\"bench\",\"choices\":"
                 "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello from the benchmark's upstream.\"},"
                 "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":10,"
                 "\"completion_tokens\":20,\"total_tokens\":30}}", (long)now());
  put(c, head, sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", n));
  put(c, b, n);
  finished(c);
  return flush(c);
}

static int begin(Call *c) {
  static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  static const char start[] =
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_bench\",\"type\":\"message\","
    "\"role\":\"assistant\",\"model\":\"bench\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,"
    "\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: "
    "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
  if (!c->stream) return whole(c);
  c->state = STREAMING;
  put(c, head, sizeof head - 1);
  if (c->anthropic) put_chunk(c, start, sizeof start - 1);
  return step(c);
}

static int says_yes(const char *body, const char *name) {
  const char *p = strstr(body, name);
  if (!p) return 0;
  for (p += strlen(name); *p == ' ' || *p == ':' || *p == '"'; p++);
  return !strncmp(p, "true", 4);
}

static int number(const char *path, char letter, int otherwise) { /* of /d50-n100-i50/ */
  for (const char *p = path; *p && (p == path || *p != '/'); p++)
    if (*p == letter && (p[-1] == '/' || p[-1] == '-') && p[1] >= '0' && p[1] <= '9') return atoi(p + 1);
  return otherwise;
}

static int stats(Call *c) {
  char b[256], body[128];
  int n = sprintf(body, "{\"answered\":%ld,\"broken\":%ld,\"open\":%ld,\"open_most\":%ld}\n", answered, broken, open_now, open_most);
  put(c, b, sprintf(b, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, body));
  return flush(c);
}

static int serve(Call *c) { /* the requests that are complete; -1: the connection is broken */
  while (c->state == READING && c->in_len) {
    c->in[c->in_len] = 0;
    char *end = strstr(c->in, "\r\n\r\n"), *length;
    if (!end) return 0;
    *end = 0;
    length = strcasestr(c->in, "\r\ncontent-length:");
    if (!length && strcasestr(c->in, "\r\ntransfer-encoding:")) return -1; /* no client of ours does */
    int total = (int)(end + 4 - c->in) + (length ? atoi(length + 17) : 0);
    if (c->in_len < total) { *end = '\r'; return total >= ROOM ? -1 : 0; }
    char kept = c->in[total], *path = strchr(c->in, ' '), *body = end + 4;
    c->in[total] = 0;
    if (!path) return -1;
    path++;
    path[strcspn(path, " ?\r")] = 0;
    c->delay_ms = number(path, 'd', 0), c->pieces = number(path, 'n', 100), c->gap_ms = number(path, 'i', 50);
    c->anthropic = strstr(path, "/messages") != NULL, c->sent = 0;
    c->stream = says_yes(body, "\"stream\""), c->usage = says_yes(body, "\"include_usage\"");
    int failed;
    if (!strcmp(path, "/stats")) failed = stats(c);
    else {
      if (++open_now > open_most) open_most = open_now;
      c->state = WAITING, c->due = now();
      failed = c->delay_ms ? (later(c, c->due + c->delay_ms / 1e3), 0) : begin(c);
    }
    if (failed) return -1;
    c->in[total] = kept;
    memmove(c->in, c->in + total, c->in_len - total);
    c->in_len -= total;
  }
  return 0;
}

static void turn(void) { /* everything whose time has come */
  long until = (long)(now() * 1e3);
  while (wheel_at < until) {
    Call *c = wheel[++wheel_at % SLOTS], *next;
    wheel[wheel_at % SLOTS] = NULL;
    for (; c; c = next) {
      next = c->next;
      if (c->dead) { free(c); continue; }
      if ((c->state == WAITING ? begin(c) : step(c)) || (c->state == READING && serve(c))) drop_now(c);
    }
  }
}

int main(int argc, char **argv) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  struct rlimit files = {MOST - 1, MOST - 1};
  struct sockaddr_in address = {AF_INET, htons(argc > 1 ? atoi(argv[1]) : 9100), {htonl(INADDR_LOOPBACK)}, {0}};
  struct epoll_event e = {EPOLLIN, {.fd = listener}}, events[512];
  setrlimit(RLIMIT_NOFILE, &files);
  signal(SIGPIPE, SIG_IGN);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) { perror("upstream"); return 1; }
  poller = epoll_create1(0);
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
  wheel_at = (long)(now() * 1e3);
  for (;;) {
    int n = epoll_wait(poller, events, 512, open_now ? 1 : 100);
    for (int k = 0; k < n; k++) {
      int fd = events[k].data.fd;
      if (fd == listener) {
        while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
          setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          calls[fd] = calloc(1, sizeof(Call));
          calls[fd]->fd = fd;
          struct epoll_event added = {EPOLLIN, {.fd = fd}};
          epoll_ctl(poller, EPOLL_CTL_ADD, fd, &added);
        }
        continue;
      }
      Call *c = calls[fd];
      if (!c) continue;
      if (events[k].events & EPOLLOUT) {
        struct epoll_event only_in = {EPOLLIN, {.fd = fd}};
        epoll_ctl(poller, EPOLL_CTL_MOD, fd, &only_in);
        if (flush(c)) { drop(c); continue; }
      }
      if (!(events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
      ssize_t got = recv(fd, c->in + c->in_len, ROOM - 1 - c->in_len, 0);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) { drop(c); continue; }
      c->in_len += got;
      if (serve(c)) drop_now(c);
    }
    turn();
  }
}
