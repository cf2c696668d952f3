"""Every body of /v1 is as OpenAI's published document says, with the exceptions that are named.

The exceptions are OpenAI's own: its recorded answers break the document in the same places, or the
fields are ours and stand beside theirs.
"""

import json
from typing import Any

import pytest
import requests
from hostile import HostileUpstream, reply, stream
from openai_schema import available, faults
from people import HELLO, Key, Person, TestBridge
from recordings import available as recorded
from recordings import recording

pytestmark = pytest.mark.skipif(
    not available, reason="OpenAI's OpenAPI document is not beside the repository"
)

CHAT, CHUNK = "CreateChatCompletionResponse", "CreateChatCompletionStreamResponse"
COMPLETION, EMBEDDINGS = "CreateCompletionResponse", "CreateEmbeddingResponse"
SMALL = "text-embedding-3-small"
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}
# The document says so, and what OpenAI answers does not: its recordings show it.
NULLS = ("choices.0.finish_reason: null", "choices.0.logprobs: null", "usage: null")
OPENAIS_OWN = {
    # A chunk that ends nothing says null where the document has no null.
    CHUNK: NULLS,
    # Chunks of completions have the form of whole ones, the document says; they end nothing, too.
    COMPLETION: NULLS,
}


def post(key: Key, path: str, **fields: Any) -> Any:
    url = f"{key.bridge.url}/v1/{path}"
    answer = requests.post(url, json=fields, headers=key.headers, timeout=30)
    if answer.headers["content-type"].startswith("application/json"):
        return answer.json()
    frames = answer.text.removesuffix("data: [DONE]\n\n").split("\n\n")[:-1]
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def unexpected(name: str, body: object) -> list[str]:
    """What is wrong with a body, but for what is wrong with OpenAI's own."""
    allowed = OPENAIS_OWN.get(name, ())
    return [fault for fault in faults(name, body) if not fault.startswith(allowed)]


@pytest.fixture(params=["gpt-test", "claude-test", "test key"])
def asked(request: pytest.FixtureRequest, alice: Person) -> tuple[Key, str]:
    """A key and a model: passed on, translated, and out of the sandbox."""
    is_test = request.param == "test key"
    return alice.key(test=is_test), "gpt-4o" if is_test else request.param


STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def test_chats(asked: tuple[Key, str], upstream: HostileUpstream) -> None:
    key, model = asked
    # A compatible server need not send what the document requires; OpenAI does.
    upstream.will(reply(message={"refusal": None}))
    whole = post(key, "chat/completions", model=model, messages=HELLO)
    if model == "gpt-test":
        assert faults(CHAT, whole) == faults(CHAT, upstream_chat(upstream, model))
    else:
        assert unexpected(CHAT, whole) == []
    upstream.will(stream(3))
    for chunk in post(key, "chat/completions", model=model, messages=HELLO, **STREAMED):
        assert unexpected(CHUNK, chunk) == []


def upstream_chat(upstream: HostileUpstream, model: str) -> Any:
    """The same answer straight from the upstream: what passes through is as it was."""
    body = {"model": model, "messages": HELLO}
    url = f"{upstream.base_url}/chat/completions"
    return requests.post(url, json=body, timeout=30).json()


def test_tool_calls_of_the_sandbox(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(test=True)
    fields = {"messages": HELLO, "tools": [TOOL], "tool_choice": "required"}
    whole = post(key, "chat/completions", model="gpt-4o", **fields)
    assert whole["choices"][0]["message"]["tool_calls"]
    assert unexpected(CHAT, whole) == []
    for chunk in post(key, "chat/completions", model="gpt-4o", **fields, **STREAMED):
        assert unexpected(CHUNK, chunk) == []


def test_completions(asked: tuple[Key, str], upstream: HostileUpstream) -> None:
    key, model = asked
    upstream.will(reply())
    whole = post(key, "completions", model=model, prompt="Once upon")
    assert faults(COMPLETION, whole) == []
    upstream.will(stream(3))
    for chunk in post(key, "completions", model=model, prompt="Once upon", **STREAMED):
        assert unexpected(COMPLETION, chunk) == []


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("test", [False, True])
def test_embeddings(alice: Person, upstream: HostileUpstream, encoding: str, test: bool) -> None:
    upstream.will(reply())
    key = alice.key(test=test)
    body = post(key, "embeddings", model=SMALL, input=["a", "b"], encoding_format=encoding)
    if encoding == "float":
        assert faults(EMBEDDINGS, body) == []
    assert body["data"][1]["index"] == 1


@pytest.mark.skipif(not recorded, reason="the recordings are not beside the repository")
def test_openais_own_chunks_break_its_document_in_the_same_places() -> None:
    frames = recording("openai-chat-stream-tool-call").body.decode().split("\n\n")
    chunks = [json.loads(frame[6:]) for frame in frames if frame.startswith("data: {")]
    found = {fault for chunk in chunks for fault in faults(CHUNK, chunk)}
    assert all(any(fault.startswith(null) for fault in found) for null in NULLS)
    assert [fault for fault in found if not fault.startswith(NULLS)] == []


@pytest.mark.skipif(not recorded, reason="the recordings are not beside the repository")
def test_openais_own_vectors_break_its_document_in_the_same_place() -> None:
    assert faults(EMBEDDINGS, recording("openai-embeddings-one").json()) != []


def test_lists_of_models(bridge: TestBridge, alice: Person) -> None:
    for key in (alice.key(), alice.key(test=True)):
        assert faults("ListModelsResponse", key.get("/v1/models").json()) == []
        assert faults("Model", key.get("/v1/models/gpt-test").json()) == []


def test_errors(bridge: TestBridge, key: Key, charlie: Person, upstream: HostileUpstream) -> None:
    poor = charlie.key()
    bodies = [
        post(key, "chat/completions", model="gpt-test"),
        post(key, "chat/completions", model="nope", messages=HELLO),
        post(poor, "chat/completions", model="gpt-test", messages=HELLO),
        post(key, "embeddings", model="gpt-test", input="a"),
        post(key, "completions", model="gpt-test", prompt=7),
        post(key, "images/generations", prompt="a cat"),
        post(key, "estimate", endpoint="files"),
        requests.get(f"{bridge.url}/v1/models", timeout=30).json(),
        key.get("/v1/chat/completions").json(),
    ]
    for body in bodies:
        assert body.keys() == {"error"}
        assert faults("ErrorResponse", body) == []
