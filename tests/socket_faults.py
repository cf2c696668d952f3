"""Every socket call of a call's life is made to fail in turn, in every way that it can.

    with faulty_lives(directory) as lives:
        lives.fail_all("plain", every=1)    # raises AssertionError where a rule is broken

A life is one call from a client to the bridge and on to the hostile upstream. After each the books
must hold what the upstream counted, nothing may be open, nothing may have been sent twice, and the
next call must go through.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import requests
from certificates import certificate
from faulty_sockets import KINDS, Fault, FaultySockets
from hostile import HostileUpstream, reply, stream
from people import HELLO, Key, Person, TestBridge, serving, wait_for

from modelbridge.store.tables import Hold

NANOS_PER_TOKEN = 1530  # USD 1 a million in, 2 out, at AUD 1.53
PATIENCE_SECONDS = 10
LIVES = ("plain", "stream", "kept plain", "TLS plain", "TLS stream")


class FaultyLives:
    """A bridge between us and two hostile upstreams, one of which speaks TLS."""

    def __init__(
        self, bridge: TestBridge, upstreams: dict[str, HostileUpstream], sockets: FaultySockets
    ) -> None:
        self.bridge, self.upstreams, self.sockets = bridge, upstreams, sockets
        self.alice: Person = bridge.person("alice", "100000")
        self.key: Key = self.alice.key()
        self._known: set[str] = set()

    def fail_all(self, life: str, every: int = 1, offset: int = 0) -> Counter[str]:
        """Each call of each kind fails in each way (or one in so many does); what came of it.

        Which of them is told by their names: how often a life reads depends on the machine.
        Raises AssertionError.
        """
        plan = [
            (kind, nth, fault)
            for kind, count in sorted(self._reference(life).items())
            for nth in range(1, count + 1)
            for fault in KINDS[kind][2]
            if crc32(f"{kind} {nth} {fault.__name__}".encode()) % every == offset % every
        ]
        found, wrong = Counter[str](), list[str]()
        for kind, nth, fault in plan:
            try:
                found[self._fail(life, kind, nth, fault)] += 1
            except (AssertionError, TimeoutError) as error:
                wrong.append(f"{life}: {kind} {nth}: {fault.__name__}: {error}")
            finally:
                self._remember()
        assert not wrong, "\n".join(wrong)
        return found

    def _reference(self, life: str) -> dict[str, int]:
        """How many calls of each kind an undisturbed life makes."""
        self._begin(life)
        self.sockets.made()
        assert self._call(life) == "answered"
        self._settle_down()
        self._remember()
        return self.sockets.made()

    def _fail(self, life: str, kind: str, nth: int, fault: Fault) -> str:
        self._begin(life)
        before = self.alice.account.balance_nanos
        self.sockets.fail(kind, nth, fault)
        told = self._call(life)
        self._settle_down()
        if not self.sockets.heal():
            return "was never reached"
        fate = self._fate(life, told, before)
        assert self._call(life) == "answered", f"{told}, {fate}: but the next call did not succeed"
        self._settle_down()
        return f"{told}: {fate}"

    def _remember(self) -> None:
        """What has happened so far is known."""
        self.sockets.heal()
        self._known = {hold.id for hold in self.bridge.rows(Hold)}

    def _begin(self, life: str) -> None:
        upstream = self._upstream(life)
        upstream.reset()
        upstream.will(
            stream(4, prompt_tokens=100) if "stream" in life else reply(prompt_tokens=100)
        )
        if "kept" not in life:  # the connection from the last life is not to be used again
            for pool in self.bridge.bridge.gateway.upstreams.adapter._pools.values():
                assert pool.pool is not None
                for connection in pool.pool.queue:
                    if connection is not None:
                        connection.close()

    def _upstream(self, life: str) -> HostileUpstream:
        return self.upstreams["tls" if "TLS" in life else "plain"]

    def _call(self, life: str) -> str:
        """Make it; `answered`, `refused with …`, `broken off` or `an error at the end`."""
        try:
            answer = requests.post(
                f"{self.bridge.url}/v1/chat/completions",
                json={
                    "model": "gpt-tls" if "TLS" in life else "gpt-test",
                    "messages": HELLO,
                    "stream": "stream" in life,
                },
                headers=self.key.headers,
                timeout=PATIENCE_SECONDS,
            )
        except requests.Timeout:
            return "left without an answer"
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return "broken off"
        if answer.status_code != 200:
            return f"refused with {answer.status_code}"
        if "stream" in life and b"[DONE]" not in answer.content:
            return "an error at the end"
        return "answered"

    def _settle_down(self) -> None:
        wait_for(lambda: self.bridge.bridge.gateway.slots.in_use == 0)
        self.bridge.settle_down()
        wait_for(lambda: self.alice.account.held_nanos == 0)

    def _fate(self, life: str, told: str, before: int) -> str:
        """What the books say, which must be what the upstream counted."""
        with contextlib.suppress(TimeoutError):  # a request that was cut short is none
            self._upstream(life).wait(lambda seen: bool(seen) and seen[0]["answered"], 0.2)
        seen = self._upstream(life).seen()
        assert len(seen) <= 1, f"{told}: the upstream was asked {len(seen)} times"
        holds = [hold for hold in self.bridge.rows(Hold) if hold.id not in self._known]
        spent = before - self.alice.account.balance_nanos
        self.bridge.check_books()
        if not holds:
            assert (seen, spent, told != "answered") == ([], 0, True), told
            return "no call"
        (hold,) = holds
        state = f"{told}: {hold.state}{', flagged' if hold.flagged else ''}: {seen}"
        assert spent == (hold.charged_nanos or 0), state
        if hold.flagged:
            assert told != "answered", state
            return f"{hold.state}, flagged"
        if hold.state == "void":
            assert not seen, state
            return "void"
        usage = seen[0]["usage"]
        tokens = usage["prompt_tokens"] + 2 * usage["completion_tokens"]
        assert spent == tokens * NANOS_PER_TOKEN, state
        return "charged what the upstream counted"


@contextmanager
def faulty_lives(directory: Path, plain: HostileUpstream) -> Iterator[FaultyLives]:
    """The bridge and its upstreams, until the block ends; then the books balance."""
    pem = certificate(directory, "localhost")
    with (
        HostileUpstream.start(certificate=pem) as tls,
        serving(directory / "data") as bridge,
        FaultySockets() as sockets,
    ):
        bridge.bridge.gateway.upstreams.adapter._ca_file = str(pem)
        bridge.upstream("hostile", plain.base_url)
        bridge.upstream("tls", f"https://localhost:{tls.port}/v1")
        bridge.model("gpt-test")
        bridge.model("gpt-tls", "tls")
        yield FaultyLives(bridge, {"plain": plain, "tls": tls}, sockets)
        bridge.check_books()
