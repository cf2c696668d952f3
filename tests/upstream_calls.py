"""What the tests of the upstream client share: a client with short deadlines, and calls with it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hostile import HostileUpstream

from modelbridge import config
from modelbridge.upstream.client import Exchange, UpstreamClient
from modelbridge.wire.target import Auth, Target, WireRequest

CREDENTIAL = "sk-upstream-secret"


@contextmanager
def client_with(
    data_dir: Path,
    credential_of: Callable[[Target], str | None] = lambda _: CREDENTIAL,
    ca_file: str | None = None,
    **deadlines: float,
) -> Iterator[UpstreamClient]:
    """A client; at its end no exchange may be left open."""
    settings = config.load({"MODELBRIDGE_DATA_DIR": str(data_dir)})
    settings = replace(settings, **deadlines)  # type: ignore[arg-type]
    client = UpstreamClient(settings, credential_of, ca_file=ca_file)
    try:
        yield client
    finally:
        left = client.watch.close()
        client.close()
    assert left == []


def target(upstream: HostileUpstream | str, auth: Auth = "bearer") -> Target:
    """The upstream called "box", or one at that base URL."""
    base_url = upstream if isinstance(upstream, str) else upstream.base_url
    return Target("up_1", "box", "openai", "openai_chat", base_url, auth, "m", allow_private=True)


def exchange(client: UpstreamClient, at: Target, *, stream: bool = False, **body: Any) -> Exchange:
    """A chat completion, not started."""
    request = WireRequest("/chat/completions", {"model": "m", "stream": stream, **body})
    return client.open(at, request, stream=stream)


def whole(one: Exchange) -> bytes:
    """Start it and read it to its end."""
    try:
        one.start()
        return one.read_all(10**9)
    finally:
        one.close()


class InBackground:
    """Something that runs in a thread; `outcome` waits for its result or its exception."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._outcome: object = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._work()
        except BaseException as error:
            self._outcome = error

    def outcome(self, seconds: float = 10) -> Any:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it did not end in time"
        return self._outcome
