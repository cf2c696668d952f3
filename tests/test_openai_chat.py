"""What a chat request may say, and what is sent upstream for it."""

import contextlib
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_words import CALL, FRONT, HELLO, UPSTREAM, WEATHER, ask, read, target
from recordings import available, recording

from modelbridge.dialects.registry import FRONTS, UPSTREAM_DIALECTS
from modelbridge.errors import InvalidRequest, UnsupportedParameter

CUSTOM = {"type": "custom", "custom": {"name": "shell"}}


def refused(body: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        FRONT.read_request(body)
    assert caught.value.param is not None
    assert caught.value.param in caught.value.message
    return caught.value


def test_both_halves_are_registered_under_their_name() -> None:
    assert FRONTS["openai_chat"] is FRONT
    assert UPSTREAM_DIALECTS["openai_chat"] is UPSTREAM


# What is accepted


@pytest.mark.skipif(not available, reason="recordings not present")
@pytest.mark.parametrize(
    "name",
    [
        "openai-chat-text",
        "openai-chat-json-schema",
        "openai-chat-stream-tool-call",
        "groq-chat-stream-reasoning-tool-call",
        "gemini-openai-compat-tool-call-without-id",
        "mistral-chat-text",
        "deepseek-chat-reasoning-content",
        "cerebras-chat-tool-call",
        "ollama-chat-tool-call",
        "openrouter-chat-stream-reasoning",
    ],
)
def test_requests_that_clients_really_sent_are_read_and_sent_on_as_they_are(name: str) -> None:
    body = recording(name).request
    assert body is not None
    before = deepcopy(body)
    request = FRONT.read_request(body)
    assert request == before
    sent = UPSTREAM.build_request(request, target(body["model"]), 512)
    assert sent.path == "/chat/completions"
    assert sent.dropped == ()
    expected = {**before, "max_completion_tokens": 512}
    if body["stream"]:
        expected["stream_options"] = {"include_usage": True}
    assert sent.body == expected
    assert body == before, "the client's own dict is not changed"


def test_fields_that_we_do_not_know_are_kept() -> None:
    request = read(verbosity="low", top_k=5)
    sent = UPSTREAM.build_request(request, target(), 10)
    assert sent.body["verbosity"] == "low"
    assert sent.body["top_k"] == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [WEATHER], "tool_choice": "required"},
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tools": [CUSTOM], "tool_choice": {"type": "custom", "custom": {"name": "shell"}}},
        {
            "tools": [WEATHER],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [WEATHER]},
            },
        },
        {"tool_choice": "none"},
        {"stop": "END"},
        {"stop": ["a", "b"]},
        {"max_tokens": 5, "max_completion_tokens": 5},
        {"service_tier": "default"},
        {"store": True},
        {"audio": None, "modalities": ["text"], "n": None, "stop": None, "background": False},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"temperature": 0, "top_p": 1.0},
        {"stream": True, "stream_options": {"include_usage": False}},
    ],
)
def test_what_openai_documents_is_accepted(fields: dict[str, Any]) -> None:
    assert read(**fields)["model"] == "gpt-4o"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
        {
            "role": "user",
            "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "tool", "tool_call_id": "", "content": ""},
        {"role": "function", "name": "f", "content": None},
        {"role": "assistant", "content": "x", "audio": None, "function_call": None},
    ],
)
def test_every_documented_message_is_accepted(message: dict[str, Any]) -> None:
    assert read(message)["messages"] == [message]


# What is refused, and what the refusal names


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 4}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"stream": "true"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        (
            {"stream": True, "stream_options": {"include_usage": "yes"}},
            "stream_options.include_usage",
        ),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 10.0}, "max_tokens"),
        ({"max_completion_tokens": "10"}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": True}, "n"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        (
            {"tools": [{"type": "function", "function": {"parameters": {}}}]},
            "tools[0].function.name",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "magic"}}, "tool_choice.type"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
        ),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"stop": [1]}, "stop"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": -1}, "top_p"),
    ],
)
def test_a_malformed_field_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(ask(**fields)).param == param


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"content": "x"}, "role"),
        ({"role": "robot", "content": "x"}, "role"),
        ({"role": ["user"], "content": "x"}, "role"),
        ({"role": "user"}, "content"),
        ({"role": "user", "content": 5}, "content"),
        ({"role": "user", "content": ["x"]}, "content[0]"),
        ({"role": "user", "content": [{"type": "video_url"}]}, "content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "content[0].text"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://x"}]},
            "content[0].image_url",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            "content[0].image_url.url",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "content[0].file"),
        ({"role": "user", "content": "x", "name": 7}, "name"),
        ({"role": "assistant", "content": None}, "content"),
        ({"role": "assistant", "tool_calls": {}, "content": "x"}, "tool_calls"),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "id": None}]},
            "tool_calls[0].id",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function"}]},
            "tool_calls[0].function",
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}],
            },
            "tool_calls[0].function.arguments",
        ),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
    ],
)
def test_a_malformed_message_is_named_with_its_place(message: dict[str, Any], place: str) -> None:
    assert refused(ask(HELLO, message)).param == f"messages[1].{place}"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"web_search_options": {}}, "web_search_options"),
        ({"background": True}, "background"),
        ({"deferred": True}, "deferred"),
        ({"chat_template": "{% for i in range(10**6) %}x{% endfor %}"}, "chat_template"),
        ({"mm_processor_kwargs": {"max_pixels": 10**9}}, "mm_processor_kwargs"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"modalities": ["text", "image"]}, "modalities"),
        ({"modalities": ["video"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"plugins": [{"id": "web"}]}, "plugins"),
        ({"models": ["a", "b"]}, "models"),
        ({"provider": {"order": ["x"]}}, "provider"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"n_predict": 100_000}, "n_predict"),
        ({"best_of": 20}, "best_of"),
    ],
)
def test_what_costs_beyond_any_bound_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    error = refused(ask(**fields))
    assert isinstance(error, UnsupportedParameter)
    assert error.param == param


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "n",
        "tools",
        "tool_choice",
        "response_format",
        "stop",
        "temperature",
        "modalities",
        "service_tier",
        "functions",
        "role",
        "content",
    ]
    + [
        "type",
        "text",
        "image_url",
        "function",
        "name",
        "tool_calls",
        "id",
        "arguments",
        "json_schema",
        "allowed_tools",
        "mode",
        "file",
        "parameters",
        "thinking_blocks",
    ]
)
ROLES = st.sampled_from(["user", "assistant", "tool", "system", "function", "text", "image_url"])
SHAPES = st.recursive(
    JUNK | ROLES,
    lambda inner: st.dictionaries(NAMES, inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(NAMES, SHAPES, max_size=8))
def test_no_body_crashes_the_reader(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        FRONT.read_request({**ask(), **body})
