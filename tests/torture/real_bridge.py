"""A bridge in a process of its own that can be killed, and a look at the books that it left."""

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from hostile import HostileUpstream
from people import HELLO, ROOT, TestBridge, wait_for

from modelbridge import config, ids
from modelbridge.factory import Bridge
from modelbridge.gateway import recovery
from modelbridge.ledger.audit import check_books
from modelbridge.store.tables import Attempt, Hold, IdempotencyKey

NANOS_PER_DOLLAR_MILLIONTH = 1530  # USD 1 a million tokens, at AUD 1.53


def cost_nanos(usage: dict[str, Any]) -> int:
    """What gpt-test costs: USD 1 a million in, USD 2 out."""
    tokens = int(usage["prompt_tokens"]) + 2 * int(usage["completion_tokens"])
    return tokens * NANOS_PER_DOLLAR_MILLIONTH


@dataclass(frozen=True)
class Fate:
    """What the books say of one call. `attempted`: its upstream, by provider's name."""

    state: str
    charged_nanos: int | None
    amount_nanos: int
    flagged: bool
    upstream_id: str


class RealBridge:
    """`python app.py` on a directory whose people, key, models and upstreams are made first."""

    def __init__(self, directory: Path, upstream: HostileUpstream, **environ: str) -> None:
        self.directory = directory
        self.environ = {
            "MODELBRIDGE_DATA_DIR": str(directory),
            "MODELBRIDGE_PORT": str(_free_port()),
            "MODELBRIDGE_THREADS": "96",
            "MODELBRIDGE_HOLD_GRACE_SECONDS": "3600",
        } | environ
        self.url = f"http://127.0.0.1:{self.environ['MODELBRIDGE_PORT']}"
        self._process: subprocess.Popen[str] | None = None
        with self.books() as books:
            books.upstream("hostile", upstream.base_url)
            books.upstream("stops", upstream.base_url, "llamacpp")
            books.model("gpt-test", "hostile")
            books.model("gpt-stops", "stops")
            books.model("gpt-exact", "hostile", prices={"input": "0", "output": "2"})
            self.alice = books.person("alice", aud="100000")
            self.key = self.alice.key()

    @contextmanager
    def books(self) -> Iterator[TestBridge]:
        """The books, opened by this process beside or after the bridge's."""
        bridge = Bridge(config.load(self.environ))
        try:
            yield TestBridge(bridge, self.url)
        finally:
            bridge.close()

    def start(self) -> None:
        """The bridge serves."""
        with (self.directory / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "app.py"],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], **self.environ},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "ModelBridge serves on" in line:
                return
        raise RuntimeError((self.directory / "log").read_text()[-2000:])

    def call(self, **more: Any) -> requests.Response:
        """Alice's chat, with these fields instead of the usual ones."""
        body = {"model": "gpt-test", "messages": HELLO, "max_tokens": 20} | more
        url = f"{self.url}/v1/chat/completions"
        return requests.post(url, json=body, headers=self.key.headers, timeout=60)

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def ended(self) -> int:
        """It has ended by itself, with that exit status."""
        assert self._process is not None
        return self._process.wait(timeout=60)

    def kill(self) -> None:
        """The bridge is dead, at once and without a word."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """The bridge has ended in good order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.send_signal(number)
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def recover(self) -> None:
        """What a start does with the holds of a process that died."""
        with self.books() as books:
            recovery.recover(books.bridge.gateway)

    def sweep(self) -> int:
        """Everything unknown is resolved, as if its grace was over; how many there were."""
        environ, swept = self.environ, 0
        self.environ = environ | {"MODELBRIDGE_HOLD_GRACE_SECONDS": "0"}
        try:
            with self.books() as books:
                while now := recovery.sweep(books.bridge.gateway):
                    swept += now
        finally:
            self.environ = environ
        return swept

    def open_nanos(self) -> int:
        """What is held on Alice's account."""
        with self.books() as books:
            return int(books.account(self.alice.account_id).held_nanos)

    def problems(self) -> list[str]:
        """What the audit finds."""
        with self.books() as books, books.database.reading() as session:
            return check_books(session).problems

    def fates(self) -> dict[str, Fate]:
        """For each call's Idempotency-Key what became of it."""
        with self.books() as books, books.database.reading() as session:
            rows = (
                session.query(IdempotencyKey.value, Hold, Attempt.upstream_id)
                .join(Hold, Hold.id == IdempotencyKey.hold_id)
                .join(Attempt, Attempt.hold_id == Hold.id)
            )
            return {
                name: Fate(
                    hold.state, hold.charged_nanos, hold.amount_nanos, hold.flagged, upstream_id
                )
                for name, hold, upstream_id in rows
            }


def quiet(upstream: HostileUpstream) -> list[dict[str, Any]]:
    """Everything that the upstream saw, once it is done with all of it."""
    wait_for(lambda: all(one["answered"] or one["client_left"] for one in upstream.seen()), 30)
    return upstream.seen()


def new_name() -> str:
    """An Idempotency-Key of its own, which the call also tells the upstream as its user."""
    return ids.new_id("torture")


def chance_of(seed: int) -> random.Random:
    """The same numbers for the same seed."""
    return random.Random(seed)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
