"""A canonical request in Gemini's words: what is said, what is dropped and what is refused."""

from typing import Any

import pytest
from gemini_words import DIALECT, FLASH, NEW, PRO, build, config, function, quirky, target

from modelbridge.dialects.gemini_schema import fitting
from modelbridge.errors import InvalidRequest, UnsupportedParameter

HELLO: Any = {"role": "user", "content": "Hello"}


def test_a_small_request_is_small() -> None:
    wire = build()
    assert wire.path == f"/v1beta/models/{FLASH}:generateContent"
    assert wire.body == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "generationConfig": {"maxOutputTokens": 4096},
    }
    assert (wire.dropped, dict(wire.headers), wire.method) == ((), {}, "POST")


def test_a_stream_has_an_address_of_its_own() -> None:
    wire = build(stream=True, stream_options={"include_usage": True})
    assert wire.path == f"/v1beta/models/{FLASH}:streamGenerateContent?alt=sse"
    assert "stream" not in str(wire.body)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-3.1-pro-preview", "/v1beta/models/gemini-3.1-pro-preview:generateContent"),
        ("models/gemini-2.5-pro", "/v1beta/models/gemini-2.5-pro:generateContent"),
        ("tunedModels/mine-7", "/v1beta/tunedModels/mine-7:generateContent"),
        ("a?b#c:d é", "/v1beta/models/a%3Fb%23c%3Ad%20%C3%A9:generateContent"),
    ],
)
def test_the_model_is_quoted_in_the_address(model: str, path: str) -> None:
    assert build(model=model).path == path


def test_another_version_is_a_quirk() -> None:
    request: Any = {"messages": [HELLO]}
    wire = DIALECT.build_request(request, quirky(paths={"gemini": "/v1"}), 7)
    assert wire.path == f"/v1/models/{FLASH}:generateContent"


def test_the_cap_that_was_paid_for_is_what_is_sent() -> None:
    wire = build(max_tokens=9, max_completion_tokens=9, cap=7)
    assert wire.body["generationConfig"] == {"maxOutputTokens": 7}


def test_sampling_seed_and_stops_have_their_places() -> None:
    assert config(
        temperature=1.5, top_p=0.5, top_k=3, presence_penalty=0.5, frequency_penalty=-1,
        seed=5, stop=["END", ""],
    ) == {
        "temperature": 1.5, "topP": 0.5, "topK": 3, "presencePenalty": 0.5,
        "frequencyPenalty": -1, "seed": 5, "stopSequences": ["END"],
    }  # fmt: skip
    assert config(seed=2**40 + 5)["seed"] == 5
    assert config(seed=-1)["seed"] == 2**31 - 1
    assert config(temperature=0, presence_penalty=0) == {"temperature": 0}


def test_what_new_models_ignore_or_refuse_is_not_sent_to_them_but_named() -> None:
    wire = build(model=NEW, temperature=0.2, top_p=1, top_k=1, presence_penalty=1, seed=1)
    assert wire.body["generationConfig"] == {"maxOutputTokens": 4096, "seed": 1}
    assert wire.dropped == ("temperature", "top_k", "presence_penalty")
    assert build(model=NEW, temperature=1).dropped == ()


def test_hints_are_named_and_what_says_nothing_is_not() -> None:
    assert build(logit_bias={"1": 2}, user="u", metadata={"a": "b"}, x=1).dropped == (
        "logit_bias", "user", "metadata", "x",
    )  # fmt: skip
    assert build(logit_bias={}, metadata={}, store=False, service_tier="auto", n=1).dropped == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("modalities", ["text", "image"]),
        ("web_search_options", {}),
        ("functions", [{}]),
        ("stop", list("abcdef")),
    ],
)
def test_what_would_change_the_meaning_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        build(**{field: value})
    assert refusal.value.param == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("seed", 1.5),
        ("stop", [1]),
        ("reasoning_effort", "huge"),
        ("thinking", "yes"),
        ("response_format", {"type": "grammar"}),
        ("tools", {"x": 1}),
        ("tool_choice", "required"),
    ],
)
def test_what_is_malformed_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        build(**{field: value})
    assert refusal.value.param == field


# Thinking

LESS = ("reasoning_effort",)
BUDGET = ("thinking.budget_tokens",)


def level(name: str) -> dict[str, Any]:
    return {"thinkingLevel": name, "includeThoughts": True}


def budget(tokens: int) -> dict[str, Any]:
    return {"thinkingBudget": tokens, "includeThoughts": True}


@pytest.mark.parametrize(
    ("model", "effort", "expected", "dropped"),
    [
        (FLASH, "minimal", budget(1024), ()),
        (FLASH, "medium", budget(8192), ()),
        (FLASH, "high", budget(24576), ()),
        (FLASH, "xhigh", budget(24576), LESS),
        (FLASH, "none", {"thinkingBudget": 0}, ()),
        (PRO, "none", {"thinkingBudget": 128}, LESS),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "minimal"}, LESS),
        ("gemini-3-flash-preview", "minimal", level("minimal"), ()),
        ("gemini-3-flash-preview", "medium", level("medium"), ()),
        (NEW, "minimal", level("low"), LESS),
        (NEW, "high", level("high"), ()),
        (NEW, "max", level("high"), LESS),
        ("gemini-3-pro-preview", "medium", level("high"), LESS),
        ("gemini-3.1-pro-preview", "medium", level("medium"), ()),
        ("gemini-flash-latest", "low", level("low"), ()),
        ("gemini-4-argon", "low", level("low"), ()),
        ("gemini-2.0-flash", "high", None, LESS),
        ("gemini-2.0-flash", "none", None, ()),
        ("gemma-3-27b-it", "high", None, LESS),
        ("tunedModels/mine", "high", None, LESS),
    ],
)
def test_the_effort_comes_to_what_the_model_knows(
    model: str, effort: str, expected: Any, dropped: Any
) -> None:
    wire = build(model=model, reasoning_effort=effort, cap=40_000)
    assert wire.body["generationConfig"].get("thinkingConfig") == expected
    assert wire.dropped == dropped


@pytest.mark.parametrize(
    ("model", "thinking", "expected", "dropped"),
    [
        (FLASH, {"type": "enabled", "budget_tokens": 2000}, budget(2000), ()),
        (FLASH, {"type": "enabled", "budget_tokens": 99_999}, budget(24576), BUDGET),
        (PRO, {"type": "enabled", "budget_tokens": 30_000}, budget(30_000), ()),
        (FLASH, {"type": "adaptive"}, {"includeThoughts": True}, ()),
        (FLASH, {"type": "disabled"}, {"thinkingBudget": 0}, ()),
        (PRO, {"type": "disabled"}, {"thinkingBudget": 128}, ("thinking",)),
        (NEW, {"type": "enabled", "budget_tokens": 2000}, {"includeThoughts": True}, BUDGET),
        ("gemini-2.0-flash", {"type": "adaptive"}, None, ("thinking",)),
        ("gemini-2.0-flash", {"type": "disabled"}, None, ()),
    ],
)  # fmt: skip
def test_thinking_as_anthropics_clients_ask_for_it(
    model: str, thinking: Any, expected: Any, dropped: Any
) -> None:
    wire = build(model=model, thinking=thinking, cap=40_000)
    assert wire.body["generationConfig"].get("thinkingConfig") == expected
    assert wire.dropped == dropped


def test_a_budget_leaves_room_for_the_answer_or_is_not_sent() -> None:
    assert build(reasoning_effort="high", cap=1000).body["generationConfig"] == {
        "maxOutputTokens": 1000,
        "thinkingConfig": budget(800),
    }
    wire = build(reasoning_effort="high", cap=100)
    assert wire.body["generationConfig"] == {"maxOutputTokens": 100}
    assert wire.dropped == LESS


def test_the_effort_of_anthropics_clients_counts() -> None:
    own = {"output_config": {"effort": "low"}, "cache_control": {"type": "ephemeral"}}
    wire = build(model=NEW, anthropic_fields=own)
    assert wire.body["generationConfig"]["thinkingConfig"] == level("low")
    assert wire.dropped == ("cache_control",)
    both = build(model=NEW, anthropic_fields=own, thinking={"type": "enabled", "budget_tokens": 9})
    assert both.body["generationConfig"]["thinkingConfig"] == level("low")


# Tools


def test_tools_are_declared_with_their_schemas() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wire = build(tools=[function(description="d", parameters=schema), function("now")])
    assert wire.body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "d", "parametersJsonSchema": schema},
                {"name": "now"},
            ]
        }
    ]
    assert "toolConfig" not in wire.body


ALLOWED = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "required", "tools": [function("now")]},
}


@pytest.mark.parametrize(
    ("choice", "calling", "names"),
    [
        ("auto", {"mode": "AUTO"}, ["weather", "now"]),
        ("none", {"mode": "NONE"}, ["weather", "now"]),
        ("required", {"mode": "ANY"}, ["weather", "now"]),
        (function("now"), {"mode": "ANY", "allowedFunctionNames": ["now"]}, ["weather", "now"]),
        (ALLOWED, {"mode": "ANY"}, ["now"]),
    ],
)
def test_the_choice_of_a_tool_has_a_mode(choice: Any, calling: Any, names: list[str]) -> None:
    body = build(tools=[function(), function("now")], tool_choice=choice).body
    assert body["toolConfig"] == {"functionCallingConfig": calling}
    assert [one["name"] for one in body["tools"][0]["functionDeclarations"]] == names


def test_what_cannot_be_said_of_tools_is_named() -> None:
    tool = {**function(strict=True), "cache_control": {"type": "ephemeral"}}
    assert build(tools=[tool], parallel_tool_calls=False).dropped == (
        "tools.strict", "cache_control", "parallel_tool_calls",
    )  # fmt: skip
    with pytest.raises(UnsupportedParameter, match="custom"):
        build(tools=[{"type": "custom", "custom": {"name": "x"}}])


# Structured answers


def test_schemas_and_json_of_any_shape_are_enforced() -> None:
    assert config(response_format={"type": "json_object"}) == {
        "responseMimeType": "application/json"
    }
    assert config(response_format={"type": "text"}) == {}
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    described = {"name": "x", "description": "d", "schema": schema, "strict": True}
    assert config(response_format={"type": "json_schema", "json_schema": described}) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"description": "d", **schema},
    }


def fitted(schema: Any) -> tuple[Any, list[str]]:
    dropped: list[str] = []
    return fitting(schema, "tools", dropped), dropped


def test_a_schema_keeps_what_gemini_knows_and_says_the_rest_otherwise() -> None:
    assert fitted(
        {
            "$schema": "x",
            "definitions": {"A": {"type": "integer", "exclusiveMinimum": 3}},
            "type": "object",
            "properties": {
                "a": {"$ref": "#/definitions/A", "description": "beside"},
                "b": {"oneOf": [{"const": 1}, {"const": None}, True]},
                "c": {"type": "string", "pattern": "^x", "description": "c"},
                "d": {"type": "array", "items": {"enum": ["x", None]}, "uniqueItems": True},
                "e": {"enum": [True, False]},
                "f": {"type": "integer", "nullable": True},
            },
            "additionalProperties": False,
        }
    ) == (
        {
            "$defs": {"A": {"type": "integer", "description": "{exclusiveMinimum: 3}"}},
            "type": "object",
            "properties": {
                "a": {"$ref": "#/$defs/A"},
                "b": {"anyOf": [{"enum": [1]}, {"type": "null"}, {}]},
                "c": {"type": "string", "description": "c\n\n{pattern: ^x}"},
                "d": {
                    "type": "array",
                    "items": {"enum": ["x"]},
                    "description": "{uniqueItems: true}",
                },
                "e": {"description": "{enum: [true,false]}"},
                "f": {"type": ["integer", "null"]},
            },
            "additionalProperties": False,
        },
        ["tools.exclusiveMinimum", "tools.pattern", "tools.uniqueItems", "tools.enum"],
    )


def test_schemas_that_must_all_fit_become_one() -> None:
    both = [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}}]
    assert fitted({"type": "object", "allOf": both, "required": ["b"]}) == (
        {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]},
        [],
    )
    reference = {"allOf": [{"$ref": "#/$defs/A"}], "description": "d"}
    assert fitted(reference) == ({"description": "d", "anyOf": [{"$ref": "#/$defs/A"}]}, [])


def test_the_target_says_whose_credential_goes_where() -> None:
    assert target().auth == "x-goog-api-key"
