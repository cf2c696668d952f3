"""docs/bounds.md says of every field of every front what is done, and that is what is done."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaMessage
from anthropic.types.message_create_params import MessageCreateParamsBase as Message
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as Chat
from openai.types.completion_create_params import CompletionCreateParamsBase as Completion
from openai.types.embedding_create_params import EmbeddingCreateParams as Embedding
from openai.types.responses.response_create_params import ResponseCreateParamsBase as Response
from people import HELLO, ROOT

from modelbridge.dialects import anthropic_messages, openai_embeddings
from modelbridge.dialects.registry import FRONTS as FACES
from modelbridge.dialects.registry import PLAINS
from modelbridge.errors import BridgeError, UnsupportedParameter
from modelbridge.wire.target import Target

Read = Callable[[dict[str, Any]], Any]
_chat, _messages, _responses, _completions, _embeddings = (
    {**FACES, **PLAINS}[name].read_request
    for name in (
        "openai_chat",
        "anthropic_messages",
        "openai_responses",
        "openai_completions",
        "openai_embeddings",
    )
)
# Each front: how it reads a body, a body, and the official SDKs' fields.
FRONTS: dict[str, tuple[Read, dict[str, Any], Mapping[str, object]]] = {
    "/v1/chat/completions": (
        FACES["openai_chat"].read_request,
        {"messages": HELLO},
        Chat.__annotations__,
    ),
    "/v1/messages": (
        _messages,
        {"messages": HELLO, "max_tokens": 9},
        Message.__annotations__ | BetaMessage.__annotations__,
    ),
    "/v1/responses": (
        FACES["openai_responses"].read_request,
        {"input": "Hi"},
        Response.__annotations__,
    ),
    "/v1/completions": (
        _completions,
        {"prompt": "Hi"},
        Completion.__annotations__,
    ),
    "/v1/embeddings": (
        PLAINS["openai_embeddings"].read_request,
        {"input": "Hi"},
        Embedding.__annotations__,
    ),
}
# Where another value than the one below would be no such field.
VALUES: dict[str, Any] = {
    "stream": True,
    "max_tokens": 9,
    "max_output_tokens": 9,
    "n": 1,
    "tool_choice": "none",
}
ANTHROPIC = Target("up_1", "a", "anthropic", "anthropic_messages", "http://h", "x-api-key", "m")


def rows(front: str) -> dict[str, str]:
    """Each field that the page has for this front, and what it says is done."""
    page = (ROOT / "docs" / "bounds.md").read_text()
    section = page.partition(f"### `{front}`\n")[2].partition("\n#")[0]
    found = {}
    for fields, done in re.findall(r"^\| (.*?) \| (.*) \|$", section, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", fields):
            assert name not in found, name
            found[name] = done
    return found


def read(front: str, name: str) -> Any:
    """What is made of a request with this field."""
    reader, body, _ = FRONTS[front]
    return reader({"model": "m", **body, name: VALUES.get(name, {"some": "thing"})})


@pytest.mark.parametrize("front", FRONTS)
def test_the_page_has_every_field_that_the_official_sdks_know(front: str) -> None:
    assert FRONTS[front][2].keys() - rows(front).keys() == set()


@pytest.mark.parametrize("front", FRONTS)
def test_what_the_page_says_is_refused_is_refused_and_nothing_else_is(front: str) -> None:
    for name, done in rows(front).items():
        if done.startswith("400"):
            with pytest.raises(UnsupportedParameter) as refusal:
                read(front, name)
            assert refusal.value.param == name
        elif name not in ("service_tier", "tools"):  # by their values
            try:
                read(front, name)
            except UnsupportedParameter as error:
                raise AssertionError(f"{name} is refused, but the page says: {done}") from error
            except BridgeError:
                pass  # that value is malformed


def test_what_the_page_says_is_left_out_of_messages_is_not_sent_and_named() -> None:
    left_out = [name for name, done in rows("/v1/messages").items() if done == "left out"]
    assert "speed" in left_out
    for name in left_out:
        sent = anthropic_messages.build_request(read("/v1/messages", name), ANTHROPIC, 9)
        assert name not in sent.body
        assert sent.dropped == (name,)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("tier", ["priority", "flex", "fast"])
def test_a_class_of_service_with_another_price_is_refused_or_left_out(
    front: str, tier: str
) -> None:
    reader, body, _ = FRONTS[front]
    if front == "/v1/embeddings":
        request = reader({"model": "m", **body, "service_tier": tier})
        sent = openai_embeddings.build_request(request, ANTHROPIC, 0)
        assert "service_tier" not in sent.body
        return
    with pytest.raises(UnsupportedParameter, match="known price"):
        reader({"model": "m", **body, "service_tier": tier})
