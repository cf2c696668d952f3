"""Custom tools, whose input is text of any form, and tools that stand in the input.

Codex offers its own tools so: `apply_patch` with a grammar, and with newer models all of them in
namespaces inside `additional_tools`.
"""

import json
from dataclasses import replace
from typing import Any

import pytest
from openai_schema import available as schema_available
from openai_schema import faults
from responses_words import FRONT, HEAD, UPSTREAM, WEATHER, events_in, target

from modelbridge.dialects import anthropic_messages, gemini, openai_chat
from modelbridge.dialects.openai_responses_tools import free_text, wrapped_text
from modelbridge.errors import InvalidRequest, UnsupportedParameter
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    Reply,
    StreamEvent,
    ToolCallDelta,
    ToolCallMade,
    ToolCallStart,
)

JSONDict = dict[str, Any]
PATCH = '*** Begin Patch\n*** Add File: a "b".txt\n+é\\\n*** End Patch\n'
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"}
PATCHES = {"type": "custom", "name": "apply_patch", "description": "Edits.", "format": GRAMMAR}
GROUP = {
    "type": "namespace",
    "name": "functions",
    "description": "All of them",
    "tools": [{"type": "custom", "name": "exec", "description": "Runs."}, WEATHER],
}
ADDED = {"type": "additional_tools", "id": "at_1", "role": "developer", "tools": [GROUP]}
HELLO = {"type": "message", "role": "user", "content": "Hello"}
CALLED = {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": PATCH}
DONE = {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done!"}


def ask(*items: JSONDict, **fields: Any) -> JSONDict:
    return {"model": "m", "input": list(items or (HELLO,)), **fields}


def test_a_custom_tool_and_its_calls_go_to_openai_as_they_came() -> None:
    choice = {"type": "custom", "name": "apply_patch"}
    body = ask(HELLO, CALLED, DONE, tools=[PATCHES, WEATHER], tool_choice=choice)
    wire = UPSTREAM.build_request(FRONT.read_request(body), target("m"), 99)
    assert wire.dropped == ()
    assert wire.body == {**body, "max_output_tokens": 99, "store": False}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [choice]}
    wire = UPSTREAM.build_request(
        FRONT.read_request({**body, "tool_choice": allowed}), target("m"), 99
    )
    assert wire.body["tool_choice"] == allowed


def test_elsewhere_it_is_a_function_with_one_text_and_its_grammar_is_told_in_words() -> None:
    request = FRONT.read_request(ask(HELLO, CALLED, DONE, tools=[PATCHES]))
    chat = openai_chat.build_request(request, target("m"), 99)
    (tool,) = chat.body["tools"]
    assert tool.keys() == {"type", "function"}
    assert tool["function"]["parameters"]["required"] == ["input"]
    assert "start: begin_patch" in tool["function"]["description"]
    assert chat.dropped == ("tools.format",)
    _, called, done = chat.body["messages"]
    assert called["tool_calls"] == [
        {
            "id": "c1",
            "type": "function",
            "function": {
                "name": "apply_patch",
                "arguments": json.dumps(
                    {"input": PATCH}, ensure_ascii=False, separators=(",", ":")
                ),
            },
        }
    ]
    assert done == {"role": "tool", "tool_call_id": "c1", "content": "Done!"}
    claude = anthropic_messages.build_request(request, target("claude-sonnet-4-6"), 99)
    assert claude.body["tools"][0]["input_schema"]["required"] == ["input"]
    assert claude.body["messages"][1]["content"][0]["input"] == {"input": PATCH}
    assert claude.dropped == ("tools.format",)
    google = gemini.build_request(request, target("gemini-2.5-flash"), 99)
    assert google.body["contents"][1]["parts"][0]["functionCall"]["args"] == {"input": PATCH}
    assert "tools.format" in google.dropped


def test_tools_in_the_input_are_offered_like_the_others_and_the_later_of_a_name_counts() -> None:
    again = {**WEATHER, "description": "Another"}
    request = FRONT.read_request(ask(ADDED, HELLO, tools=[again, PATCHES]))
    wire = UPSTREAM.build_request(request, target("m"), 99)
    assert wire.body["tools"] == [again, PATCHES, GROUP]
    assert wire.body["input"] == [HELLO]
    later = {**ADDED, "tools": [WEATHER]}
    request = FRONT.read_request(ask(HELLO, later, tools=[again]))
    chat = openai_chat.build_request(request, target("m"), 99)
    (tool,) = chat.body["tools"]
    assert tool["function"]["description"] == WEATHER["description"]


def test_a_name_that_is_too_long_for_other_servers_is_short_there_and_whole_again_here() -> None:
    space, name = "mcp__" + "s" * 40, "t" * 60
    group = {"type": "namespace", "name": space, "description": "", "tools": [
        {"type": "function", "name": name + end, "strict": None, "parameters": {"type": "object"}}
        for end in "ab"
    ]}  # fmt: skip
    call = {"type": "function_call", "call_id": "c", "name": name + "b", "arguments": "{}"}
    call["namespace"] = space
    output = {"type": "function_call_output", "call_id": "c", "output": "1"}
    body = ask(HELLO, call, output, tools=[group])
    request = FRONT.read_request(body)
    chat = openai_chat.build_request(request, target("m"), 99).body
    first, second = (tool["function"]["name"] for tool in chat["tools"])
    assert first != second
    assert len(first) == len(second) == 64
    assert chat["messages"][1]["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": second, "arguments": "{}"}}
    ]
    assert UPSTREAM.build_request(request, target("m"), 99).body == {
        **body, "max_output_tokens": 99, "store": False,
    }  # fmt: skip
    reply = Reply(tool_calls=[ToolCallMade("c", second, "{}")], finish_reason="tool_calls")
    (told,) = FRONT.write_reply(reply, replace(HEAD, asked=body))["output"]
    assert (told["name"], told["namespace"]) == (name + "b", space)


def test_a_search_for_tools_is_left_out_beside_others_and_what_agents_write_is_read() -> None:
    search = {"type": "tool_search", "execution": "client", "parameters": {}}
    told = {
        "type": "agent_message",
        "author": "/root/a",
        "recipient": "/root",
        "content": [{"type": "input_text", "text": "Warm."}],
    }
    request = FRONT.read_request(ask(HELLO, told, ADDED, tools=[search]))
    wire = openai_chat.build_request(request, target("m"), 99)
    assert wire.dropped == ("tools.tool_search",)
    assert wire.body["messages"][1] == {"role": "user", "content": "/root/a:\n\nWarm."}
    with pytest.raises(UnsupportedParameter):
        FRONT.read_request(ask(tools=[search]))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (ask(tools=[{"type": "custom"}]), "tools[0].name"),
        (ask(tools=[{**PATCHES, "format": {"type": "json"}}]), "tools[0].format.type"),
        (ask(tools=[{**PATCHES, "format": {"type": "grammar"}}]), "tools[0].format.definition"),
        (ask({**ADDED, "tools": [{"type": "mcp"}]}), "input[0].tools[0].type"),
        (ask({**ADDED, "tools": 7}), "input[0].tools"),
        (ask(HELLO, {**CALLED, "input": None}), "input[1].input"),
        (ask(HELLO, {**CALLED, "call_id": ""}), "input[1].call_id"),
    ],
)
def test_what_is_malformed_is_named_by_its_field(body: JSONDict, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        FRONT.read_request(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (wrapped_text(PATCH), PATCH),
        (json.dumps({"patch": PATCH}), PATCH),  # what models make of the argument's name
        (json.dumps(PATCH), PATCH),
        (PATCH, PATCH),
        ('{"input": 7}', '{"input": 7}'),
        ('{"a": "1", "b": "2"}', '{"a": "1", "b": "2"}'),
        ("{}", "{}"),
        ("", ""),
    ],
)
def test_the_text_of_a_call_is_found_however_the_model_wrapped_it(
    arguments: str, text: str
) -> None:
    assert free_text(arguments) == text


def test_calls_come_back_as_those_of_the_tools_that_were_offered() -> None:
    head = replace(HEAD, asked=ask(ADDED, HELLO, tools=[PATCHES]))
    calls = [
        ToolCallMade("c1", "apply_patch", wrapped_text(PATCH)),
        ToolCallMade("c2", "functions__exec", wrapped_text("text(1)")),
        ToolCallMade("c3", "functions__weather", "{}"),
    ]
    whole = FRONT.write_reply(Reply(tool_calls=calls, finish_reason="tool_calls"), head)
    first, second, third = whole["output"]
    assert (first["type"], first["name"], first["input"]) == CALLED_AS
    assert (second["type"], second["name"], second["namespace"], second["input"]) == (
        "custom_tool_call", "exec", "functions", "text(1)",
    )  # fmt: skip
    assert (third["type"], third["name"], third["arguments"]) == ("function_call", "weather", "{}")
    events: list[StreamEvent] = []
    for number, call in enumerate(calls):
        cut = len(call.arguments) // 2
        events.append(ToolCallStart(number, call.id, call.name))
        events += [
            ToolCallDelta(number, call.arguments[:cut]),
            ToolCallDelta(number, call.arguments[cut:]),
        ]
    writer = FRONT.write_stream(head, include_usage=True)
    stream = b"".join(map(writer.write, [*events, Finish("tool_calls")]))
    told = events_in(stream + writer.end(Usage(input=1, output=1), None))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert told[-1]["response"]["output"] == whole["output"]
    inputs = [e for e in told if e["type"].startswith("response.custom_tool_call_input")]
    assert [e.get("delta") or e.get("input") for e in inputs] == [
        PATCH,
        PATCH,
        "text(1)",
        "text(1)",
    ]
    done = [e["item"] for e in told if e["type"] == "response.output_item.done"]
    assert done == whole["output"]
    if schema_available:
        assert [fault for event in told for fault in faults("ResponseStreamEvent", event)] == []
        assert faults("Response", whole) == []


CALLED_AS = ("custom_tool_call", "apply_patch", PATCH)
