"""What Gemini was recorded to answer, as both official SDKs read it through a bridge; and the bill.

The bill is reckoned by the price package's own arithmetic, in decimals, apart from ours.
"""

import json
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest
from recordings import Recording, available, recording
from replay import JSONDict, Replay, changed
from running import HELLO, RunningBridge, cost_nanos, nanos

pytestmark = pytest.mark.skipif(not available, reason="recordings not present")
CREDENTIAL = "AIza-recorded"
FLASH, NEW = "gemini-2.5-flash", "gemini-3-flash-preview"
CAPITAL: Any = {
    "type": "function",
    "function": {
        "name": "get_capital",
        "description": "Get the capital of a country.",
        "parameters": {
            "type": "object",
            "properties": {"country": {"type": "string"}},
            "required": ["country"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(autouse=True)
def gemini(running: RunningBridge, replay: Replay) -> None:
    """An upstream with a credential, and nothing else configured: no model, no price."""
    running.upstream("gemini", "gemini", replay.base_url, CREDENTIAL)


def claude_sdk(running: RunningBridge) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=running.key(), base_url=running.url, max_retries=0)


def cost(model: str = FLASH, **counts: int) -> int:
    return cost_nanos(model, "google", **counts)


def signed(name: str, signature: str = "c2lnbmVk") -> Recording:
    """A recorded call of a tool as Gemini 3 answers it: with an id and a signature."""

    def sign(body: JSONDict) -> None:
        part = body["candidates"][0]["content"]["parts"][0]
        part["thoughtSignature"] = signature
        part["functionCall"]["id"] = "k7x2"

    return changed(name, sign)


# Chat completions


def test_a_reply_is_read_and_billed_thoughts_included(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("gemini-text")
    before = running.balance_nanos()
    with running.openai() as client:
        answer = client.chat.completions.with_raw_response.create(
            model=FLASH,
            messages=[{"role": "system", "content": "You are a chatbot."}, *HELLO],
            max_completion_tokens=77,
            extra_headers={"x-secret": "client's own"},
        )
    reply = answer.parse()
    assert reply.choices[0].message.content == "Hello! How can I help you today?"
    assert (reply.choices[0].finish_reason, reply.model) == ("stop", FLASH)
    usage: Any = reply.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 43, 52)
    assert usage.completion_tokens_details.reasoning_tokens == 34
    assert nanos(answer.headers["x-modelbridge-cost"]) == cost(input=9, output=43)
    assert running.balance_nanos() == before - cost(input=9, output=43)
    receipt = running.receipt(answer.headers["x-request-id"])
    assert (receipt["usage_source"], receipt["upstream_model"]) == ("reported", FLASH)
    seen = replay.last
    assert seen.path == f"/v1beta/models/{FLASH}:generateContent"
    assert seen.headers["x-goog-api-key"] == CREDENTIAL
    assert not {"authorization", "x-secret"} & seen.headers.keys()
    assert running.key() not in str(seen)
    assert seen.body == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "systemInstruction": {"parts": [{"text": "You are a chatbot."}]},
        "generationConfig": {"maxOutputTokens": 77},
    }


def test_a_stream_is_read_and_billed_in_its_last_chunk(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("gemini-stream-text")
    with running.openai() as client:
        options: Any = {"stream": True, "stream_options": {"include_usage": True}}
        chunks: Any = list(
            client.chat.completions.create(model=FLASH, messages=HELLO, temperature=0, **options)
        )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "The capital of France is Paris.\n"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    usage = chunks[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (13, 8)
    assert nanos(usage.cost) == cost(input=13, output=8)
    assert running.newest_receipt()["cost_nanos"] == cost(input=13, output=8)
    assert replay.last.path == f"/v1beta/models/{FLASH}:streamGenerateContent?alt=sse"
    assert "stream" not in replay.last.body


def test_a_tool_is_called_in_a_stream_and_answered(running: RunningBridge, replay: Replay) -> None:
    replay.plays("gemini-stream-tool-call", "gemini-text")
    question: Any = {"role": "user", "content": "What is the capital of France?"}
    with running.openai() as client:
        with client.chat.completions.stream(
            model=FLASH, messages=[question], tools=[CAPITAL]
        ) as stream:
            done = stream.get_final_completion()
        assert running.newest_receipt()["cost_nanos"] == cost(input=52, output=5)
        message: Any = done.choices[0].message
        (call,) = message.tool_calls
        assert done.choices[0].finish_reason == "tool_calls"
        assert json.loads(call.function.arguments) == {"country": "France"}
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Paris"}
        client.chat.completions.create(
            model=FLASH, messages=[question, message, result], tools=[CAPITAL]
        )
    assert replay.last.body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {
                        "id": call.id,
                        "name": "get_capital",
                        "args": {"country": "France"},
                    }
                }
            ],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": call.id,
                        "name": "get_capital",
                        "response": {"output": "Paris"},
                    }
                }
            ],
        },
    ]
    declared = replay.last.body["tools"][0]["functionDeclarations"][0]
    assert declared["parametersJsonSchema"] == CAPITAL["function"]["parameters"]


def test_a_signature_comes_back_through_the_openai_sdk(
    running: RunningBridge, replay: Replay
) -> None:
    replay.answers(signed("gemini-tool-call"), recording("gemini-text"))
    with running.openai() as client:
        asked = client.chat.completions.create(model=NEW, messages=HELLO, tools=[CAPITAL])
        message: Any = asked.choices[0].message
        (call,) = message.tool_calls
        assert call.id == "k7x2"
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Mexico"}
        client.chat.completions.create(model=NEW, messages=[*HELLO, message, result])
    (part,) = replay.last.body["contents"][1]["parts"]
    assert part["thoughtSignature"] == "c2lnbmVk"


def test_a_client_that_forgets_the_signature_is_not_refused(
    running: RunningBridge, replay: Replay
) -> None:
    replay.answers(signed("gemini-tool-call"), recording("gemini-text"))
    with running.openai() as client:
        asked = client.chat.completions.create(model=NEW, messages=HELLO, tools=[CAPITAL])
        (call,) = asked.choices[0].message.tool_calls or []
        forgetful: Any = {"role": "assistant", "tool_calls": [call.model_dump()]}
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Mexico"}
        client.chat.completions.create(model=NEW, messages=[*HELLO, forgetful, result])
    (part,) = replay.last.body["contents"][1]["parts"]
    assert part["thoughtSignature"] == "skip_thought_signature_validator"


def test_a_schema_is_enforced_and_its_answer_parsed(running: RunningBridge, replay: Replay) -> None:
    replay.plays("gemini-json-schema")
    asked = recording("gemini-json-schema").request
    assert asked is not None
    schema = asked["generationConfig"]["responseJsonSchema"]
    described: Any = {"name": "CityLocation", "schema": schema, "strict": True}
    with running.openai() as client:
        reply = client.chat.completions.create(
            model=FLASH,
            messages=[{"role": "user", "content": "What is the largest city in Mexico?"}],
            response_format={"type": "json_schema", "json_schema": described},
        )
    assert json.loads(reply.choices[0].message.content or "")["city"] == "Mexico City"
    sent = replay.last.body
    assert sent["contents"][0]["parts"] == asked["contents"][0]["parts"]
    assert sent["generationConfig"]["responseJsonSchema"] == schema
    assert sent["generationConfig"]["responseMimeType"] == "application/json"


def test_a_recorded_block_is_told_as_a_filter_and_its_prompt_is_paid_for(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("gemini-safety-settings")
    with running.openai() as client:
        raw = client.chat.completions.with_raw_response.create(model=FLASH, messages=HELLO)
    assert raw.parse().choices[0].finish_reason == "content_filter"
    assert nanos(raw.headers["x-modelbridge-cost"]) == cost(input=14)


def test_a_tool_call_that_cannot_be_read_is_an_error_and_is_paid_for(
    running: RunningBridge, replay: Replay
) -> None:
    def break_it(body: JSONDict) -> None:
        body["candidates"][0] = {"finishReason": "MALFORMED_FUNCTION_CALL"}

    replay.answers(changed("gemini-text", break_it))
    with running.openai(max_retries=0) as client, pytest.raises(openai.APIError) as caught:
        client.chat.completions.create(model=FLASH, messages=HELLO)
    assert "wrote a tool call that cannot be read" in caught.value.message
    receipt = running.newest_receipt()
    assert (receipt["finish"], receipt["usage_source"]) == ("failed", "reported")
    assert receipt["cost_nanos"] == cost(input=9, output=43)


def test_cached_tokens_and_sound_have_their_own_price(
    running: RunningBridge, replay: Replay
) -> None:
    def listen(body: JSONDict) -> None:
        body["usageMetadata"] = {
            "promptTokenCount": 5000,
            "cachedContentTokenCount": 3000,
            "candidatesTokenCount": 10,
            "totalTokenCount": 5010,
        }

    replay.answers(changed("gemini-text", listen))
    sound: Any = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "What?"}, sound]}]
    with running.openai() as client:
        raw = client.chat.completions.with_raw_response.create(model=FLASH, messages=messages)
    usage: Any = raw.parse().usage
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (5000, 3000)
    expected = cost(input=2000, cache_read=3000, output=10)
    assert expected < cost(input=5000, output=10)
    assert nanos(raw.headers["x-modelbridge-cost"]) == expected
    assert replay.last.body["contents"][0]["parts"][1] == {
        "inlineData": {"mimeType": "audio/wav", "data": "AAAA"}
    }


def test_a_recorded_stream_that_is_cut_is_an_error_and_never_a_stop(
    running: RunningBridge, replay: Replay
) -> None:
    whole = recording("gemini-stream-text")
    cut = b"\r\n\r\n".join(whole.body.split(b"\r\n\r\n")[:2]) + b"\r\n\r\n"
    assert cut != whole.body
    replay.answers(replace(whole, body=cut))
    chunks: list[Any] = []
    with running.openai() as client:
        stream = iter(client.chat.completions.create(model=FLASH, messages=HELLO, stream=True))
        with pytest.raises(openai.APIError, match="broke off"):
            chunks.extend(stream)
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)
    receipt = running.newest_receipt()
    assert (receipt["finish"], receipt["usage_source"]) == ("failed", "estimated")
    assert receipt["input_tokens"] == 15  # as the stream's first event said


@pytest.mark.parametrize(
    ("status", "kind", "raised", "code"),
    [
        (400, "INVALID_ARGUMENT", openai.BadRequestError, "invalid_argument"),
        (404, "NOT_FOUND", openai.NotFoundError, "not_found"),
        (403, "PERMISSION_DENIED", openai.InternalServerError, "upstream_auth_failed"),
        (429, "RESOURCE_EXHAUSTED", openai.RateLimitError, "upstream_rate_limited"),
        (500, "INTERNAL", openai.InternalServerError, "upstream_error"),
    ],
)
def test_a_failure_is_raised_as_what_it_is_and_costs_nothing(
    running: RunningBridge,
    replay: Replay,
    status: int,
    kind: str,
    raised: type[openai.APIStatusError],
    code: str,
) -> None:
    error = {"error": {"code": status, "status": kind, "message": "of project 4711"}}
    headers = {"content-type": "application/json"}
    replay.answers(Recording(None, status, headers, json.dumps(error).encode()))
    with running.openai(max_retries=0) as client, pytest.raises(raised) as caught:
        client.chat.completions.create(model=FLASH, messages=HELLO)
    assert caught.value.code == code
    assert ("4711" in caught.value.message) == (not code.startswith("upstream"))
    assert running.receipt(caught.value.request_id or "")["cost_nanos"] is None


# Messages, as Anthropic's clients speak


def test_a_reply_reaches_anthropics_sdk(running: RunningBridge, replay: Replay) -> None:
    replay.plays("gemini-text")
    with claude_sdk(running) as client:
        message: Any = client.messages.create(model=FLASH, max_tokens=100, messages=HELLO)
    assert message.content[0].text == "Hello! How can I help you today?"
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 43)
    assert running.newest_receipt()["cost_nanos"] == cost(input=9, output=43)
    assert replay.last.body["generationConfig"] == {"maxOutputTokens": 100}


def test_a_stream_with_a_signature_reaches_anthropics_sdk_and_goes_back(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("aisdk-gemini-stream-reasoning", "gemini-text")
    last = recording("aisdk-gemini-stream-reasoning").body.rstrip().rsplit(b"data: ", 1)[1]
    signature = json.loads(last)["candidates"][0]["content"]["parts"][0]["thoughtSignature"]
    with claude_sdk(running) as client:
        with client.messages.stream(
            model=NEW,
            max_tokens=5000,
            messages=HELLO,
            thinking={"type": "enabled", "budget_tokens": 2000},
        ) as stream:
            message: Any = stream.get_final_message()
        assert [block.type for block in message.content] == ["text", "thinking"]
        assert message.content[0].text.startswith('There are **3** "r"s in strawberry.')
        assert running.newest_receipt()["cost_nanos"] == cost(NEW, input=9, output=29 + 256)
        assert replay.last.body["generationConfig"]["thinkingConfig"] == {"includeThoughts": True}
        again: Any = [*HELLO, {"role": "assistant", "content": message.content}, *HELLO]
        client.messages.create(model=NEW, max_tokens=100, messages=again)
    said, closed = replay.last.body["contents"][1]["parts"]
    assert said == {"text": message.content[0].text}
    assert closed == {"text": "", "thoughtSignature": signature}


def test_a_tool_is_called_and_answered_through_anthropics_sdk(
    running: RunningBridge, replay: Replay
) -> None:
    replay.answers(signed("gemini-tool-call"), recording("gemini-text"))
    tool: Any = {"name": "get_user_country", "input_schema": {"type": "object", "properties": {}}}
    with claude_sdk(running) as client:
        message: Any = client.messages.create(
            model=NEW, max_tokens=100, messages=HELLO, tools=[tool], tool_choice={"type": "any"}
        )
        assert message.stop_reason == "tool_use"
        thinking, use = message.content
        assert (use.id, use.name, use.input) == ("k7x2", "get_user_country", {})
        assert thinking.type == "thinking"
        called = replay.last.body["toolConfig"]["functionCallingConfig"]
        assert called == {"mode": "ANY"}
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "Mexico"}
        again: Any = [
            *HELLO,
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [result]},
        ]
        client.messages.create(model=NEW, max_tokens=100, messages=again, tools=[tool])
    model, user = replay.last.body["contents"][1:]
    assert model["parts"] == [
        {
            "functionCall": {"id": "k7x2", "name": "get_user_country", "args": {}},
            "thoughtSignature": "c2lnbmVk",
        }
    ]
    assert user["parts"][0]["functionResponse"]["response"] == {"output": "Mexico"}
