"""OpenAI's own SDK at /v1/responses, in front of upstreams of three formats and of the sandbox."""

import json
from typing import Any

import anthropic
import openai
import pytest
import requests
from hostile import HostileUpstream, Step, cut_after, recorded, reply, status
from openai_schema import available as schema_available
from openai_schema import faults
from people import Key, Person, TestBridge
from pydantic import BaseModel
from recordings import available
from recordings import recording as recording_of
from responses_words import (
    WEATHER,
    as_stream,
    events_in,
    events_of,
    function_call,
    message,
    reasoning,
    response,
)

from modelbridge.money import parse_amount
from modelbridge.store.tables import Attempt, BalanceTransaction

JSONDict = dict[str, Any]
MODELS = ("chat-test", "claude-test", "responses-test")
EVERY_FORMAT = pytest.mark.parametrize("model", MODELS)
TOOLS: Any = [WEATHER]


class City(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture
def bridge(bridge: TestBridge, upstream: HostileUpstream) -> TestBridge:
    """The bridge in front of one upstream of each format."""
    bridge.upstream("chat", upstream.base_url, "openai_compatible")
    bridge.upstream("responses", upstream.base_url, "openai_responses")
    bridge.model("chat-test", "chat")
    bridge.model("responses-test", "responses")
    return bridge


def sdk(key: Key, **more: Any) -> openai.OpenAI:
    """Strict: an answer that is not what OpenAI's schema says raises."""
    return key.openai(max_retries=0, _strict_response_validation=True, **more)


def post(key: Key, path: str = "/v1/responses", **more: Any) -> requests.Response:
    body = {"model": "responses-test", "input": "Hello"} | more
    return requests.post(f"{key.bridge.url}{path}", json=body, headers=key.headers, timeout=60)


def whole(*output: JSONDict, **more: Any) -> Step:
    return recorded(200, "application/json", json.dumps(response(*output, **more)).encode())


def streamed(*output: JSONDict, **more: Any) -> Step:
    return recorded(200, "text/event-stream", as_stream(events_of(response(*output, **more))))


def says(model: str, text: str, *, stream: bool) -> Step:
    """The upstream's answer in its own format: 10 tokens in, 5 out."""
    if model != "responses-test":
        return reply(text, prompt_tokens=10, completion_tokens=5)
    return streamed(message(text)) if stream else whole(message(text))


def calls_weather(model: str) -> Step:
    """The upstream calls the weather, unstreamed."""
    arguments = '{"city":"Perth"}'
    if model == "responses-test":
        return whole(reasoning(), function_call(arguments))
    if model == "claude-test":
        use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Perth"}}
        thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
        return reply("", finish_reason="tool_calls", message={"content": [thought, use]})
    call = {"name": "weather", "arguments": arguments}
    made = {"tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
    return reply("", finish_reason="tool_calls", message=made)


def charged(bridge: TestBridge) -> int:
    """What was taken from everybody, in nano-AUD."""
    rows = bridge.rows(BalanceTransaction)
    return -sum(int(row.amount_nanos) for row in rows if row.amount_nanos < 0)


# Replies and streams


@EVERY_FORMAT
def test_a_response_reaches_the_sdk_and_is_paid_for(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, model: str
) -> None:
    upstream.will(says(model, "Hello Alice", stream=False))
    raw = sdk(key).responses.with_raw_response.create(
        model=model, input="Hello", instructions="Be kind.", max_output_tokens=100
    )
    made = raw.parse()
    assert made.output_text == "Hello Alice"
    assert (made.status, made.error, made.incomplete_details) == ("completed", None, None)
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens) == (10, 5)
    assert parse_amount(raw.headers["x-modelbridge-cost"]) == charged(bridge) > 0
    call = bridge.last_call()
    assert (call.endpoint, call.finish, call.usage_source) == ("responses", "answered", "reported")
    if schema_available:
        known = ["user"] if model == "responses-test" else []
        found = faults("Response", json.loads(raw.content))
        assert [fault for fault in found if fault.split(":")[0] not in known] == []


@EVERY_FORMAT
def test_a_stream_reaches_the_sdk_and_its_last_usage_says_the_cost(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, model: str
) -> None:
    upstream.will(says(model, "Hello dear Alice", stream=True))
    with key.openai().responses.stream(model=model, input="Hello") as stream:
        events = list(stream)
        made = stream.get_final_response()
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == made.output_text == "Hello dear Alice"
    assert made.usage is not None
    assert parse_amount(made.usage.cost) == charged(bridge) > 0  # type: ignore[attr-defined]
    told = events_in(post(key, model=model, stream=True).content)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert told[-1]["type"] == "response.completed"
    if schema_available:
        assert [fault for event in told for fault in faults("ResponseStreamEvent", event)] == []


@EVERY_FORMAT
def test_tools_make_the_round_with_the_thought_beside_them(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, model: str
) -> None:
    upstream.will(calls_weather(model), says(model, "Warm.", stream=False))
    bridge.model("claude-test", "hostile-anthropic", upstream_model="claude-sonnet-4-6")
    client, ask = sdk(key), [{"role": "user", "content": "How warm is Perth?"}]
    more: Any = {"model": model, "tools": TOOLS, "reasoning": {"effort": "low"}}
    asked = client.responses.create(input=ask, **more)  # type: ignore[arg-type]
    call = asked.output[-1]
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments) == ("call_1", "weather", '{"city":"Perth"}')
    output = {"type": "function_call_output", "call_id": "call_1", "output": "31 degrees"}
    history: Any = [*ask, *[item.model_dump(exclude_none=True) for item in asked.output], output]
    assert client.responses.create(input=history, **more).output_text == "Warm."
    first, second = (one["body"] for one in upstream.seen())
    if model == "responses-test":
        assert first["tools"] == TOOLS
        assert first["include"] == ["reasoning.encrypted_content"]
        assert second["input"][1] == reasoning()
        assert second["input"][2]["call_id"] == second["input"][3]["call_id"] == "call_1"
    elif model == "claude-test":
        thought, use = second["messages"][1]["content"]
        assert thought == {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
        assert (use["type"], use["id"], use["input"]) == ("tool_use", "call_1", {"city": "Perth"})
        assert second["messages"][2]["content"][0]["content"] == "31 degrees"
    else:
        assert first["tools"][0]["function"]["strict"] is True
        assert second["messages"][1]["tool_calls"][0]["id"] == "call_1"
        assert second["messages"][2]["content"] == "31 degrees"


@pytest.mark.parametrize("model", ["chat-test", "responses-test"])
def test_structured_output_is_parsed_by_the_sdk(
    key: Key, upstream: HostileUpstream, model: str
) -> None:
    upstream.will(says(model, '{"name":"Perth","inhabitants":2300000}', stream=False))
    made = sdk(key).responses.parse(model=model, input="Which city?", text_format=City)
    assert made.output_parsed == City(name="Perth", inhabitants=2_300_000)
    sent = upstream.seen()[-1]["body"]
    format_ = sent["text"]["format"] if "text" in sent else sent["response_format"]["json_schema"]
    assert (format_["name"], format_["strict"]) == ("City", True)
    assert set(format_["schema"]["properties"]) == {"name", "inhabitants"}


@EVERY_FORMAT
def test_pictures_reach_the_model(key: Key, upstream: HostileUpstream, model: str) -> None:
    pixel = "data:image/png;base64,iVBORw0KGgo="
    picture = {"type": "input_image", "image_url": pixel, "detail": "auto"}
    text = {"type": "input_text", "text": "What is it?"}
    upstream.will(says(model, "A pixel", stream=False))
    asked: Any = [{"role": "user", "content": [text, picture]}]
    assert sdk(key).responses.create(model=model, input=asked).output_text == "A pixel"
    assert "iVBORw0KGgo=" in upstream.seen()[-1]["text"]


@EVERY_FORMAT
def test_an_answer_that_its_maximum_cut_short_is_incomplete(
    key: Key, upstream: HostileUpstream, model: str
) -> None:
    cut: JSONDict = {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
    }
    if model == "responses-test":
        upstream.will(whole(message("Hello"), **cut))
    else:
        upstream.will(reply("Hello", finish_reason="length"))
    made = sdk(key).responses.create(model=model, input="Hello", max_output_tokens=20)
    assert (made.status, made.incomplete_details and made.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )


# The same format on both sides


@pytest.mark.skipif(not available, reason="recordings not present")
def test_a_recorded_stream_passes_byte_for_byte_except_its_last_event(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    body = recording_of("openai-responses-stream-tool-call").body.rstrip(b"\n") + b"\n\n"
    upstream.will(recorded(200, "text/event-stream", body))
    told = post(key, stream=True, tools=TOOLS).content
    theirs, ours = body.split(b"\n\n"), told.split(b"\n\n")
    assert theirs[:-2] == ours[:-2]
    before, after = (json.loads(part[-2].split(b"data: ")[1]) for part in (theirs, ours))
    assert parse_amount(after["response"]["usage"].pop("cost")) == charged(bridge)
    assert before == after
    call = bridge.last_call()
    assert (call.input_tokens, call.output_tokens) == (255, 16)


@pytest.mark.skipif(not available, reason="recordings not present")
def test_a_recorded_reply_passes_byte_for_byte(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    body = recording_of("openai-responses-text").body
    upstream.will(recorded(200, "application/json", body))
    assert post(key).content == body
    call = bridge.last_call()
    assert (call.input_tokens, call.output_tokens, call.usage_source) == (14, 8, "reported")


def test_openai_itself_is_asked_in_the_clients_format(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(whole(message("Hello Alice")))
    raw = post(key, model="gpt-test", previous_response_id=None, store=None, custom_field=1)
    assert raw.json()["id"] == "resp_theirs"
    assert "x-modelbridge-dropped" not in raw.headers
    (seen,) = upstream.seen()
    assert seen["path"] == "/v1/responses"
    assert seen["body"]["store"] is False
    assert (seen["body"]["service_tier"], seen["body"]["custom_field"]) == ("default", 1)


def test_an_openai_address_without_the_format_is_asked_for_a_chat_instead(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(status(404, b"Not found"), reply("Hello Alice"))
    made = sdk(key).responses.create(model="gpt-test", input="Hello")
    assert made.output_text == "Hello Alice"
    assert [one["path"] for one in upstream.seen()] == ["/v1/responses", "/v1/chat/completions"]
    assert len(bridge.rows(Attempt)) == 2


# Clients of other formats in front of a Responses upstream


def test_a_chat_client_is_answered_by_a_responses_upstream(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(whole(reasoning(), function_call()), streamed(reasoning(), message("Warm.")))
    client, ask = key.openai(max_retries=0), [{"role": "user", "content": "How warm?"}]
    tool = {name: WEATHER[name] for name in ("name", "parameters", "strict")}
    more: Any = {
        "model": "responses-test",
        "tools": [{"type": "function", "function": tool}],
        "reasoning_effort": "low",
    }
    asked = client.chat.completions.create(messages=ask, **more)  # type: ignore[arg-type]
    (choice,) = asked.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].id == "call_1"
    assert choice.message.reasoning_content == "Hm."  # type: ignore[attr-defined]
    assert asked.usage is not None
    assert (asked.usage.prompt_tokens, asked.usage.completion_tokens) == (10, 5)
    answer = {"role": "tool", "tool_call_id": "call_1", "content": "31 degrees"}
    history: Any = [*ask, choice.message.model_dump(exclude_none=True), answer]
    with client.chat.completions.stream(messages=history, **more) as stream:
        stream.until_done()
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Warm."
    sent = upstream.seen()[-1]
    assert sent["path"] == "/v1/responses"
    user, thought, call, output = sent["body"]["input"]
    assert user == {"type": "message", **ask[0]}
    assert thought == reasoning()
    assert call["call_id"] == output["call_id"] == "call_1"
    assert {call.usage_source for call in bridge.calls()} == {"reported"}


def test_anthropics_client_is_answered_by_a_responses_upstream(
    key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(streamed(reasoning(), function_call()), whole(message("Warm.")))
    client = anthropic.Anthropic(api_key=key.secret, base_url=key.bridge.url, max_retries=0)
    ask: Any = [{"role": "user", "content": "How warm?"}]
    tool: Any = {"name": "weather", "input_schema": WEATHER["parameters"]}
    more: Any = {"model": "responses-test", "max_tokens": 100, "tools": [tool]}
    with client.messages.stream(messages=ask, **more) as stream:
        asked = stream.get_final_message()
    assert [block.type for block in asked.content] == ["thinking", "tool_use"]
    assert asked.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "31 degrees"}
    history = [*ask, {"role": "assistant", "content": asked.content}]
    history.append({"role": "user", "content": [result]})
    answer = client.messages.create(messages=history, **more)
    assert answer.content[0].text == "Warm."
    _, thought, call, output = upstream.seen()[-1]["body"]["input"]
    assert thought == reasoning()
    assert (call["name"], output["output"]) == ("weather", "31 degrees")


# What goes wrong


def test_what_cannot_be_done_is_refused_in_openais_envelope(key: Key) -> None:
    client = sdk(key)
    for more in (
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"store": True},
        {"conversation": "conv_1"},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"tools": [{"type": "local_shell"}]},
    ):
        name = "tools[0].type" if "tools" in more else next(iter(more))
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="chat-test", input="Hello", **more)
        assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")


def test_a_stored_response_is_never_found(key: Key) -> None:
    client = sdk(key)
    for ask in (
        lambda: client.responses.retrieve("resp_1"),
        lambda: client.responses.delete("resp_1"),
        lambda: client.responses.cancel("resp_1"),
        lambda: client.responses.input_items.list("resp_1"),
    ):
        with pytest.raises(openai.NotFoundError, match="stores none"):
            ask()
    assert requests.get(f"{key.bridge.url}/v1/responses/resp_1", timeout=60).status_code == 401


@EVERY_FORMAT
def test_a_stream_that_is_cut_raises_in_the_sdk_and_is_told_as_failed(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, model: str
) -> None:
    if model == "responses-test":
        body = as_stream(events_of(response(message("Hello")))[:5])
        upstream.will(recorded(200, "text/event-stream", body))
    else:
        upstream.will(cut_after(4))
    with pytest.raises(openai.APIError):
        list(key.openai().responses.create(model=model, input="Hello", stream=True))
    told = events_in(post(key, model=model, stream=True).content)
    assert [event["type"] for event in told[-2:]] == ["error", "response.failed"]
    assert told[-2]["code"] == "upstream_error"
    bridge.settle_down()
    assert {call.usage_source for call in bridge.calls()} == {"estimated"}


def test_an_upstreams_failure_in_mid_stream_is_told(key: Key, upstream: HostileUpstream) -> None:
    events = events_of(response(message("Hello")))[:5]
    failed = response(status="failed", error={"code": "server_error", "message": "It broke"})
    events.append({"type": "response.failed", "sequence_number": 5, "response": failed})
    upstream.will(recorded(200, "text/event-stream", as_stream(events)))
    told = events_in(post(key, stream=True).content)
    assert told[-1]["type"] == "response.failed"
    assert "It broke" in told[-1]["response"]["error"]["message"]


def test_a_chat_in_place_of_a_response_is_the_upstreams_failure(
    key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply("Hello", dialect="openai"))
    assert post(key).status_code == 502


# The sandbox


def test_a_test_key_gets_every_scenario_in_this_form(alice: Person) -> None:
    client = sdk(alice.key(test=True))
    assert client.responses.create(model="sandbox-echo", input="Hello").output_text == "Hello"
    called = client.responses.create(model="sandbox-tool-call", input="Hello", tools=TOOLS)
    assert called.output[-1].type == "function_call"
    with client.responses.stream(model="sandbox-reasoning", input="Hello") as stream:
        kinds = {event.type for event in stream}
        thought = stream.get_final_response()
    assert [item.type for item in thought.output] == ["reasoning", "message"]
    assert "response.reasoning_summary_text.delta" in kinds
    history: Any = [*[item.model_dump(exclude_none=True) for item in thought.output]]
    history.append({"role": "user", "content": "Hello"})
    assert client.responses.create(model="sandbox-echo", input=history).output_text == "Hello"
    parsed = client.responses.parse(model="gpt-5", input="City?", text_format=City)
    assert isinstance(parsed.output_parsed, City)
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="sandbox-rate-limit", input="Hello")
    with pytest.raises(openai.APIError, match="failed in mid-stream"):
        list(client.responses.create(model="sandbox-stream-error", input="Hello", stream=True))
