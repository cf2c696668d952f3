/* Many streams at once against a server that speaks OpenAI's or Anthropic's format; one thread, epoll.
 *
 *   cc -O2 -o streams bench/streams.c
 *   ./streams PORT PATH STREAMS MODEL KEY PIECES [HEADER …]
 *
 * The streams start over two seconds and each is read to its end mark, or for 20 seconds in all. The lag of a
 * piece is the time from "t=SECONDS.MICROS ", which upstream.c wrote into it, until it is read here: both on
 * one clock. Prints one line of JSON; times in milliseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { RAMP_MS = 2000, LIMIT_S = 20, TAIL = 64, BLOCK = 1 << 16 };

typedef struct {
  int fd, asked, pieces, kept;
  double begun, first;
  char tail[TAIL]; /* the end of the last block: marks may lie across two */
} Stream;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double share(double *sorted, long n, double part) { return n ? sorted[(long)(part * (n - 1))] : -1; }

static double *lags;
static long n_lags, most_lags, wrong_status;

/* What one block holds: 1 the stream's end, 0 more to come, -1 an answer that is no stream. */
static int look(Stream *s, char *block, int length, const char *end_mark) {
  double t = now();
  block[length] = 0;
  if (!s->pieces && !s->kept && strncmp(block, "HTTP/1.1 200", 12)) { wrong_status++; return -1; }
  char *at = block, *mark;
  while ((mark = strstr(at, "t=1")) && mark + 19 <= block + length) {
    if (!s->pieces++) s->first = t;
    if (n_lags < most_lags) lags[n_lags++] = (t - atof(mark + 2)) * 1e3;
    at = mark + 19;
  }
  if (strstr(at, end_mark)) return 1;
  s->kept = (int)(block + length - at) < TAIL / 2 ? (int)(block + length - at) : TAIL / 2;
  memcpy(s->tail, block + length - s->kept, s->kept);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 7) { fprintf(stderr, "usage: streams PORT PATH STREAMS MODEL KEY PIECES [HEADER …]\n"); return 2; }
  const char *path = argv[2], *model = argv[4], *key = argv[5];
  int port = atoi(argv[1]), wanted = atoi(argv[3]), pieces = atoi(argv[6]);
  int anthropic = strstr(path, "/messages") != NULL;
  const char *end_mark = anthropic ? "\"message_stop\"" : "[DONE]";
  static char block[BLOCK + TAIL + 1], request[8192], body[1024], headers[2048];
  for (int k = 7; k < argc; k++) strcat(strcat(headers, argv[k]), "\r\n");
  sprintf(body, "{\"model\":\"%s\",\"stream\":true,%s\"max_tokens\":100,\"messages\":[{\"role\":\"user\",\"content\":"
                "\"Say hello to the benchmark, please.\"}]}", model,
          anthropic ? "" : "\"stream_options\":{\"include_usage\":true},");
  int length = sprintf(request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                                "Authorization: Bearer %s\r\n%s%sContent-Length: %zu\r\n\r\n%s", path, port, key,
                       anthropic ? "anthropic-version: 2023-06-01\r\n" : "", headers, strlen(body), body);
  struct rlimit files = {60000, 60000};
  setrlimit(RLIMIT_NOFILE, &files);
  Stream *streams = calloc(wanted, sizeof *streams);
  most_lags = (long)wanted * (pieces + 8);
  lags = malloc(sizeof *lags * most_lags);
  struct sockaddr_in address = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
  struct epoll_event events[512];
  int poller = epoll_create1(0), begun = 0, open = 0, done = 0, failed = 0;
  double start = now(), last = start;
  while ((begun < wanted || open) && now() - start < LIMIT_S) {
    while (begun < wanted && (now() - start) * 1e3 >= (double)begun * RAMP_MS / wanted) {
      Stream *s = &streams[begun];
      int one = 1;
      s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      s->begun = now();
      connect(s->fd, (void *)&address, sizeof address);
      struct epoll_event e = {EPOLLIN | EPOLLOUT, {.u32 = begun++}};
      epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &e);
      open++;
    }
    int n = epoll_wait(poller, events, 512, begun < wanted ? 1 : 50);
    for (int k = 0; k < n; k++) {
      Stream *s = &streams[events[k].data.u32];
      int verdict = 0;
      if (!s->asked && events[k].events & EPOLLOUT) {
        struct epoll_event e = {EPOLLIN, {.u32 = events[k].data.u32}};
        s->asked = send(s->fd, request, length, MSG_NOSIGNAL) == length;
        epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &e);
        if (!s->asked) verdict = -1;
      }
      if (!verdict && events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        memcpy(block, s->tail, s->kept);
        ssize_t got = recv(s->fd, block + s->kept, BLOCK, 0);
        if (got < 0 && errno == EAGAIN) continue;
        verdict = got <= 0 ? -1 : look(s, block, s->kept + (int)got, end_mark);
        last = now();
      }
      if (!verdict) continue;
      if (verdict > 0 && s->pieces == pieces) done++;
      else failed++;
      close(s->fd);
      open--;
    }
  }
  double *firsts = malloc(sizeof *firsts * wanted);
  long n_firsts = 0;
  for (int k = 0; k < begun; k++)
    if (streams[k].pieces) firsts[n_firsts++] = (streams[k].first - streams[k].begun) * 1e3;
  qsort(firsts, n_firsts, sizeof *firsts, by_size);
  qsort(lags, n_lags, sizeof *lags, by_size);
  printf("{\"done\":%d,\"failed\":%d,\"unfinished\":%d,\"wrong_status\":%ld,\"pieces\":%ld,\"pieces_per_s\":%.0f,"
         "\"first_p50\":%.2f,\"first_p99\":%.2f,\"lag_p50\":%.3f,\"lag_p99\":%.2f,\"lag_max\":%.2f}\n",
         done, failed, wanted - done - failed, wrong_status, n_lags, last > start ? n_lags / (last - start) : 0,
         share(firsts, n_firsts, .5), share(firsts, n_firsts, .99), share(lags, n_lags, .5),
         share(lags, n_lags, .99), share(lags, n_lags, 1));
  return 0;
}
