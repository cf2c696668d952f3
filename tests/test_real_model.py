"""The OpenAI SDK, a real bridge and a real model that nobody here wrote: llama.cpp's SmolLM2."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import openai
import pytest
import requests
from llama import WEATHER_QUESTION, WEATHER_TOOL, LlamaServer
from pydantic import BaseModel
from running import RunningBridge, nanos, to_nanos

MODEL = "tiny"
INPUT_USD, OUTPUT_USD = "0.10", "0.40"
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def bridge(running: RunningBridge, llama: LlamaServer) -> RunningBridge:
    """The bridge in front of the model, as an operator sets it up, with a price of their own."""
    if "llama" not in running._upstreams:
        running.upstream("llama", "llamacpp", llama.base_url, llama.api_key)
        names = ("--upstream", "llama", "--upstream-model", llama.model)
        price = ("--input", INPUT_USD, "--output", OUTPUT_USD)
        running.flask("model", "add", MODEL, *names, *price, "--context-window", "4096")
    return running


def cost_of(usage: Any) -> int:
    """nano-AUD of these tokens at the operator's price."""
    usd = usage.prompt_tokens * Decimal(INPUT_USD) + usage.completion_tokens * Decimal(OUTPUT_USD)
    return to_nanos(usd / 10**6)


def text_of(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_a_key_made_here_calls_a_real_model(bridge: RunningBridge, llama: LlamaServer) -> None:
    before = bridge.balance_nanos()
    with bridge.openai() as client:
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=QUESTION, max_tokens=8
        )
    reply = raw.parse()
    with openai.OpenAI(base_url=llama.base_url, api_key=llama.api_key) as direct:
        same = direct.chat.completions.create(model=llama.model, messages=QUESTION, max_tokens=8)
    assert reply.choices[0].message.content == same.choices[0].message.content
    assert reply.choices[0].message.content
    assert reply.usage is not None
    assert 0 < reply.usage.completion_tokens <= 8
    cost = nanos(raw.headers["x-modelbridge-cost"])
    assert cost == cost_of(reply.usage) > 0
    assert bridge.balance_nanos() == before - cost
    receipt = bridge.receipt(raw.headers["x-request-id"])
    assert (receipt["cost_nanos"], receipt["usage_source"]) == (cost, "reported")
    assert receipt["input_tokens"] + receipt["cache_read_tokens"] == reply.usage.prompt_tokens


def test_a_real_stream_says_the_same_and_what_it_cost(bridge: RunningBridge) -> None:
    with bridge.openai() as client:
        whole = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=8)
        chunks: list[Any] = list(
            client.chat.completions.create(
                model=MODEL,
                messages=QUESTION,
                max_tokens=8,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(chunks) > 4, "it comes piece by piece"
    assert chunks[-1].choices == []
    assert nanos(chunks[-1].usage.cost) == cost_of(chunks[-1].usage)
    assert bridge.newest_receipt()["cost_nanos"] == cost_of(chunks[-1].usage)


def test_a_stream_without_usage_is_billed_by_what_the_model_reported(
    bridge: RunningBridge,
) -> None:
    with bridge.openai() as client:
        chunks: list[Any] = list(
            client.chat.completions.create(
                model=MODEL, messages=QUESTION, max_tokens=4, stream=True
            )
        )
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    receipt = bridge.newest_receipt()
    assert receipt["usage_source"] == "reported"
    assert 0 < receipt["output_tokens"] <= 4


def test_a_real_tool_call_is_streamed_and_its_result_goes_back(bridge: RunningBridge) -> None:
    tools: Any = [WEATHER_TOOL]
    asked: Any = WEATHER_QUESTION
    with bridge.openai() as client:
        with client.chat.completions.stream(
            model=MODEL, messages=asked, tools=tools, max_tokens=60
        ) as stream:
            message: Any = stream.get_final_completion().choices[0].message
        (call,) = message.tool_calls or []
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        answered = client.chat.completions.create(
            model=MODEL, messages=[*asked, message, result], tools=tools, max_tokens=4
        )
    assert answered.usage is not None
    assert bridge.newest_receipt()["cost_nanos"] == cost_of(answered.usage)


class Answer(BaseModel):
    yes: bool


def test_parse_gets_its_object_from_a_grammar(bridge: RunningBridge) -> None:
    with bridge.openai() as client:
        done = client.chat.completions.parse(
            model=MODEL, messages=QUESTION, response_format=Answer, max_tokens=40
        )
    assert isinstance(done.choices[0].message.parsed, Answer)


def test_a_list_of_text_parts_and_a_system_prompt_pass(bridge: RunningBridge) -> None:
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
    ]
    with bridge.openai() as client:
        reply = client.chat.completions.create(
            model=MODEL, messages=messages, max_tokens=4, seed=1, stop=["\n\n\n"]
        )
    assert reply.choices[0].message.content


def test_a_picture_that_a_blind_model_cannot_see_is_refused_once_and_costs_nothing(
    bridge: RunningBridge,
) -> None:
    before = bridge.balance_nanos()
    url = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    content: Any = [{"type": "image_url", "image_url": {"url": url}}]
    with bridge.openai() as client, pytest.raises(openai.InternalServerError) as refusal:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": content}], max_tokens=4
        )
    assert refusal.value.code == "upstream_error"  # llama.cpp calls it a 500 of its own
    assert refusal.value.response.headers["x-should-retry"] == "false"
    bridge.check_books()  # waits until no hold is open
    assert bridge.balance_nanos() == before


def test_asyncio_streams_side_by_side(bridge: RunningBridge) -> None:
    async def talk(client: openai.AsyncOpenAI) -> list[Any]:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
        )
        return [chunk async for chunk in stream]

    async def main() -> list[list[Any]]:
        async with bridge.async_openai() as client:
            return await asyncio.gather(*(talk(client) for _ in range(3)))

    before = bridge.balance_nanos()
    streams = asyncio.run(main())
    assert len({text_of(chunks) for chunks in streams}) == 1
    costs = [nanos(chunks[-1].usage.cost) for chunks in streams]
    assert before - bridge.balance_nanos() == sum(costs)


def test_who_leaves_a_real_stream_pays_for_what_was_made(bridge: RunningBridge) -> None:
    with bridge.openai() as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=200, stream=True
        )
        assert next(iter(stream)).choices
        stream.close()
    bridge.check_books()  # waits until no hold is open
    receipt = bridge.newest_receipt()
    assert (receipt["finish"], receipt["usage_source"]) == ("client_left", "estimated")
    assert 0 < receipt["cost_nanos"] < receipt["held_nanos"]


def test_a_limit_holds_before_a_real_model(bridge: RunningBridge) -> None:
    key = bridge.key("poor", "--limit", "0.000001")
    with bridge.openai(key) as client, pytest.raises(openai.RateLimitError) as refusal:
        client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert refusal.value.code == "spending_limit_exceeded"


def test_the_key_knows_what_it_spent(bridge: RunningBridge) -> None:
    key = bridge.key("fresh", "--limit", "1")
    with bridge.openai(key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=QUESTION, max_tokens=2
        )
    told = requests.get(
        f"{bridge.url}/v1/key", headers={"Authorization": f"Bearer {key}"}, timeout=10
    ).json()
    assert told["spent"] == raw.headers["x-modelbridge-cost"]
    assert Decimal(told["remaining"]) == 1 - Decimal(told["spent"])
