"""Clients that people bring, as they install them, against a running bridge.

Each does the same (scripts/scenario.py): a reply, a stream, and a tool twice, the second time
streamed. Each meets an upstream of its own format and one of another, so that all of them together
meet every pair; `EVERY_UPSTREAM=1` in the environment has each meet all. The books are charged
exactly what the upstream counted, whichever it was.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from client_scripts import CASES, Client
from client_world import ClientWorld, model_of
from hostile import HostileUpstream, reply, tool_call

SAID, STREAMED, WARM = "Hello Alice", "Hello dear Alice", "Warm in Perth."
PERTH = {"city": "Perth"}
SCRIPT = [
    reply(SAID, 101, 11),
    reply(STREAMED, 102, 12),
    tool_call("weather", PERTH, prompt_tokens=103, completion_tokens=13),
    reply(WARM, 104, 14),
    tool_call("weather", PERTH, prompt_tokens=105, completion_tokens=15),
    reply(WARM, 106, 16),
]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, hostile_process: HostileUpstream
) -> Iterator[ClientWorld]:
    with ClientWorld.start(tmp_path_factory.mktemp("clients"), hostile_process) as made:
        yield made


@pytest.mark.parametrize(("client", "format_"), CASES, ids=str)
def test_the_client_chats_streams_and_calls_tools(
    world: ClientWorld, upstream: HostileUpstream, tmp_path: Path, client: Client, format_: str
) -> None:
    if reason := client.missing():
        pytest.skip(reason)
    upstream.will(*SCRIPT)
    with world.charges_what_was_served():
        told = client.run(tmp_path, world.environ(), model_of(format_))
        assert len(upstream.seen()) == len(SCRIPT)
    assert told["chat"] == SAID
    assert "".join(told["stream"]) == STREAMED
    assert len(told["stream"]) > 1
    assert told["asked"] == [PERTH, PERTH]
    assert told["answers"] == [WARM, WARM]
    for number in (3, 5):
        assert "31 degrees" in upstream.seen()[number]["text"]
    faces = {call["endpoint"] for call in world.calls()[-len(SCRIPT) :]}
    assert faces == {client.face}
