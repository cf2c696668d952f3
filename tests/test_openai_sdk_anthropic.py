"""Whole conversations between the OpenAI SDK and recorded Claude models, through a real bridge."""

import asyncio
import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from recordings import available, recording
from replay import JSONDict, Replay, as_message_stream, changed
from running import HELLO, RunningBridge, cost_nanos, nanos

pytestmark = pytest.mark.skipif(not available, reason="recordings not present")
HAIKU, SONNET = "claude-haiku-4-5", "claude-sonnet-4-5"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ENTITY: Any = {
    "type": "function",
    "function": {
        "name": "retrieve_entity_info",
        "description": "Get the knowledge about the given entity.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": False,
        },
    },
}
FAMILY = ["Alice", "Bob", "Charlie", "Daisy"]
QUESTION: Any = {"role": "user", "content": "Who of Alice, Bob, Charlie and Daisy is youngest?"}


@pytest.fixture(autouse=True)
def anthropic(running: RunningBridge, replay: Replay) -> None:
    running.upstream("anthropic", "anthropic", replay.base_url, "sk-ant-recorded")


# Tools


def test_parallel_tools_are_called_answered_and_paid_for(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("anthropic-parallel-tool-use", "anthropic-text")
    recorded = [
        block
        for block in recording("anthropic-parallel-tool-use").json()["content"]
        if block["type"] == "tool_use"
    ]
    with running.openai() as client:
        asked = client.chat.completions.with_raw_response.create(
            model=HAIKU, messages=[QUESTION], tools=[ENTITY], parallel_tool_calls=True
        )
        (choice,) = asked.parse().choices
        assert choice.finish_reason == "tool_calls"
        message: Any = choice.message
        calls = message.tool_calls
        assert [call.id for call in calls] == [block["id"] for block in recorded]
        assert [json.loads(call.function.arguments)["name"] for call in calls] == FAMILY
        assert message.content.startswith("I'll help you find out")
        assert nanos(asked.headers["x-modelbridge-cost"]) == cost_nanos(
            HAIKU, input=423, output=202
        )
        results: Any = [
            {"role": "tool", "tool_call_id": call.id, "content": f"{name} is {age}"}
            for call, name, age in zip(calls, FAMILY, (40, 38, 11, 7), strict=True)
        ]
        answered = client.chat.completions.create(
            model=HAIKU, messages=[QUESTION, message, *results], tools=[ENTITY]
        )
    assert answered.choices[0].finish_reason == "stop"
    first, second = (seen.body for seen in replay.seen)
    assert first["tools"][0]["input_schema"] == ENTITY["function"]["parameters"]
    user, assistant, tools = second["messages"]
    assert user["role"] == "user"
    assert assistant["content"][0]["type"] == "text"
    assert assistant["content"][1:] == recorded
    assert tools["role"] == "user"
    assert [(one["type"], one["tool_use_id"]) for one in tools["content"]] == [
        ("tool_result", block["id"]) for block in recorded
    ]
    assert tools["content"][3]["content"] == "Daisy is 7"


def test_parallel_tool_calls_in_a_stream_are_put_together_by_the_sdk(
    running: RunningBridge, replay: Replay
) -> None:
    replay.answers(as_message_stream(recording("anthropic-parallel-tool-use")))
    with (
        running.openai() as client,
        client.chat.completions.stream(
            model=HAIKU,
            messages=[QUESTION],
            tools=[ENTITY],
            stream_options={"include_usage": True},
        ) as stream,
    ):
        indexes = [
            call.index
            for event in stream
            if event.type == "chunk" and event.chunk.choices
            for call in event.chunk.choices[0].delta.tool_calls or []
        ]
        done = stream.get_final_completion()
    assert indexes == sorted(indexes)
    assert set(indexes) == {0, 1, 2, 3}
    calls: Any = done.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments)["name"] for call in calls] == FAMILY
    assert len({call.id for call in calls}) == 4
    assert done.choices[0].finish_reason == "tool_calls"
    assert done.usage is not None
    assert done.usage.model_extra is not None
    expected = cost_nanos(HAIKU, input=423, output=202)
    assert nanos(done.usage.model_extra["cost"]) == expected
    assert running.newest_receipt()["cost_nanos"] == expected


def test_a_tool_without_arguments_is_called_with_an_empty_object(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("aisdk-anthropic-stream-tool-no-args")
    tool: Any = {"type": "function", "function": {"name": "updateIssueList"}}
    with (
        running.openai() as client,
        client.chat.completions.stream(model=SONNET, messages=[QUESTION], tools=[tool]) as stream,
    ):
        done = stream.get_final_completion()
    (call,) = done.choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("updateIssueList", {})
    assert done.choices[0].message.content == "I'll update the issue list for you."
    assert running.newest_receipt()["cost_nanos"] == cost_nanos(SONNET, input=565, output=48)


@pytest.mark.parametrize(
    ("choice", "theirs"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        (
            {"type": "function", "function": {"name": "retrieve_entity_info"}},
            {"type": "tool", "name": "retrieve_entity_info"},
        ),
    ],
)
def test_the_choice_of_a_tool_reaches_the_model(
    running: RunningBridge, replay: Replay, choice: Any, theirs: JSONDict
) -> None:
    replay.plays("anthropic-text")
    with running.openai() as client:
        client.chat.completions.create(
            model=HAIKU,
            messages=[QUESTION],
            tools=[ENTITY],
            tool_choice=choice,
            parallel_tool_calls=False,
        )
    only_one = {} if theirs == {"type": "none"} else {"disable_parallel_tool_use": True}
    assert replay.last.body["tool_choice"] == {**theirs, **only_one}


# Thinking


def test_thinking_is_shown_and_goes_back_with_its_signature(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("anthropic-thinking", "anthropic-text")
    block = recording("anthropic-thinking").json()["content"][0]
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    with running.openai() as client:
        raw = client.chat.completions.with_raw_response.create(
            model=SONNET, messages=HELLO, max_tokens=4096, extra_body=thinking
        )
        message: Any = raw.parse().choices[0].message
        assert message.reasoning_content == block["thinking"]
        assert message.thinking_blocks == [block]
        client.chat.completions.create(
            model=SONNET,
            messages=[*HELLO, message, {"role": "user", "content": "And back?"}],
            max_tokens=4096,
            extra_body=thinking,
        )
    assert replay.seen[0].body["thinking"] == thinking["thinking"]
    assistant = replay.last.body["messages"][1]
    assert assistant["content"][0] == block
    assert assistant["content"][1] == {"type": "text", "text": message.content}
    assert nanos(raw.headers["x-modelbridge-cost"]) == cost_nanos(SONNET, input=43, output=321)


def test_thinking_is_streamed_before_the_text(running: RunningBridge, replay: Replay) -> None:
    replay.plays("anthropic-stream-thinking")
    with running.openai() as client:
        stream = client.chat.completions.create(
            model="claude-sonnet-4-0",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
            reasoning_effort="low",
            max_completion_tokens=4096,
        )
        chunks: list[Any] = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    kinds = [
        "thought" if getattr(delta, "reasoning_content", None) else "text"
        for delta in deltas
        if delta.content or getattr(delta, "reasoning_content", None)
    ]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"thought", "text"}
    (signed,) = [block for delta in deltas for block in getattr(delta, "thinking_blocks", [])]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert signed["thinking"] == thought
    assert signed["signature"]
    text = "".join(delta.content or "" for delta in deltas)
    assert text.endswith("when crossing streets.")
    expected = cost_nanos("claude-sonnet-4-0", input=43, output=282)
    assert nanos(chunks[-1].usage.cost) == expected
    assert replay.last.body["thinking"] == {"type": "enabled", "budget_tokens": 2048}


def test_redacted_thinking_survives_the_round_trip(running: RunningBridge, replay: Replay) -> None:
    replay.plays("anthropic-redacted-thinking", "anthropic-text")
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    block = recording("anthropic-redacted-thinking").json()["content"][0]
    with running.openai() as client:
        reply = client.chat.completions.create(
            model=SONNET, messages=HELLO, max_tokens=4096, extra_body=thinking
        )
        message: Any = reply.choices[0].message
        assert message.thinking_blocks == [block]
        client.chat.completions.create(
            model=SONNET,
            messages=[*HELLO, message, {"role": "user", "content": "Go on"}],
            max_tokens=4096,
            extra_body=thinking,
        )
    assert replay.last.body["messages"][1]["content"][0] == block


# What the model is shown


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (
            f"data:image/png;base64,{PIXEL}",
            {"type": "base64", "media_type": "image/png", "data": PIXEL},
        ),
        (
            f"data:image/jpg;base64,{PIXEL}",
            {"type": "base64", "media_type": "image/jpeg", "data": PIXEL},
        ),
        (
            "https://example.com/cat.png?size=1",
            {"type": "url", "url": "https://example.com/cat.png?size=1"},
        ),
    ],
)
def test_images_are_shown_to_the_model(
    running: RunningBridge, replay: Replay, url: str, source: JSONDict
) -> None:
    replay.plays("anthropic-text")
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    with running.openai() as client:
        client.chat.completions.create(
            model=SONNET, messages=[{"role": "user", "content": content}]
        )
    assert replay.last.body["messages"][0]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "source": source},
    ]
    assert running.newest_receipt()["cost_nanos"] == cost_nanos(SONNET, input=8, output=21)


def test_a_document_is_shown_as_it_was_recorded(running: RunningBridge, replay: Replay) -> None:
    replay.plays("anthropic-document-pdf-base64")
    asked = recording("anthropic-document-pdf-base64").request
    assert asked is not None
    text, document = asked["messages"][0]["content"]
    file = {"file_data": f"data:application/pdf;base64,{document['source']['data']}"}
    content: Any = [text, {"type": "file", "file": file}]
    with running.openai() as client:
        reply = client.chat.completions.create(
            model=SONNET, messages=[{"role": "user", "content": content}], max_tokens=4096
        )
    assert "Dummy PDF file" in (reply.choices[0].message.content or "")
    assert replay.last.body["messages"] == asked["messages"]
    assert running.newest_receipt()["cost_nanos"] == cost_nanos(SONNET, input=1615, output=28)


# What the answer has to look like


class City(BaseModel):
    name: str
    country: str


@pytest.mark.parametrize("stream", [False, True])
def test_parse_gives_the_object_that_was_asked_for(
    running: RunningBridge, replay: Replay, stream: bool
) -> None:
    def write_json(body: JSONDict) -> None:
        body["content"] = [{"type": "text", "text": '{"name":"Paris","country":"France"}'}]

    answer = changed("anthropic-text", write_json)
    with running.openai() as client:
        if stream:
            replay.answers(as_message_stream(answer))
            with client.chat.completions.stream(
                model=SONNET, messages=HELLO, response_format=City
            ) as events:
                message = events.get_final_completion().choices[0].message
        else:
            replay.answers(answer)
            parsed = client.chat.completions.parse(
                model=SONNET, messages=HELLO, response_format=City
            )
            message = parsed.choices[0].message
    assert message.parsed == City(name="Paris", country="France")
    wanted = replay.last.body["output_config"]["format"]
    assert wanted["type"] == "json_schema"
    assert wanted["schema"]["required"] == ["name", "country"]
    assert wanted["schema"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("field", "value"),
    [("n", 2), ("logprobs", True), ("response_format", {"type": "json_object"})],
)
def test_what_claude_cannot_do_is_refused_by_name_and_costs_nothing(
    running: RunningBridge, replay: Replay, field: str, value: Any
) -> None:
    before = running.balance_nanos()
    fields: Any = {field: value}
    with running.openai() as client, pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model=SONNET, messages=HELLO, **fields)
    assert (refusal.value.code, refusal.value.param) == ("unsupported_parameter", field)
    assert replay.seen == []
    assert running.balance_nanos() == before


def test_a_hint_that_claude_cannot_take_is_dropped_by_name(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("anthropic-text")
    with running.openai() as client:
        raw = client.chat.completions.with_raw_response.create(
            model=SONNET, messages=HELLO, seed=7, presence_penalty=0.5
        )
    assert set(raw.headers["x-modelbridge-dropped"].split(", ")) == {"seed", "presence_penalty"}


def test_calls_of_asyncio_run_side_by_side(running: RunningBridge, replay: Replay) -> None:
    replay.plays(*["aisdk-anthropic-stream-text"] * 5, *["anthropic-text"] * 5)

    async def talk(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model=SONNET, messages=HELLO, stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream])

    async def main() -> list[str]:
        async with running.async_openai() as client:
            streams = await asyncio.gather(*(talk(client) for _ in range(5)))
            plain = await asyncio.gather(
                *(client.chat.completions.create(model=SONNET, messages=HELLO) for _ in range(5))
            )
            return streams + [reply.choices[0].message.content or "" for reply in plain]

    before = running.balance_nanos()
    texts = asyncio.run(main())
    assert len({*texts[:5]}) == len({*texts[5:]}) == 1
    assert before - running.balance_nanos() == 5 * (
        cost_nanos(SONNET, input=12, output=30) + cost_nanos(SONNET, input=8, output=21)
    )
