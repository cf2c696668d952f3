"""What Alice asks in OpenAI's words, and what Anthropic is sent."""

from typing import Any

import pytest
from anthropic_words import (
    DIALECT,
    JSON,
    MARK,
    WEATHER,
    assistant,
    build,
    call,
    file,
    result,
    system,
    target,
    text,
    user,
)
from hypothesis import given
from hypothesis import strategies as st
from recordings import available, recording

from modelbridge.errors import BridgeError, InvalidRequest, UnsupportedParameter
from modelbridge.jsonio import dumps
from modelbridge.wire.target import Quirks


def test_the_plainest_question_is_sent_in_full() -> None:
    wire = build(system("Be brief."), user("Hi"), max_tokens=7, stream=False)
    assert wire.path == "/v1/messages"
    assert wire.headers == {"anthropic-version": "2023-06-01"}
    assert wire.dropped == ()
    assert wire.body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [text("Hi")]}],
        "service_tier": "standard_only",
    }


def test_a_whole_conversation_with_everything_in_it() -> None:
    wire = build(
        system("Be brief."),
        system([text("The manual.", cache_control=MARK)], role="developer"),
        user(
            [text("What is this?"), {"type": "image_url", "image_url": {"url": "https://i.test/a"}}]
        ),
        assistant(
            "Let me look.",
            tool_calls=[call("c1", "weather", '{"city": "Oslo"}'), call("c2", "weather", "")],
        ),
        result("c1", "rain"),
        result("c2", [text("no city")], is_error=True),
        user("And?"),
        tools=[{**WEATHER, "cache_control": MARK}],
        tool_choice="auto",
        parallel_tool_calls=False,
        stop=["END"],
        temperature=0.5,
        user="alice-1",
        stream=True,
        stream_options={"include_usage": True},
    )
    assert wire.dropped == ()
    assert wire.body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "stream": True,
        "system": [text("Be brief."), text("The manual.", cache_control=MARK)],
        "messages": [
            {
                "role": "user",
                "content": [
                    text("What is this?"),
                    {"type": "image", "source": {"type": "url", "url": "https://i.test/a"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    text("Let me look."),
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
                    {"type": "tool_use", "id": "c2", "name": "weather", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "c2",
                        "content": [text("no city")],
                        "is_error": True,
                    },
                    text("And?"),
                ],
            },
        ],
        "tools": [
            {
                "name": "weather",
                "description": "Tells the weather",
                "input_schema": WEATHER["function"]["parameters"],  # type: ignore[index]
                "cache_control": MARK,
            }
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "metadata": {"user_id": "alice-1"},
        "service_tier": "standard_only",
    }


# Recordings


@pytest.mark.skipif(not available, reason="recordings not present")
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("anthropic-text", {"user": "123"}),
        ("anthropic-thinking", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("anthropic-parallel-tool-use", {"tool_choice": "auto"}),
        ("anthropic-document-pdf-base64", {}),
    ],
)
def test_the_same_question_is_sent_as_anthropics_own_clients_send_it(
    name: str, fields: dict[str, Any]
) -> None:
    sent = recording(name).request
    assert sent is not None
    parts = [_canonical(block) for block in sent["messages"][0]["content"]]
    asked = [system(sent["system"])] if "system" in sent else []
    functions = [
        {
            "name": tool["name"],
            "description": tool["description"],
            "parameters": tool["input_schema"],
        }
        for tool in sent.get("tools", [])
    ]
    tools = [{"type": "function", "function": function} for function in functions]
    wire = build(*asked, user(parts), model=sent["model"], tools=tools, **fields)
    del sent["stream"]
    assert wire.body == {**sent, "service_tier": "standard_only"}


def _canonical(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] == "text":
        return block
    source = block["source"]
    return file(f"data:{source['media_type']};base64,{source['data']}")


def _canonical_tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {"name": tool["name"], "description": tool["description"]}
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}}


# Tools


def test_every_choice_of_tools_has_its_word() -> None:
    def chosen(**fields: Any) -> Any:
        return build(user("a"), tools=[WEATHER], **fields).body.get("tool_choice")

    named = {"type": "function", "function": {"name": "weather"}}
    assert chosen() is None
    assert chosen(tool_choice="auto") == {"type": "auto"}
    assert chosen(tool_choice="none") == {"type": "none"}
    assert chosen(tool_choice="required") == {"type": "any"}
    assert chosen(tool_choice=named) == {"type": "tool", "name": "weather"}
    alone = {"disable_parallel_tool_use": True}
    assert chosen(parallel_tool_calls=False) == {"type": "auto", **alone}
    assert chosen(tool_choice=named, parallel_tool_calls=False) == {
        "type": "tool",
        "name": "weather",
        **alone,
    }
    assert chosen(tool_choice="none", parallel_tool_calls=False) == {"type": "none"}
    assert chosen(parallel_tool_calls=True) is None


def test_allowed_tools_are_the_only_ones_shown() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"mode": "required", "tools": [7, {"function": {"name": "other"}}]}
    body = build(
        user("a"),
        tools=[WEATHER, other],
        tool_choice={"type": "allowed_tools", "allowed_tools": allowed},
    ).body
    assert body["tools"] == [
        {"name": "other", "input_schema": {"type": "object", "properties": {}}}
    ]
    assert body["tool_choice"] == {"type": "any"}
    with pytest.raises(InvalidRequest) as caught:
        build(user("a"), tools=[WEATHER], tool_choice={"type": "allowed_tools", "allowed_tools": 7})
    assert caught.value.param == "tool_choice.allowed_tools"


def test_strict_tools_are_enforced_where_the_model_can() -> None:
    schema = {"properties": {"days": {"type": "integer", "maximum": 9}}, "required": ["days"]}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    wire = build(user("a"), tools=[tool])
    assert wire.body["tools"] == [
        {
            "name": "f",
            "strict": True,
            "input_schema": {
                "type": "object",
                "properties": {"days": {"type": "integer", "description": "{maximum: 9}"}},
                "required": ["days"],
                "additionalProperties": False,
            },
        }
    ]
    assert wire.dropped == ("tools.maximum",)
    wire = build(user("a"), tools=[tool], model="claude-3-5-haiku-latest")
    assert wire.body["tools"] == [{"name": "f", "input_schema": {"type": "object", **schema}}]
    assert wire.dropped == ("tools.strict",)


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "web_search_20250305", "name": "web_search"}, "tools[0].type"),
        ({"type": "custom", "custom": {"name": "x"}}, "tools[0].type"),
        ("weather", "tools[0].type"),
        ({"type": "function", "function": {}}, "tools[0].function.name"),
        (
            {"type": "function", "function": {"name": "f", "parameters": 7}},
            "tools[0].function.parameters",
        ),
    ],
)
def test_tools_that_run_elsewhere_or_are_malformed_are_refused(tool: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build(user("a"), tools=[tool])
    assert caught.value.param == param


# Structured output


def test_a_json_schema_is_enforced() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "In years"},
            "when": {"type": "string", "format": "date"},
            "code": {"type": "string", "format": "isbn"},
            "pets": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/pet"}},
            "home": {"oneOf": [{"type": "string"}, {"type": "null"}]},
            "any": True,
            "open": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "$defs": {"pet": {"type": ["object", "null"], "properties": {}}},
        "required": ["age"],
    }
    described = {"name": "person", "description": "A person", "strict": True, "schema": schema}
    wire = build(user("a"), response_format={"type": "json_schema", "json_schema": described})
    assert wire.body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "description": "A person",
            "type": "object",
            "properties": {
                "age": {"type": "integer", "description": "In years\n\n{minimum: 0}"},
                "when": {"type": "string", "format": "date"},
                "code": {"type": "string", "description": "{format: isbn}"},
                "pets": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/pet"}},
                "home": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "any": True,
                "open": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "$defs": {
                "pet": {"type": ["object", "null"], "properties": {}, "additionalProperties": False}
            },
            "required": ["age"],
            "additionalProperties": False,
        },
    }
    assert wire.dropped == ("response_format.minimum", "response_format.format")


def test_a_json_schema_is_refused_where_the_model_cannot_enforce_it() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    for model in ("claude-sonnet-4-0", "claude-3-7-sonnet-latest", "claude-opus-4-20250514"):
        with pytest.raises(UnsupportedParameter) as caught:
            build(user("a"), response_format=wanted, model=model)
        assert caught.value.param == "response_format"
    for model in ("claude-opus-4-1", "claude-haiku-4-5", "claude-opus-5", "their-own-model"):
        assert "output_config" in build(user("a"), response_format=wanted, model=model).body


# The other fields


def test_the_provider_row_may_move_the_path() -> None:
    moved = target(quirks=Quirks(paths={"anthropic_messages": "/anthropic/v1/messages"}))
    request: Any = {"messages": [user("a")]}
    assert DIALECT.build_request(request, moved, 9).path == "/anthropic/v1/messages"


def test_hints_are_dropped_by_name_and_silence_is_not() -> None:
    said: Any = {"seed": 1, "presence_penalty": 0.5, "logit_bias": {"1": 2}, "metadata": {"a": "b"}}
    said |= {"store": True, "service_tier": "priority", "verbosity": "low", "brand_new": {"x": 1}}
    assert set(build(user("a"), **said).dropped) == set(said)
    silent: Any = {"seed": None, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}}
    silent |= {"n": 1, "store": False, "service_tier": "auto", "logprobs": False, "tools": []}
    silent |= {"top_p": 1, "temperature": 1, "tool_choice": "auto", "stop": None, "metadata": {}}
    silent |= {"response_format": {"type": "text"}, "modalities": ["text"], "mcp_servers": []}
    wire = build(user("a"), **silent)
    assert wire.dropped == ()
    assert set(wire.body) == {"model", "max_tokens", "messages", "service_tier"}


def test_the_names_of_what_was_dropped_are_fit_for_a_header() -> None:
    strange: Any = {"x\r\nset-cookie: a": 1, "日": 2, "y" * 99: 3}
    assert build(user("a"), **strange).dropped == ("x??set-cookie??a", "?", "y" * 64)
    many: Any = {f"field_{number}": 1 for number in range(99)}
    assert len(build(user("a"), **many).dropped) == 33


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("audio", {"voice": "alloy"}),
        ("modalities", ["text", "audio"]),
        ("functions", [{"name": "f"}]),
        ("function_call", "auto"),
        ("web_search_options", {}),
        ("mcp_servers", [{"url": "https://m.test"}]),
        ("stop", "\n"),
        ("stop", ["END", "  "]),
        ("response_format", {"type": "json_object"}),
    ],
)
def test_what_changes_the_meaning_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        build(user("a"), **{field: value})
    assert caught.value.param == field
    assert caught.value.code == "unsupported_parameter"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stop", 7),
        ("stop", [7]),
        ("temperature", "hot"),
        ("top_p", True),
        ("tools", "f"),
        ("tool_choice", "maybe"),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}),
        ("reasoning_effort", "heroic"),
        ("thinking", "yes"),
    ],
)
def test_what_is_malformed_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build(user("a"), **{field: value})
    assert caught.value.param == field


def test_stop_may_be_one_string_and_an_empty_one_says_nothing() -> None:
    assert build(user("a"), stop="END").body["stop_sequences"] == ["END"]
    assert "stop_sequences" not in build(user("a"), stop=["", ""]).body


def test_the_person_is_named_by_either_field_unless_the_name_is_too_long() -> None:
    body = build(user("a"), user="old", safety_identifier="new").body
    assert body["metadata"] == {"user_id": "new"}
    wire = build(user("a"), user="x" * 257)
    assert "metadata" not in wire.body
    assert wire.dropped == ("user",)


FIELDS = ["messages", "tools", "tool_choice", "stop", "response_format", "thinking", "n", "user"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_no_request_whatever_breaks_the_builder(fields: dict[str, Any]) -> None:
    request: Any = {"messages": [user("a")], **fields}
    refusal: BridgeError | None = None
    try:
        dumps(DIALECT.build_request(request, target(), 4096).body)
    except BridgeError as error:
        refusal = error
    assert refusal is None or refusal.param
