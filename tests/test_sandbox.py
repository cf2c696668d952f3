"""What a test key gets: no model, no money, the same answer every time."""

import contextlib
import json
from datetime import date, datetime
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib._pydantic import to_strict_json_schema
from openai_words import FRONT, HEAD, HELLO, WEATHER, ask
from pydantic import BaseModel, Field

from modelbridge import jsonio
from modelbridge.errors import (
    BridgeError,
    InvalidRequest,
    Overloaded,
    SpendingLimitReached,
    UnsupportedParameter,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from modelbridge.upstream import sandbox
from modelbridge.upstream.sandbox import SCENARIO_MODELS, SCENARIOS, SandboxAnswer
from modelbridge.upstream.sandbox_schema import example_of
from modelbridge.wire.reply import (
    Finish,
    ReasoningDelta,
    Reply,
    StreamFailed,
    TextDelta,
    UsageReported,
    fold,
)

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOL_TURN = [
    HELLO,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "It rains."},
]


def answer(*messages: Any, **fields: Any) -> SandboxAnswer:
    turns = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
    return sandbox.answer(FRONT.read_request(ask(*turns, **fields)))


def reply(*messages: Any, **fields: Any) -> Reply:
    return fold(event for _, event in answer(*messages, **fields).events())


# Plain answers


def test_a_plain_prompt_is_quoted_in_a_friendly_answer() -> None:
    found = reply("What is a wombat?")
    assert "What is a wombat?" in found.text
    assert "sandbox" in found.text
    assert found.finish_reason == "stop"
    assert found.usage is not None
    assert found.usage.input == 5  # 17 bytes
    assert found.usage.output == -(-len(found.text.encode()) // 4)


def test_the_answer_is_the_same_every_time_and_comes_in_words() -> None:
    first, second = answer("Hello"), answer("Hello")
    assert list(first.events()) == list(second.events()) == list(first.events())
    texts = [event.text for _, event in first.events() if isinstance(event, TextDelta)]
    assert len(texts) > 10
    assert {delay for delay, _ in first.events()} == {0}


def test_a_novel_is_quoted_in_part() -> None:
    assert len(reply("x" * 100_000).text) < 500


def test_only_text_parts_are_read() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = {"role": "user", "content": [{"type": "text", "text": "A cat?"}, image]}
    assert "A cat?" in reply(message).text


def test_the_output_cap_cuts_the_answer() -> None:
    found = reply("Hello", max_tokens=5)
    assert found.finish_reason == "length"
    assert len(found.text.encode()) == 20
    assert found.usage is not None
    assert found.usage.output == 5
    assert reply("Hello", max_completion_tokens=5) == found


def test_a_cut_never_splits_a_character() -> None:
    found = reply("ääääääää", model="sandbox-echo", max_tokens=1)
    assert found.text == "ää"
    assert reply("€€€€", model="sandbox-echo", max_tokens=1).text == "€"


def test_a_stop_sequence_ends_the_answer() -> None:
    found = reply("one two three", model="sandbox-echo", stop=[" three", " two"])
    assert (found.text, found.finish_reason) == ("one", "stop")
    assert reply("one two", model="sandbox-echo", stop=" two").text == "one"


def test_a_test_key_gets_one_choice() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        answer("Hello", n=2)
    assert caught.value.param == "n"
    assert reply("Hello", n=1).text


# Tools


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
)
def test_a_tool_is_called_when_it_must_be(choice: Any) -> None:
    found = reply("Hello", tools=[WEATHER], tool_choice=choice)
    (call,) = found.tool_calls
    assert call.name == "weather"
    assert json.loads(call.arguments) == {"city": "text"}
    assert found.finish_reason == "tool_calls"
    assert found.text == ""


def test_a_tool_is_called_when_the_prompt_or_the_model_says_so() -> None:
    for fields in ({"model": "sandbox-tool-call"}, {}):
        prompt = "sandbox:tool_call please"
        assert reply(prompt, tools=[WEATHER], **fields).tool_calls
    assert not reply("Hello", tools=[WEATHER]).tool_calls
    assert not reply("sandbox:tool_call", tools=[WEATHER], tool_choice="none").tool_calls


def test_the_named_one_of_several_tools_is_called() -> None:
    other = {"type": "function", "function": {"name": "now"}}
    choice = {"type": "function", "function": {"name": "now"}}
    (call,) = reply("Hello", tools=[WEATHER, other], tool_choice=choice).tool_calls
    assert (call.name, call.arguments) == ("now", "{}")
    allowed = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [choice]},
    }
    (call,) = reply("Hello", tools=[WEATHER, other], tool_choice=allowed).tool_calls
    assert call.name == "now"


def test_a_tools_answer_gets_a_text() -> None:
    found = reply(*TOOL_TURN, tools=[WEATHER], tool_choice="required")
    assert found.text == "The tool answered: It rains."
    assert found.finish_reason == "stop"


def test_a_tool_call_without_tools_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        answer("Hello", model="sandbox-tool-call")
    assert caught.value.param == "tools"


# Structured output


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str = Field(min_length=8, max_length=12)
    zip: str | None


class Person(BaseModel):
    name: str
    age: int = Field(ge=18, lt=100)
    height: float = Field(gt=0.5, lt=0.6)
    kind: Literal["person"]
    colour: Colour
    addresses: list[Address] = Field(min_length=2)
    friends: list["Person"]
    best_friend: "Person | None"
    born: date
    seen: datetime
    steps: int = Field(multiple_of=5, gt=12)
    either: Address | int
    pair: tuple[int, str]
    is_tall: bool


def test_the_answer_satisfies_the_schema_that_the_sdk_sends() -> None:
    described = {"name": "person", "schema": to_strict_json_schema(Person), "strict": True}
    schema = {"type": "json_schema", "json_schema": described}
    found = reply("Who?", response_format=schema)
    person = Person.model_validate_json(found.text)
    assert len(person.addresses) == 2
    assert found.finish_reason == "stop"


def test_json_mode_gives_an_object() -> None:
    assert json.loads(reply("Hello", response_format={"type": "json_object"}).text) == {}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, "text"),
        ({"const": 5}, 5),
        ({"enum": ["a", "b"]}, "a"),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "minimum": 7, "multipleOf": 4}, 8),
        ({"type": "integer", "exclusiveMinimum": 7}, 8),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "number", "minimum": 0.5}, 0.5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "null"}, None),
        ({"type": "boolean"}, True),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [1, 2, 3]),
        ({"type": "array", "maxItems": 0}, []),
        (
            {"type": "array", "uniqueItems": True, "minItems": 2, "items": {"enum": ["a", "b"]}},
            ["a", "b"],
        ),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}}, {"required": ["b"]}]},
            {"a": 1, "b": "text"},
        ),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": "x"}}}, "x"),
        ({"type": "object", "additionalProperties": False}, {}),
        ({"properties": {"x": True}}, {"x": "text"}),
    ],
)
def test_small_schemas_have_the_obvious_example(schema: dict[str, Any], value: Any) -> None:
    assert example_of(schema, "schema") == value


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    node = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "next": {"$ref": "#"}},
        "required": ["value"],
    }
    assert example_of(node, "schema")["next"]["value"] == 1


def test_a_wide_schema_that_contains_itself_comes_to_an_end() -> None:
    wide = {"type": "object", "properties": {f"p{at}": {"$ref": "#"} for at in range(100)}}
    assert len(json.dumps(example_of(wide, "schema"))) < 1_000_000


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.com/schema"},
        {"anyOf": [{"$ref": "#"}]},
        {"properties": {"again": {"$ref": "#"}}, "required": ["again"]},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
    ],
)
def test_a_schema_without_an_end_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        example_of(schema, "tools[0].function.parameters")
    assert caught.value.param == "tools[0].function.parameters"


WORDS = (
    "type properties required items minItems minimum exclusiveMinimum multipleOf $ref anyOf allOf"
)
KEYS = st.sampled_from(
    [*WORDS.split(), "enum", "maximum", "exclusiveMaximum", "minLength", "const"]
)
LEAVES = (
    st.sampled_from(["object", "array", "integer", "number", "string", "null", "#", "#/items"])
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
)
SCHEMAS = st.recursive(
    LEAVES, lambda inner: st.dictionaries(KEYS, inner) | st.lists(inner, max_size=3), max_leaves=15
)


@given(st.dictionaries(KEYS, SCHEMAS, max_size=5))
def test_no_schema_crashes_the_sandbox(schema: dict[str, Any]) -> None:
    with contextlib.suppress(UnsupportedParameter):
        jsonio.dumps(example_of(schema, "schema"))


# Scenarios


def test_every_scenario_has_a_model_and_is_in_the_documentation() -> None:
    assert tuple(f"sandbox-{name}" for name in SCENARIOS) == SCENARIO_MODELS
    for model in SCENARIO_MODELS:
        assert f"`{model}`" in (sandbox.__doc__ or "")


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("rate-limit", UpstreamRateLimited, 429),
        ("limit", SpendingLimitReached, 429),
        ("error", UpstreamError, 502),
        ("overloaded", Overloaded, 503),
        ("timeout", UpstreamTimeout, 504),
    ],
)
def test_a_failure_can_be_asked_for_by_model_or_by_prompt(
    name: str, kind: type[BridgeError], status: int
) -> None:
    for prompt, model in (("Hello", f"sandbox-{name}"), (f"Try sandbox:{name}!", "gpt-4o")):
        with pytest.raises(kind) as caught:
            answer(prompt, model=model)
        assert caught.value.status == status
    if name in ("rate-limit", "overloaded"):
        assert caught.value.retry_after == 1


def test_only_the_last_user_message_can_ask_for_a_scenario() -> None:
    before = [
        {"role": "user", "content": "sandbox:error"},
        {"role": "assistant", "content": "sandbox:error"},
    ]
    assert "Hello" in reply(*before, HELLO).text
    assert "sandbox:unheard-of" in reply("sandbox:unheard-of").text


def test_an_echo_is_word_for_word() -> None:
    text = "  Dröhn\n\n 😀 x  "
    assert reply(text, model="sandbox-echo").text == text


def test_a_slow_answer_says_how_slow() -> None:
    delays = [delay for delay, _ in answer("Hello", model="sandbox-slow").events()]
    assert delays[0] == 0.5
    assert set(delays[1:]) == {0.2}


def test_a_broken_stream_breaks_after_some_words() -> None:
    events = [event for _, event in answer("Hello", model="sandbox-stream-error").events()]
    assert isinstance(events[0], TextDelta)
    assert isinstance(events[-1], StreamFailed)
    assert not any(isinstance(event, Finish | UsageReported) for event in events)


def test_a_refusal_is_a_content_filter() -> None:
    assert reply("Hello", model="sandbox-refusal").finish_reason == "content_filter"


def test_a_thinker_thinks_before_it_answers() -> None:
    given = answer("Hello", model="sandbox-reasoning")
    found = fold(event for _, event in given.events())
    assert found.reasoning
    assert found.text
    assert isinstance(next(given.events())[1], ReasoningDelta)
    assert 0 < given.usage.reasoning < given.usage.output


@pytest.mark.parametrize("model", ["gpt-4o", "sandbox-reasoning", "sandbox-tool-call"])
def test_an_answer_can_be_written_streamed_and_whole(model: str) -> None:
    given = answer("Hello", model=model, tools=[WEATHER])
    writer = FRONT.write_stream(HEAD, include_usage=True)
    data = b"".join(writer.write(event) for _, event in given.events())
    assert data + writer.end(given.usage, "0.00")
    whole = FRONT.write_reply(fold(event for _, event in given.events()), HEAD)
    assert whole["choices"][0]["finish_reason"] in ("stop", "tool_calls")
