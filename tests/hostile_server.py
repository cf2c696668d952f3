"""The hostile upstream's process: one thread for each connection, plain sockets, nothing polite.

See hostile.py for what it can be told; only the standard library is used, so that it starts fast.
"""

import contextlib
import json
import resource
import socket
import ssl
import sys
import threading
import time

from hostile_connection import Connection, Request, read_request, reset
from hostile_state import State


class Port:
    """The listening socket, which can be closed and opened again."""

    def __init__(self, number: int, state: State, context: ssl.SSLContext | None) -> None:
        self.number = number
        self._state = state
        self._context = context
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Listen, if it does not yet."""
        if self._listener is None:
            self._listener = listen(self.number)
            self.number = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            number, dropped = self._state.accepted()
            if dropped:
                reset(sock)
                continue
            connection = Connection(sock, number, self._state, self._context)
            threading.Thread(target=connection.serve, daemon=True).start()


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback; waits a little for a port that was just in use."""
    for attempt in range(100):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            if attempt == 99:
                raise
            time.sleep(0.02)
        else:
            listener.listen(1024)
            return listener
    raise AssertionError


def control(state: State, port: Port, listener: socket.socket) -> None:
    """Take orders, one connection after the other."""
    while True:
        sock, _ = listener.accept()
        with sock, contextlib.suppress(OSError, ValueError):
            request = read_request(sock.makefile("rb"), sock)
            if request is None:
                continue
            status, answer = obey(state, port, request)
            body = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} Done\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
            sock.sendall(head.encode() + b"\r\n" + body)


def obey(state: State, port: Port, request: Request) -> tuple[int, object]:
    """(status, what to say)."""
    order = request.parsed or {}
    match request.path:
        case "/__seen":
            return 200, state.report()
        case "/__script":
            with state.lock:
                state.scripts[order.get("model")] = list(order["steps"])
        case "/__gate":
            state.gate(order["name"]).set()
        case "/__port":
            (port.open if order["open"] else port.close)()
        case "/__reset":
            state.reset()
            port.open()
        case _:
            return 404, {"error": "no such order"}
    return 200, {}


def main(arguments: list[str]) -> None:
    """`PORT [--until-eof] [--certificate FILE]`; prints one line of JSON when it listens."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    threading.stack_size(256 * 1024)
    context = None
    if "--certificate" in arguments:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments[arguments.index("--certificate") + 1])
    state = State()
    port = Port(int(arguments[0]), state, context)
    orders = listen(0)
    ports = {"port": port.number, "control_port": orders.getsockname()[1]}
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    if "--until-eof" in arguments:
        threading.Thread(target=control, args=(state, port, orders), daemon=True).start()
        sys.stdin.read()  # whoever started us is gone
    else:
        control(state, port, orders)
