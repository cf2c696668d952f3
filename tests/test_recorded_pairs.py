"""Every recorded answer through every front: nothing is lost that the client's format can say.

The official SDKs read it. What OpenAI's document describes is held against it, too.
"""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
import requests
from openai_schema import available as schema_available
from openai_schema import faults
from recorded_pairs import (
    FRONTS,
    HELLO,
    MODELS,
    Told,
    answers,
    canonical,
    cases,
    dialect_of,
    expected,
    played,
    read_chat,
    read_completions,
    read_messages,
    read_responses,
    row_of,
)
from recordings import available
from replay import Replay
from running import RunningBridge

pytestmark = pytest.mark.skipif(not available, reason="recordings not present")

SDKS: dict[str, Callable[..., Told]] = {
    "chat": read_chat,
    "responses": read_responses,
    "completions": read_completions,
}
SCHEMAS = {
    "chat": ("CreateChatCompletionResponse", "CreateChatCompletionStreamResponse"),
    "responses": ("Response", "ResponseStreamEvent"),
    "completions": ("CreateCompletionResponse", "CreateCompletionResponse"),
}
# OpenAI's own recorded chunks say null in these places, where its document has no null.
NULLS = ("choices.0.finish_reason: null", "choices.0.logprobs: null", "usage: null")
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat/completions", {"messages": HELLO}),
    "responses": ("responses", {"input": "Hello"}),
    "completions": ("completions", {"prompt": "Hello", "max_tokens": 500}),
}
CASES = list(cases())
_added: set[str] = set()


def model_of(running: RunningBridge, replay: Replay, name: str, front: str) -> str:
    """A model whose upstream is the recorded provider, with a price of its own."""
    row = row_of(name, front)
    public = f"recorded-{row}"
    if public not in _added:
        _added.add(public)
        is_openais = dialect_of(name).startswith("openai")
        base_url = f"{replay.base_url}/v1" if is_openais else replay.base_url
        running.upstream(public, row, base_url, "sk-recorded")
        theirs = MODELS.get(row, "theirs")
        prices = ("--input", "3", "--output", "15", "--max-output", "64000")
        running.flask(
            "model", "add", public, "--upstream", public, "--upstream-model", theirs, *prices
        )
    return public


@pytest.mark.parametrize("name", answers() if available else [])
def test_a_recorded_answer_folds_into_the_same_whole_and_streamed(name: str) -> None:
    whole, folded = canonical(name), canonical(name, streamed=True)
    assert expected(folded) == expected(whole)
    assert (folded.usage, folded.thinking) == (whole.usage, whole.thinking)
    assert [call.id for call in folded.tool_calls] == [call.id for call in whole.tool_calls]


@pytest.mark.parametrize(("name", "front", "streamed"), CASES)
def test_nothing_is_lost_on_the_way_to_the_client(
    running: RunningBridge, replay: Replay, name: str, front: str, streamed: bool
) -> None:
    model = model_of(running, replay, name, front)
    wanted = expected(canonical(name))
    if front == "completions":
        wanted.reasoning = ""  # which has no place there
    replay.answers(played(name, streamed=streamed))
    if front == "messages":
        with anthropic.Anthropic(api_key=running.key(), base_url=running.url) as client:
            told = read_messages(client, model, streamed=streamed)
    else:
        with running.openai() as client:
            told = SDKS[front](client, model, streamed=streamed)
    receipt = running.newest_receipt()
    if FRONTS[front] == dialect_of(name):
        wanted.usage, told.usage = told.usage, told.usage  # the upstream's own words, passed on
        wanted.finish = told.finish
    assert told == wanted
    counted = canonical(name).usage
    assert counted is not None
    billed = (
        receipt["input_tokens"] + receipt["cache_read_tokens"] + receipt["cache_write_tokens"],
        receipt["output_tokens"],
    )
    assert billed == (counted.total_input, counted.total_output)
    assert (receipt["finish"], receipt["usage_source"]) == ("answered", "reported")


@pytest.mark.skipif(not schema_available, reason="OpenAI's document is not beside the repository")
@pytest.mark.parametrize(
    ("name", "front", "streamed"),
    [(n, f, s) for n, f, s in CASES if f in SCHEMAS and FRONTS[f] != dialect_of(n)],
)
def test_every_translated_body_is_as_openais_document_says(
    running: RunningBridge, replay: Replay, name: str, front: str, streamed: bool
) -> None:
    replay.answers(played(name, streamed=streamed))
    path, fields = BODIES[front]
    body = {"model": model_of(running, replay, name, front), **fields, "stream": streamed}
    if streamed and front != "responses":
        body["stream_options"] = {"include_usage": True}
    headers = {"Authorization": f"Bearer {running.key()}"}
    answer = requests.post(f"{running.url}/v1/{path}", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200
    assert "x-modelbridge-dropped" not in answer.headers
    whole, piece = SCHEMAS[front]
    if not streamed:
        assert faults(whole, answer.json()) == []
        return
    told = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    found = [fault for one in told for fault in faults(piece, json.loads(one))]
    assert [fault for fault in found if not fault.startswith(NULLS)] == []
