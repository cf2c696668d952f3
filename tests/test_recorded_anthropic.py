"""What Anthropic was recorded to answer, as the OpenAI SDK reads it through a bridge; and the bill.

The bill is reckoned by the price package's own arithmetic, in decimals, apart from ours.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from recordings import available, recording
from replay import JSONDict, Replay, as_message_stream, changed
from running import HELLO, RunningBridge, cost_nanos, nanos

pytestmark = pytest.mark.skipif(not available, reason="recordings not present")
CREDENTIAL = "sk-ant-recorded"
SONNET = "claude-sonnet-4-6"


@pytest.fixture(autouse=True)
def anthropic(running: RunningBridge, replay: Replay) -> None:
    """An upstream with a credential, and nothing else configured: no model, no price."""
    running.upstream("anthropic", "anthropic", replay.base_url, CREDENTIAL)


def test_a_reply_is_read_and_billed(running: RunningBridge, replay: Replay) -> None:
    replay.plays("anthropic-text")
    before = running.balance_nanos()
    with running.openai() as client:
        answer = client.chat.completions.with_raw_response.create(model=SONNET, messages=HELLO)
    reply = answer.parse()
    (choice,) = reply.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == recording("anthropic-text").json()["content"][0]["text"]
    assert choice.finish_reason == "stop"
    assert reply.model == SONNET
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (8, 21)
    assert reply.usage.total_tokens == 29
    expected = cost_nanos(SONNET, input=8, output=21)
    assert nanos(answer.headers["x-modelbridge-cost"]) == expected
    assert running.balance_nanos() == before - expected
    receipt = running.receipt(answer.headers["x-request-id"])
    assert (receipt["input_tokens"], receipt["output_tokens"]) == (8, 21)
    assert (receipt["cost_nanos"], receipt["usage_source"]) == (expected, "reported")
    assert (receipt["finish"], receipt["upstream_model"]) == ("answered", SONNET)


def test_the_upstream_gets_its_own_credential_and_none_of_ours(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("anthropic-text")
    with running.openai() as client:
        client.chat.completions.create(
            model=SONNET,
            messages=[{"role": "system", "content": "Be brief."}, *HELLO],
            extra_headers={"x-secret": "client's own", "cookie": "a=b"},
            user="u-17",
            stop=["END"],
            temperature=0.5,
            max_completion_tokens=77,
        )
    seen = replay.last
    assert seen.path == "/v1/messages"
    assert seen.headers["x-api-key"] == CREDENTIAL
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert not {"authorization", "x-secret", "cookie"} & seen.headers.keys()
    assert running.key() not in str(seen)
    assert seen.body == {
        "model": SONNET,
        "max_tokens": 77,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "metadata": {"user_id": "u-17"},
        "service_tier": "standard_only",
    }


def streamed(running: RunningBridge, **fields: Any) -> list[Any]:
    """The chunks of a streamed call, the usage asked for."""
    with running.openai() as client:
        stream = client.chat.completions.create(
            model=fields.pop("model", SONNET),
            messages=fields.pop("messages", HELLO),
            stream=True,
            stream_options={"include_usage": True},
            **fields,
        )
        return list(stream)


def text_of(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_a_stream_is_read_and_billed_in_its_last_chunk(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("aisdk-anthropic-stream-text")
    chunks = streamed(running)
    assert text_of(chunks).startswith("Hello! I'm doing well, thank you for asking. How are")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.model for chunk in chunks} == {SONNET}
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    last = chunks[-1]
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (12, 30)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    expected = cost_nanos(SONNET, input=12, output=30)
    assert nanos(last.usage.cost) == expected
    receipt = running.newest_receipt()
    assert (receipt["cost_nanos"], receipt["usage_source"]) == (expected, "reported")
    assert receipt["stream"] == 1
    assert replay.last.body["stream"] is True


def test_a_stream_whose_usage_nobody_asked_for_is_billed_alike(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("aisdk-anthropic-stream-text")
    with running.openai() as client:
        stream = client.chat.completions.create(model=SONNET, messages=HELLO, stream=True)
        chunks = list(stream)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert running.newest_receipt()["cost_nanos"] == cost_nanos(SONNET, input=12, output=30)


def test_what_is_read_from_the_cache_has_its_own_price(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("anthropic-cache-write")
    with running.openai() as client:
        answer = client.chat.completions.with_raw_response.create(model=SONNET, messages=HELLO)
    usage = answer.parse().usage
    assert usage is not None
    assert usage.prompt_tokens == 1114  # 3 fresh and 1,111 from the cache
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 1111
    expected = cost_nanos(SONNET, input=3, cache_read=1111, output=406)
    assert expected < cost_nanos(SONNET, input=1114, output=406)
    assert nanos(answer.headers["x-modelbridge-cost"]) == expected
    receipt = running.receipt(answer.headers["x-request-id"])
    assert (receipt["input_tokens"], receipt["cache_read_tokens"]) == (3, 1111)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("minutes", "hour"), [(1111, 0), (0, 1111), (1000, 111)])
def test_what_is_written_to_the_cache_has_its_own_price(
    running: RunningBridge, replay: Replay, minutes: int, hour: int, stream: bool
) -> None:
    def write_instead(body: JSONDict) -> None:
        body["usage"] |= {
            "cache_creation": {
                "ephemeral_5m_input_tokens": minutes,
                "ephemeral_1h_input_tokens": hour,
            },
            "cache_creation_input_tokens": minutes + hour,
            "cache_read_input_tokens": 0,
        }

    answer = changed("anthropic-cache-write", write_instead)
    replay.answers(as_message_stream(answer) if stream else answer)
    cached = {"type": "text", "text": "long " * 300, "cache_control": {"type": "ephemeral"}}
    messages: Any = [{"role": "user", "content": [cached]}]
    expected = cost_nanos(SONNET, input=3, cache_write=minutes, cache_write_1h=hour, output=406)
    assert expected > cost_nanos(SONNET, input=1114, output=406)
    if stream:
        usage = streamed(running, messages=messages)[-1].usage
        assert nanos(usage.cost) == expected
    else:
        with running.openai() as client:
            raw = client.chat.completions.with_raw_response.create(model=SONNET, messages=messages)
        usage = raw.parse().usage
        assert nanos(raw.headers["x-modelbridge-cost"]) == expected
    assert usage.prompt_tokens == 1114
    receipt = running.newest_receipt()
    written = (receipt["cache_write_tokens"], receipt["cache_write_1h_tokens"])
    assert written == (minutes, hour)
    assert receipt["cost_nanos"] == expected
    sent = replay.last.body["messages"][0]["content"][0]
    assert sent["cache_control"] == {"type": "ephemeral"}


STOP_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("theirs", "ours"), STOP_REASONS.items())
def test_every_stop_reason_has_its_word(
    running: RunningBridge, replay: Replay, theirs: str, ours: str, stream: bool
) -> None:
    def stop(body: JSONDict) -> None:
        body["stop_reason"] = theirs
        body["stop_sequence"] = "END" if theirs == "stop_sequence" else None

    answer = changed("anthropic-text", stop)
    replay.answers(as_message_stream(answer) if stream else answer)
    if stream:
        found = [c.choices[0].finish_reason for c in streamed(running) if c.choices][-1]
    else:
        with running.openai() as client:
            reply = client.chat.completions.create(model=SONNET, messages=HELLO)
        found = reply.choices[0].finish_reason
    assert found == ours
    assert running.newest_receipt()["cost_nanos"] == cost_nanos(SONNET, input=8, output=21)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-6"])
def test_each_model_has_its_own_price(running: RunningBridge, replay: Replay, model: str) -> None:
    replay.plays("anthropic-text")
    with running.openai() as client:
        answer = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    assert nanos(answer.headers["x-modelbridge-cost"]) == cost_nanos(model, input=8, output=21)


def test_a_recorded_refusal_keeps_its_status_and_words_and_costs_nothing(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("anthropic-error-400")
    before = running.balance_nanos()
    with running.openai() as client, pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(
            model="claude-opus-4-6", messages=HELLO, reasoning_effort="xhigh"
        )
    assert refusal.value.code == "invalid_request_error"
    assert "does not support effort level 'xhigh'" in refusal.value.message
    assert refusal.value.request_id
    assert len(replay.seen) == 1
    assert running.balance_nanos() == before
    receipt = running.receipt(refusal.value.request_id)
    assert (receipt["status"], receipt["cost_nanos"]) == (400, None)


@pytest.mark.parametrize(
    ("status", "kind", "raised", "code", "requests"),
    [
        (401, "authentication_error", openai.InternalServerError, "upstream_auth_failed", 1),
        (402, "billing_error", openai.InternalServerError, "upstream_auth_failed", 1),
        (403, "permission_error", openai.InternalServerError, "upstream_auth_failed", 1),
        (404, "not_found_error", openai.NotFoundError, "not_found_error", 1),
        (413, "request_too_large", openai.APIStatusError, "request_too_large", 1),
        (429, "rate_limit_error", openai.RateLimitError, "upstream_rate_limited", 2),
        (500, "api_error", openai.InternalServerError, "upstream_error", 1),
        (504, "timeout_error", openai.InternalServerError, "upstream_timeout", 1),
        (529, "overloaded_error", openai.InternalServerError, "upstream_error", 2),
    ],
)
def test_a_failure_is_raised_as_what_it_is_and_retried_only_where_nothing_was_spent(
    running: RunningBridge,
    replay: Replay,
    status: int,
    kind: str,
    raised: type[openai.APIStatusError],
    code: str,
    requests: int,
) -> None:
    def fail(body: JSONDict) -> None:
        body["error"] = {"type": kind, "message": "organisation acme-corp is at fault"}

    failure = replace(changed("anthropic-error-400", fail), status=status)
    replay.answers(failure, failure)
    with running.openai(max_retries=1) as client, pytest.raises(raised) as caught:
        client.chat.completions.create(model=SONNET, messages=HELLO)
    assert caught.value.code == code
    assert len(replay.seen) == requests
    if code.startswith("upstream"):
        assert "acme-corp" not in caught.value.message
    assert running.receipt(caught.value.request_id or "")["cost_nanos"] is None


def test_retry_after_is_the_providers_own(running: RunningBridge, replay: Replay) -> None:
    limited = replace(
        recording("anthropic-error-400"),
        status=429,
        headers={"content-type": "application/json", "retry-after": "17"},
    )
    replay.answers(limited)
    with running.openai(max_retries=0) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=SONNET, messages=HELLO)
    assert caught.value.response.headers["retry-after"] == "17"


@pytest.mark.parametrize("frames", [3, 6])
def test_a_recorded_stream_that_is_cut_is_an_error_and_never_a_stop(
    running: RunningBridge, replay: Replay, frames: int
) -> None:
    whole = recording("aisdk-anthropic-stream-text")
    cut = b"\n\n".join(whole.body.split(b"\n\n")[:frames]) + b"\n\n"
    replay.answers(replace(whole, body=cut))
    chunks: list[Any] = []
    with running.openai() as client:
        stream = iter(client.chat.completions.create(model=SONNET, messages=HELLO, stream=True))
        with pytest.raises(openai.APIError, match="broke off"):
            chunks.extend(stream)
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)
    receipt = running.newest_receipt()
    assert (receipt["finish"], receipt["usage_source"]) == ("failed", "estimated")
    assert receipt["input_tokens"] == 12  # as the stream's first event said
    output = max(1, -(-len(text_of(chunks).encode()) // 4))
    assert receipt["cost_nanos"] == cost_nanos(SONNET, input=12, output=output)


def test_claude_is_callable_with_nothing_but_the_credential_in_the_environment(
    tmp_path: Path,
) -> None:
    with RunningBridge.start(
        tmp_path, ANTHROPIC_API_KEY="sk-ant-environment", OPENAI_API_KEY="mb_live_somebodys"
    ) as bridge:
        printed = "".join(bridge.printed)
        assert "'anthropic' was made from ANTHROPIC_API_KEY" in printed
        assert "OPENAI_API_KEY is ignored" in printed
        listed = bridge.flask("upstream", "list")
        assert [line.split()[:4] for line in listed.splitlines()[1:]] == [
            ["anthropic", "anthropic", "https://api.anthropic.com", "set"]
        ]
        assert "sk-ant-environment" not in printed + listed + bridge.log
        (row,) = [
            line.split()
            for line in bridge.flask("model", "list").splitlines()
            if line.startswith(f"{SONNET} ")
        ]
        assert row[1:7] == ["catalogue", f"anthropic/{SONNET}", "3.00", "15.00", "0.30", "3.75"]
        bridge.flask("user", "create", "alice@example.com", "--admin")
        bridge.flask("topup", "alice@example.com", "5")
        with bridge.openai() as client:
            assert SONNET in [model.id for model in client.models.list()]
            assert client.models.retrieve(SONNET).owned_by == "anthropic"
            quote = client.post(
                "/estimate",
                body={"model": SONNET, "messages": HELLO, "max_tokens": 10},
                cast_to=dict[str, Any],
            )
        assert quote["model"] == SONNET
        assert nanos(quote["quote"]) > 0
        bridge.check_books()
        assert bridge.stop() == 0
    with RunningBridge.start(tmp_path, ANTHROPIC_API_KEY="sk-ant-another") as again:
        assert "was made from" not in "".join(again.printed)
        assert again.flask("upstream", "list").count("https://api.anthropic.com") == 1
