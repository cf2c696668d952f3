"""What a Responses request may say, and what is sent upstream for it."""

from copy import deepcopy
from typing import Any, cast

import pytest
from recordings import available, recording
from responses_words import FRONT, UPSTREAM, WEATHER, function_call, message, reasoning, target

from modelbridge.dialects import anthropic_messages, openai_chat
from modelbridge.dialects.registry import FRONTS, UPSTREAM_DIALECTS
from modelbridge.errors import InvalidRequest, UnsupportedParameter
from modelbridge.gateway import bounds
from modelbridge.wire.chat import ChatRequest

JSONDict = dict[str, Any]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def ask(given: Any = "Hello", **fields: Any) -> JSONDict:
    return {"model": "gpt-test", "input": given, **fields}


def read(given: Any = "Hello", **fields: Any) -> JSONDict:
    return cast(JSONDict, FRONT.read_request(ask(given, **fields)))


def sent(body: JSONDict, **quirks: Any) -> JSONDict:
    return UPSTREAM.build_request(FRONT.read_request(body), target(**quirks), 512).body


def refused(body: JSONDict) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        FRONT.read_request(body)
    assert caught.value.param is not None
    assert caught.value.param in caught.value.message
    return caught.value


def test_both_halves_are_registered_under_their_name() -> None:
    assert FRONTS["openai_responses"] is FRONT
    assert UPSTREAM_DIALECTS["openai_responses"] is UPSTREAM


# What is accepted


@pytest.mark.skipif(not available, reason="recordings not present")
@pytest.mark.parametrize("name", ["openai-responses-text", "openai-responses-stream-tool-call"])
def test_requests_that_clients_really_sent_are_read_and_sent_on_alike(name: str) -> None:
    body = recording(name).request
    assert body is not None
    before = deepcopy(body)
    request = FRONT.read_request(body)
    assert body == before
    wire = UPSTREAM.build_request(request, target(body["model"]), 512)
    assert (wire.path, wire.dropped) == ("/responses", ())
    expected = {**before, "store": False, "max_output_tokens": 512}
    for item in expected["input"]:
        item["type"] = "message"
    for tool in expected.get("tools", []):
        tool.pop("description")  # an empty one says nothing
    for name in [name for name in ("instructions", "stream") if not expected.get(name)]:
        expected.pop(name, None)
    assert wire.body == expected


def test_a_conversation_with_reasoning_and_tools_becomes_canonical() -> None:
    picture = {"type": "input_image", "image_url": PIXEL, "detail": "low"}
    request = read(
        [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "input_text", "text": "How warm?"}, picture]},
            reasoning(),
            message("I look."),
            function_call(),
            {"type": "function_call_output", "call_id": "call_1", "output": "Warm."},
            {"role": "assistant", "content": "It is warm.", "phase": "final_answer"},
            {"role": "user", "content": "Thanks."},
        ],
        instructions="Be brief.",
    )
    system, developer, user, called, tool, said, thanks = request["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert developer == {"role": "developer", "content": "Be kind."}
    assert user["content"][1]["image_url"] == {"url": PIXEL, "detail": "low"}
    assert called["thinking_blocks"] == [reasoning()]
    assert called["content"] == [{"type": "text", "text": "I look."}]
    assert called["tool_calls"][0]["function"] == {
        "name": "weather",
        "arguments": '{"city":"Perth"}',
    }
    assert tool == {"role": "tool", "tool_call_id": "call_1", "content": "Warm."}
    assert said == {"role": "assistant", "content": "It is warm.", "phase": "final_answer"}
    assert thanks == {"role": "user", "content": "Thanks."}


def test_items_go_back_upstream_without_the_ids_that_nobody_stored() -> None:
    items = [
        {"role": "user", "content": "How warm?"},
        {**reasoning(), "status": None},
        message("I look."),
        function_call(),
        {"type": "function_call_output", "call_id": "call_1", "output": "Warm.", "id": "fco_1"},
    ]
    _, thought, said, call, output = sent(ask(items))["input"]
    assert thought == reasoning()
    assert said["content"] == [{"type": "output_text", "text": "I look."}]
    assert not {"id", "status"} & (said.keys() | call.keys() | output.keys())


def test_reasoning_that_nobody_sealed_is_text_for_others_and_dropped_for_openai() -> None:
    items = [{"role": "user", "content": "Hi"}, {**reasoning(sealed="")}, message("Hello.")]
    request = FRONT.read_request(ask(items))
    assert request["messages"][1]["reasoning_content"] == "Hm."
    wire = UPSTREAM.build_request(request, target(), 512)
    assert [item["type"] for item in wire.body["input"]] == ["message", "message"]
    assert wire.dropped == ("reasoning_content",)


def test_another_models_signature_goes_back_to_it_and_never_to_openai() -> None:
    items = [
        {"role": "user", "content": "Hi"},
        reasoning("Hm.", "signed:c2ln"),
        reasoning("", "redacted:c2Vj"),
        message("Hello."),
    ]
    request = FRONT.read_request(ask(items))
    assert request["messages"][1]["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2Vj"},
    ]
    wire = UPSTREAM.build_request(request, target(), 512)
    assert "c2ln" not in str(wire.body)
    assert wire.dropped == ("thinking_blocks",)


def test_openais_seal_is_never_shown_to_anthropic() -> None:
    sealed = {"type": "thinking", "thinking": "Hm.", "signature": "openai:rs_1:gAAAA"}
    answer = {"role": "assistant", "content": "Hello.", "thinking_blocks": [sealed]}
    messages: Any = [{"role": "user", "content": "Hi"}, answer, {"role": "user", "content": "So?"}]
    request: ChatRequest = {"model": "m", "messages": messages, "thinking": {"type": "adaptive"}}
    theirs = anthropic_messages.build_request(request, target("claude-sonnet-4-6"), 512)
    assert "gAAAA" not in str(theirs.body)
    ours = UPSTREAM.build_request(request, target(), 512)
    assert ours.body["input"][1] == reasoning()


def test_functions_in_namespaces_have_long_names_elsewhere_and_their_own_at_openai() -> None:
    inner = {key: value for key, value in WEATHER.items() if key != "strict"}
    group = {"type": "namespace", "name": "sky", "description": "Above", "tools": [inner]}
    call = function_call(namespace="sky")
    output = {"type": "function_call_output", "call_id": "call_1", "output": "Warm."}
    body = ask([{"role": "user", "content": "Hi"}, call, output], tools=[group])
    request = FRONT.read_request(body)
    assert request["tools"] is not None
    assert request["tools"][0]["function"]["name"] == "sky__weather"
    chat = openai_chat.build_request(request, target(), 512).body
    assert "namespace" not in str(chat)
    assert chat["messages"][1]["tool_calls"][0]["function"]["name"] == "sky__weather"
    back = UPSTREAM.build_request(request, target(), 512).body
    assert back["tools"] == [{**group, "tools": [{**inner, "strict": None}]}]
    assert (back["input"][1]["name"], back["input"][1]["namespace"]) == ("weather", "sky")


def test_what_only_this_format_says_passes_to_openai_and_is_named_elsewhere() -> None:
    body = ask(
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low", "other": 1},
        prompt_cache_key="k",
        client_metadata={"a": "b"},
        metadata={"a": "b"},
        truncation="auto",
        store=False,
    )
    wire = UPSTREAM.build_request(FRONT.read_request(body), target(), 512)
    assert wire.dropped == ()
    assert wire.body == {
        **body,
        "store": False,
        "max_output_tokens": 512,
        "input": [{"type": "message", "role": "user", "content": "Hello"}],
    }
    chat = openai_chat.build_request(FRONT.read_request(body), target(), 512)
    assert set(chat.dropped) == {
        "include", "reasoning", "text", "prompt_cache_key", "client_metadata", "truncation",
    }  # fmt: skip
    assert chat.body["reasoning_effort"] == chat.body["verbosity"] == "low"
    assert not {"metadata", "responses_fields"} & chat.body.keys()


def test_a_search_among_other_tools_is_left_out_and_named_alone_it_is_refused() -> None:
    search = {"type": "web_search", "external_web_access": True}
    wire = UPSTREAM.build_request(FRONT.read_request(ask(tools=[search, WEATHER])), target(), 512)
    assert wire.body["tools"] == [WEATHER]
    assert wire.dropped == ("tools.web_search",)
    assert refused(ask(tools=[search])).param == "tools[0].type"


def test_structured_output_and_the_choice_of_tools_are_said_in_both_forms() -> None:
    format_ = {"type": "json_schema", "name": "city", "strict": True, "schema": {"type": "object"}}
    chosen = {"type": "function", "name": "weather"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [chosen]}
    for choice in ("required", chosen, allowed):
        body = ask(text={"format": format_}, tools=[WEATHER], tool_choice=choice)
        wire = sent(body)
        assert wire["text"] == {"format": format_}
        assert (wire["tools"], wire["tool_choice"]) == ([WEATHER], choice)
    request = read(text={"format": format_})
    assert request["response_format"]["json_schema"]["name"] == "city"
    assert read(text={"format": {"type": "json_object"}})["response_format"] == {
        "type": "json_object"
    }


def test_the_providers_class_of_service_is_always_the_priced_one() -> None:
    body = sent(ask(service_tier="auto"), force={"service_tier": "default"}, drop=("user",))
    assert body["service_tier"] == "default"


# What chats become


def test_a_chat_becomes_a_response_request() -> None:
    chat: Any = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "Alice"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather"}}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "reasoning_effort": "low",
        "verbosity": "high",
        "temperature": 0.5,
        "seed": 7,
        "presence_penalty": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 1,
    }
    wire = UPSTREAM.build_request(openai_chat.read_request(chat), target(), 512)
    assert wire.dropped == ("seed", "messages.name")
    assert wire.body == {
        "model": "gpt-test",
        "max_output_tokens": 512,
        "store": False,
        "stream": True,
        "instructions": "Be brief.",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Hi"}],
            }
        ],
        "temperature": 0.5,
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            }
        ],
        "tool_choice": {"type": "function", "name": "weather"},
        "text": {"verbosity": "high"},
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
    }


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"stop": ["END"]}, "stop"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools[0].type"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_audio", "input_audio": {"data": "a", "format": "wav"}}
                        ],
                    }
                ]
            },
            "messages[0].content[0].type",
        ),
    ],
)
def test_what_the_format_cannot_say_is_refused(more: JSONDict, param: str) -> None:
    chat: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}
    with pytest.raises(UnsupportedParameter) as caught:
        UPSTREAM.build_request(chat, target(), 512)
    assert caught.value.param == param


def test_a_request_of_anthropics_keeps_its_meaning() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}
    plain = {"type": "text", "media_type": "text/plain", "data": "Rules"}
    mark = {"cache_control": {"type": "ephemeral"}}
    body: Any = {
        "model": "m",
        "max_tokens": 100,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "document", "source": pdf, "title": "a.pdf"},
                    {"type": "document", "source": plain},
                    {"type": "text", "text": "So?", **mark},
                ],
            }
        ],
    }
    wire = UPSTREAM.build_request(anthropic_messages.read_request(body), target(), 100)
    assert wire.body["input"][0]["content"] == [
        {
            "type": "input_file",
            "filename": "a.pdf",
            "file_data": "data:application/pdf;base64,JVBERi0xLjQ=",
        },
        {"type": "input_text", "text": "Rules"},
        {"type": "input_text", "text": "So?"},
    ]
    assert wire.dropped == ("cache_control",)


# What is refused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("background", True),
        ("store", True),
        ("prompt", {"id": "pmpt_1"}),
        ("context_management", [{"type": "compaction"}]),
        ("service_tier", "priority"),
        ("max_tokens", 10),
        ("max_completion_tokens", 10),
        ("n", 2),
        ("n_predict", 5),
    ],
)
def test_what_needs_a_store_or_has_no_bound_is_refused(field: str, value: object) -> None:
    error = refused(ask(**{field: value}))
    assert isinstance(error, UnsupportedParameter)
    assert error.param == field


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "Hi"}, "model"),
        ({"model": "m"}, "input"),
        (ask([]), "input"),
        (ask(7), "input"),
        (ask([{"role": "tool", "content": "a"}]), "input[0].role"),
        (ask([{"type": "item_reference", "id": "msg_1"}]), "input[0].type"),
        (ask([{"type": "local_shell_call", "id": "a"}]), "input[0].type"),
        (ask([{"role": "user", "content": [{"type": "text", "text": "a"}]}]),
         "input[0].content[0].type"),
        (ask([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]),
         "input[0].content[0].file_id"),
        (ask([{"role": "user", "content": [{"type": "input_file"}]}]), "input[0].content[0]"),
        (ask([{"type": "function_call", "name": "a", "arguments": ""}]), "input[0].call_id"),
        (ask([{"type": "function_call_output", "call_id": "a"}]), "input[0].output"),
        (ask([{"type": "reasoning", "summary": [{}]}]), "input[0].summary[0].text"),
        (ask(instructions=7), "instructions"),
        (ask(stream="yes"), "stream"),
        (ask(max_output_tokens=0), "max_output_tokens"),
        (ask(temperature=3), "temperature"),
        (ask(tools=[{"type": "code_interpreter"}]), "tools[0].type"),
        (ask(tools=[{"type": "local_shell"}]), "tools[0].type"),
        (ask(tools=[{"type": "function"}]), "tools[0].name"),
        (ask(tools=[WEATHER], tool_choice={"type": "function", "name": "b"}), "tool_choice.name"),
        (ask(tools=[WEATHER], tool_choice={"type": "file_search"}), "tool_choice.type"),
        (ask(tool_choice="required"), "tool_choice"),
        (ask(text={"format": {"type": "grammar"}}), "text.format.type"),
        (ask(text={"format": {"type": "json_schema", "name": "a"}}), "text.format.schema"),
        (ask(reasoning="low"), "reasoning"),
        (ask(reasoning={"mode": "pro"}), "reasoning.mode"),
        (ask(metadata=[]), "metadata"),
        (ask(include="all"), "include"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_named_by_its_field(body: JSONDict, param: str) -> None:
    assert refused(body).param == param


# Bounds


def test_the_bound_counts_everything_that_will_be_sent() -> None:
    file = {
        "type": "input_file",
        "file_data": "data:application/pdf;base64,JVBERi0=",
        "filename": "a",
    }
    parts = [{"type": "input_image", "image_url": PIXEL}]
    output = {"type": "function_call_output", "call_id": "c", "output": parts}
    small = bounds.measure(FRONT.read_request(ask()))
    sealed = bounds.measure(FRONT.read_request(ask([reasoning(sealed="g" * 9_000)])))
    assert sealed.text_tokens > small.text_tokens + 9_000
    assert bounds.measure(FRONT.read_request(ask([output]))).images == 1
    asked = ask([{"role": "user", "content": [file]}])
    assert bounds.measure(FRONT.read_request(asked)).unbounded == "messages[0].content[0]"
    tools = bounds.measure(FRONT.read_request(ask(tools=[WEATHER])))
    assert tools.text_tokens > small.text_tokens + bounds.TOOLS_TOKENS
