"""/v1/completions through the real SDK: passed on where the upstream has them, else a chat."""

from decimal import Decimal
from typing import Any

import openai
import pytest
import requests
from hostile import HostileUpstream, reply, stream
from people import Key, Person, TestBridge, wait_for
from recordings import available, recording

from modelbridge import jsonio
from modelbridge.dialects import openai_completions
from modelbridge.errors import InvalidRequest, UnsupportedParameter
from modelbridge.gateway.kinds import COMPLETIONS
from modelbridge.money import Usage
from modelbridge.store.tables import Hold
from modelbridge.wire.reply import Reply, ReplyHead
from modelbridge.wire.sse import Frame, parse_frame

CHAT_MODEL = "gpt-4o"  # OpenAI has completions, but not for this one
HEAD = ReplyHead("chatcmpl-1", "m", 7)


def ask(key: Key, headers: dict[str, str] | None = None, **fields: Any) -> requests.Response:
    body = {"model": "gpt-test", "prompt": "Once upon"} | fields
    url = f"{key.bridge.url}/v1/completions"
    return requests.post(url, json=body, headers=key.headers | (headers or {}), timeout=30)


def refusal(key: Key, **fields: Any) -> tuple[int, str | None, str]:
    answer = ask(key, **fields)
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


# Passed on


def test_a_completion_is_passed_on_metered_and_charged(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    upstream.will(reply(" a time", prompt_tokens=100, completion_tokens=5))
    with key.openai() as client:
        raw = client.completions.with_raw_response.create(
            model="gpt-test", prompt="Once upon", max_tokens=8, echo=True, logprobs=2, suffix="."
        )
    found = raw.parse()
    assert found.choices[0].text == " a time"
    (seen,) = upstream.seen()
    assert seen["path"] == "/v1/completions"
    assert seen["body"] == {
        "model": "gpt-test",
        "prompt": "Once upon",
        "max_tokens": 8,
        "echo": True,
        "logprobs": 2,
        "suffix": ".",
    }
    assert Decimal(raw.headers["x-modelbridge-cost"]) == Decimal(100 + 2 * 5) * Decimal(
        "0.00000153"
    )
    call = bridge.last_call()
    assert (call.endpoint, call.input_tokens, call.output_tokens) == ("completions", 100, 5)


def test_a_stream_of_completions_ends_with_the_usage_and_its_cost(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    upstream.will(stream(3, prompt_tokens=10))
    with key.openai() as client:
        chunks = list(
            client.completions.create(
                model="gpt-test",
                prompt="Once upon",
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "w0 w1 w2 "
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert Decimal(chunks[-1].usage.model_dump()["cost"]) == Decimal("0.00002448")
    assert bridge.last_call().usage_source == "reported"
    answer = ask(key, stream=True)
    assert answer.text.endswith("data: [DONE]\n\n")
    assert '"usage"' not in answer.text
    assert upstream.seen()[-1]["body"]["stream_options"] == {"include_usage": True}


def test_a_stream_that_is_cut_ends_with_an_error_and_an_estimate(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    upstream.will(stream(8, stop_after=3, ending="cut"))
    answer = ask(key, stream=True)
    assert '"code":"upstream_error"' in answer.text
    assert "[DONE]" not in answer.text
    bridge.settle_down()
    assert bridge.last_call().usage_source == "estimated"


def test_a_client_that_hangs_up_in_mid_stream_is_charged(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    upstream.will(stream(4, gate_after=(2, "door"), stops_when_client_leaves=False))
    body = {"model": "gpt-test", "prompt": "Once upon", "stream": True}
    with requests.post(
        f"{bridge.url}/v1/completions", json=body, headers=key.headers, stream=True, timeout=30
    ) as answer:
        next(answer.iter_lines())
    upstream.open("door")
    call = wait_for(lambda: next(iter(bridge.calls()), None))
    assert (call.input_tokens, call.output_tokens, call.usage_source) == (10, 4, "reported")


def test_no_usage_is_estimated_from_the_text_of_every_choice(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    upstream.will(reply("x" * 40, usage=None))
    assert ask(key, prompt="y" * 80).status_code == 200
    call = bridge.last_call()
    assert (call.usage_source, call.input_tokens, call.output_tokens) == ("estimated", 20, 10)


# The money


def test_the_hold_counts_every_completion_that_is_made(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply())
    fields: dict[str, Any] = {
        "prompt": ["One", "Two", "Three"],
        "n": 2,
        "best_of": 4,
        "max_tokens": 10,
    }
    assert ask(key, **fields).status_code == 200
    (hold,) = bridge.rows(Hold)
    size = COMPLETIONS.measure({"model": "gpt-test"} | fields)
    assert hold.amount_nanos == (size.text_tokens + 2 * 10 * 4 * 3) * 1530
    assert upstream.seen()[0]["body"]["best_of"] == 4


def test_a_request_without_a_maximum_is_for_sixteen_tokens(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply())
    assert ask(key).status_code == 200
    assert upstream.seen()[0]["body"]["max_tokens"] == 16
    assert bridge.last_call().output_cap == 16


def test_a_maximum_of_nothing_costs_the_prompt_alone(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply("", completion_tokens=0))
    assert ask(key, max_tokens=0, echo=True, logprobs=1).status_code == 200
    assert upstream.seen()[0]["body"]["max_tokens"] == 0


def test_money_that_is_not_there_is_refused(
    alice: Person, charlie: Person, upstream: HostileUpstream
) -> None:
    assert ask(charlie.key()).json()["error"]["code"] == "insufficient_balance"
    tight = alice.key(limit="0.001")
    refused = ask(tight, max_tokens=100_000)
    assert refused.json()["error"]["code"] == "max_tokens_unaffordable"
    assert upstream.seen() == []


def test_idempotency_holds_for_completions(key: Key, upstream: HostileUpstream) -> None:
    once = {"Idempotency-Key": "completion-1"}
    assert ask(key, once).status_code == 200
    assert ask(key, once).json()["error"]["code"] == "idempotency_done"
    assert len(upstream.seen()) == 1


def test_an_estimate_is_the_hold(bridge: TestBridge, key: Key, upstream: HostileUpstream) -> None:
    upstream.will(reply())
    body: dict[str, Any] = {
        "model": "gpt-test",
        "prompt": ["a", "b"],
        "max_tokens": 9,
        "best_of": 3,
    }
    quotes = [
        requests.post(f"{bridge.url}/v1/{path}", json=asked, headers=key.headers, timeout=30).json()
        for path, asked in (
            ("estimate/completions", body),
            ("estimate", body),
            ("estimate", body | {"endpoint": "/v1/completions"}),
        )
    ]
    assert quotes[0] == quotes[1] == quotes[2]
    ask(key, **body)
    (hold,) = bridge.rows(Hold)
    assert Decimal(quotes[0]["quote"]) * 10**9 == hold.amount_nanos


# Translated


def test_a_model_that_only_chats_is_asked_in_a_message(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply(" a time", prompt_tokens=100, completion_tokens=5))
    with key.openai() as client:
        found = client.completions.create(
            model="claude-test", prompt=["Once upon"], max_tokens=20, stop=["."], temperature=0.5
        )
        openais = client.completions.create(model=CHAT_MODEL, prompt="Once upon")
    assert (found.choices[0].text, found.choices[0].finish_reason) == (" a time", "stop")
    assert found.object == "text_completion"
    assert found.id.startswith("cmpl-")
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (100, 5)
    anthropics, chat = upstream.seen()
    assert anthropics["path"] == "/v1/messages"
    assert anthropics["body"]["max_tokens"] == 20
    assert anthropics["body"]["stop_sequences"] == ["."]
    assert chat["path"] == "/v1/chat/completions"
    assert chat["body"]["messages"] == [{"role": "user", "content": "Once upon"}]
    assert "prompt" not in chat["body"]
    assert openais.choices[0].text == " a time"


def test_a_translated_stream_has_completions_chunks(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(stream(3))
    with key.openai() as client:
        for model in ("claude-test", CHAT_MODEL):
            chunks = list(
                client.completions.create(
                    model=model,
                    prompt="Once upon",
                    stream=True,
                    stream_options={"include_usage": True},
                )
            )
            assert "".join(c.choices[0].text for c in chunks if c.choices) == "w0 w1 w2 "
            assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
            assert len({c.id for c in chunks}) == 1
            assert chunks[-1].usage is not None
            assert chunks[-1].usage.model_dump()["cost"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"n": 2}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 1}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_no_chat_can_say_is_refused_and_costs_nothing(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, fields: dict[str, Any], param: str
) -> None:
    status, named, message = refusal(key, model="claude-test", **fields)
    assert (status, named) == (400, param)
    assert "translated into a chat" in message
    assert upstream.seen() == []


# Refused


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt[1]"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_completion_tokens": 9}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": "yes"}, "echo"),
        ({"suffix": 7}, "suffix"),
        ({"stop": 7}, "stop"),
        ({"stream_options": {}}, "stream_options"),
        ({"n_predict": 9}, "n_predict"),
        ({"models": ["a"]}, "models"),
        ({"model": None}, "model"),
    ],
)
def test_a_wrong_field_is_named(
    key: Key, upstream: HostileUpstream, fields: dict[str, Any], param: str
) -> None:
    assert refusal(key, **fields)[:2] == (400, param)
    assert upstream.seen() == []


def test_a_model_of_old_has_no_chat_and_vectors_have_neither(
    key: Key, upstream: HostileUpstream
) -> None:
    answer = key.chat("gpt-3.5-turbo-instruct")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    assert "/v1/completions" in answer.json()["error"]["message"]
    assert ask(key, model="gpt-3.5-turbo-instruct").status_code == 200
    assert refusal(key, model="text-embedding-3-small")[:2] == (400, "model")
    assert len(upstream.seen()) == 1


# Test keys


def test_a_test_key_completes_in_the_sandbox(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    key = alice.key(test=True)
    with key.openai(max_retries=0) as client:
        whole = client.completions.create(
            model="gpt-3.5-turbo-instruct", prompt="Once", max_tokens=99
        )
        parts = list(
            client.completions.create(
                model="gpt-3.5-turbo-instruct", prompt="Once", max_tokens=99, stream=True
            )
        )
        with pytest.raises(openai.RateLimitError):
            client.completions.create(model="sandbox-rate-limit", prompt="a")
    assert "Once" in whole.choices[0].text
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
    assert refusal(key, echo=True)[:2] == (400, "echo")
    assert upstream.seen() == []
    assert bridge.rows(Hold) == []


# The pieces


@pytest.mark.skipif(not available, reason="the recordings are not beside the repository")
def test_a_recorded_completion_of_openais_is_read() -> None:
    found = recording("aisdk-openai-completion")
    assert openai_completions.find_usage(found.body) == Usage(input=14, output=16)
    assert openai_completions.read_reply(found.json()).text.startswith("The new holiday")


def test_frames_tell_the_meter_what_they_hold() -> None:
    def seen(data: str) -> Any:
        return openai_completions.inspect(parse_frame(f"data: {data}\n\n".encode()))

    assert openai_completions.inspect(Frame(b": hello\n\n", None)).done is False
    assert seen("[DONE]").done
    assert seen("7").error
    assert seen("{").error
    assert seen('{"error": {"message": "out"}}').error
    failed = seen('{"error": "out", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}')
    assert (failed.error is None, failed.usage) == (False, Usage(input=3, output=2))
    assert seen('{"choices": 7}').text_bytes == 0
    assert seen('{"choices": [{"text": "é"}, {"text": "a"}, 7]}').text_bytes == 3
    end = seen('{"choices": [{"text": "", "finish_reason": "stop"}], "usage": {}}')
    assert (end.finished, end.usage, end.final) == (True, None, True)


def test_a_reply_is_written_as_a_completion() -> None:
    written = openai_completions.write_reply(Reply("a", finish_reason="tool_calls"), HEAD)
    assert written["choices"] == [
        {"text": "a", "index": 0, "logprobs": None, "finish_reason": "stop"}
    ]
    assert "usage" not in written
    assert jsonio.dumps(written)


def test_a_face_that_cannot_read_says_so() -> None:
    with pytest.raises(InvalidRequest):
        openai_completions.read_request({"model": "m", "prompt": 7})
    with pytest.raises(UnsupportedParameter):
        openai_completions.as_chat({"model": "m", "prompt": ["a", "b"]})


def test_an_upstream_that_hangs_is_cut_by_a_revoked_key(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(stream(4, gate_after=(2, "door")))
    body = {"model": "gpt-test", "prompt": "Once upon", "stream": True}
    with requests.post(
        f"{bridge.url}/v1/completions", json=body, headers=key.headers, stream=True, timeout=30
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        key.revoke()
        rest = b"".join(lines)
    assert b"api_key_revoked" in rest
    upstream.open("door")
