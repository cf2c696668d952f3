"""Requests that nobody should send: never a 5xx of ours, never a traceback, never money on a 4xx.

Half of them are drawn from docs/openapi.yaml by schemathesis, valid and not; half are bytes on a
socket: mangled requests, broken framing, JSON that no parser likes.
"""

import json
import random
import select
import socket
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import requests
import schemathesis
from hostile import HostileUpstream
from hypothesis import HealthCheck, Phase, given, settings
from people import ROOT

from torture.real_bridge import RealBridge, chance_of

NOT_OURS = (501, 505)  # the HTTP server's words for framing and versions that it does not know
HEADERS = ("content-type", "accept")
PATIENCE_SECONDS = 1.0
ANSWER_SECONDS = 60.0
WHOLE_BYTES = 1_000_000  # more may be refused while it is being sent, and the answer lost
_MODELS = ("gpt-test", "gpt-stops", "nope")


def fuzz(count: int, directory: Path, upstream: HostileUpstream) -> Counter[str]:
    """That many requests; answers, counted. Raises AssertionError."""
    bridge = RealBridge(directory, upstream)
    with bridge.books() as books:
        keys = [bridge.key.secret, books.key(account_id=None, user_id=None, test=True).secret]
    bridge.start()
    try:
        with ThreadPoolExecutor(1) as beside:
            drawn = beside.submit(_drawn, bridge.url, keys, count // 2)
            answers = _mangled(bridge.url, keys, count - count // 2)
            answers += drawn.result()
    finally:
        bridge.stop()
    log = (directory / "log").read_text(errors="replace")
    assert "Traceback" not in log, log[max(0, log.index("Traceback") - 300) :][:3000]
    assert bridge.problems() == []
    assert _money_on_refusals(directory / "modelbridge.db") == 0
    return answers


def _money_on_refusals(path: Path) -> int:
    """How many calls were told 4xx, or were never noted, and yet have a hold that is not void."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        query = (
            "SELECT count(*) FROM holds LEFT JOIN calls ON holds.call_id = calls.id "
            "WHERE coalesce(calls.status, 400) BETWEEN 400 AND 499 AND holds.state <> 'void'"
        )
        return int(connection.execute(query).fetchone()[0])


def _drawn(url: str, keys: list[str], count: int) -> Counter[str]:
    """Requests that follow the document, and such that break it in one place."""
    schema = schemathesis.openapi.from_path(str(ROOT / "docs" / "openapi.yaml"))
    operations: list[Any] = [cast(Any, found).ok() for found in schema.get_all_operations()]
    answers: Counter[str] = Counter()
    chance = chance_of(count)
    http = requests.Session()
    http.trust_env = False

    def send(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url=f"{url}/v1")
        if isinstance(sent.get("json"), dict) and chance.random() < 0.8:
            sent["json"]["model"] = chance.choice(_MODELS)
        sent["headers"] = {
            name: value
            for name, value in dict(sent["headers"]).items()
            if name.lower() in HEADERS and value.isascii()
        } | {"Authorization": f"Bearer {chance.choice(keys)}"}
        sent.pop("cookies", None)
        try:
            answer = http.request(**sent, timeout=60, allow_redirects=False)
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError):
            answers["not sendable"] += 1
            return
        _judge(answers, answer.status_code, answer.content, str(sent)[:2000])

    for operation in operations:
        share = max(1, count // (2 * len(operations)))
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
            except TypeError:  # nothing can be broken in it
                continue
            run = settings(
                max_examples=share,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(given(case=strategy)(send))
            run()
    return answers


def _mangled(url: str, keys: list[str], count: int) -> Counter[str]:
    address = urlsplit(url)
    place = str(address.hostname), int(address.port or 80)
    chance = chance_of(7)
    nonsense = [(seed, chance.choice(keys)) for seed in chance.sample(range(10**9), count)]
    answers: Counter[str] = Counter()

    def send(seed: int, key: str) -> tuple[int, bytes, str]:
        sent, whole = _nonsense(chance_of(seed), key)
        status, body = _exchange(place, sent, PATIENCE_SECONDS if not whole else ANSWER_SECONDS)
        assert status or not whole, ("never answered", body[:500], sent[:1000])
        return status, body, repr(sent[:1000])

    with ThreadPoolExecutor(16) as pool:  # what is never answered is waited for
        for status, body, sent in pool.map(lambda one: send(*one), nonsense):
            _judge(answers, status, body, sent)
    return answers


def _judge(answers: Counter[str], status: int, body: bytes, sent: str) -> None:
    name = f"{status // 100}xx" if status < 500 else f"{status}, the server's own"
    answers[name if status else "closed"] += 1
    assert status < 500 or status in NOT_OURS, (status, body[:500], sent)
    assert status == 0 or status >= 200, (status, body[:500], sent)
    assert b"Traceback" not in body, (body[:500], sent)
    assert b'File "' not in body, (body[:500], sent)


def _nonsense(chance: random.Random, key: str) -> tuple[bytes, bool]:
    """One request, more or less; and whether it is a whole one, which must be answered."""
    body = _body(chance)
    kind = chance.choice(["body", "body", "flip", "cut", "framing", "headers", "noise", "path"])
    path = chance.choice(["chat/completions", "messages", "responses", "embeddings", "estimate"])
    method, length = "POST", str(len(body))
    extra, expects = "", False
    if kind == "framing":
        length = chance.choice(["-1", "99999999999999999999", "0x10", "1e3", "", f"{len(body)},1"])
        extra = chance.choice(["", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: x\r\n"])
    if kind == "headers":
        junk = "".join(chr(chance.randrange(1, 256)) for _ in range(30))
        extra = chance.choice(
            [f"X-Junk: {junk}\r\n", f"{junk}: x\r\n", "A: " + "a" * 70_000 + "\r\n",
             "Content-Encoding: gzip\r\n", "Idempotency-Key: " + "\xff" * 20 + "\r\n",
             "Content-Type: text/plain; charset=utf-16\r\n", "Expect: 100-continue\r\n"]
        )  # fmt: skip
        expects = extra.startswith("Expect")
    if kind == "path":
        path = chance.choice(
            ["../admin", "%00", "models/" + "a" * 5000, "chat//completions", "?", "é"]
        )
        method = chance.choice(["GET", "POST", "PUT", "TRACE", "\x00", "get"])
    head = (
        f"{method} /v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\n{extra}Content-Length: {length}\r\n"
        "Connection: close\r\n\r\n"
    ).encode("latin-1")
    whole = bytearray(head + body)
    if kind == "flip":
        for _ in range(chance.randrange(1, 20)):
            whole[chance.randrange(len(whole))] = chance.randrange(256)
    elif kind == "cut":
        del whole[chance.randrange(len(whole)) :]
    elif kind == "noise":
        whole = bytearray(chance.randbytes(chance.randrange(1, 2000)) + b"\r\n\r\n")
    return bytes(whole), (kind == "body" or expects) and len(whole) < WHOLE_BYTES


def _body(chance: random.Random) -> bytes:
    good: dict[str, Any] = {
        "model": chance.choice(_MODELS),
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 5,
    }
    more = ("n", "stream", "tools", "stop", "temperature", "input", "user")
    field = chance.choice([*good, *more])
    odd: list[Any] = [
        None, True,
        -1, 0, 2**63, 10**400, 1.5, "", "\x00", "\ud800", [], {}, [[]], [None], {"": {}},
        "a" * 100_000, {"role": "user"}, [{"role": []}], [{"role": "user", "content": [{}]}],
    ]  # fmt: skip
    text = json.dumps(good | {field: chance.choice(odd)})
    made: list[Callable[[], bytes]] = [
        lambda: text.encode(),
        lambda: text.encode(),
        lambda: json.dumps(good).encode("utf-16"),
        lambda: b'{"model": ' + b"[" * 20_000,
        lambda: text.replace("5", chance.choice(["NaN", "1e400", "-0", "05", "Infinity"])).encode(),
        lambda: b'{"model": "gpt-test", "model": "gpt-test", "messages": []}',
        lambda: b"\xff\xfe\x00" + text.encode(),
        lambda: b"",
        lambda: b'{"model": "' + b"a" * 11_000_000 + b'"}' if chance.random() < 0.02 else b"[]",
        lambda: b'"' + b"\\ud800" * 100 + b'"',
    ]
    return chance.choice(made)()


def _exchange(place: tuple[str, int], sent: bytes, patience_seconds: float) -> tuple[int, bytes]:
    """The final status and what followed; 0 when nothing, or no more than `100`, was answered.

    The sending side stays open while an answer may come: closing it is hanging up.
    """
    with socket.create_connection(place, timeout=30) as sock:
        got = b""
        with suppress(OSError):
            sock.sendall(sent)
            if not select.select([sock], [], [], patience_seconds)[0]:
                sock.shutdown(socket.SHUT_WR)  # it waits for more
            while piece := sock.recv(65_536):
                got += piece
    while got.startswith(b"HTTP/1.1 100 "):
        got = got.partition(b"\r\n\r\n")[2]
    words = got.split(b" ", 2)
    if not got.startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        return 0, got
    return int(words[1]), got
