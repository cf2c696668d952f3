"""Gemini's own embeddings, called by clients of OpenAI's."""

import json
from typing import Any

import openai
import pytest
from hostile import HostileUpstream, Step, recorded, status
from people import Key, TestBridge

from modelbridge.dialects import gemini_embeddings
from modelbridge.errors import UpstreamError

MODEL = "gemini-embedding-001"  # USD 0.15 a million tokens, of the price package


@pytest.fixture
def key(bridge: TestBridge, upstream: HostileUpstream, key: Key) -> Key:
    """Alice's key at a bridge with a Gemini upstream and nothing else said of it."""
    bridge.upstream("gemini", upstream.anthropic_base_url, "gemini")
    return key


def vectors(*found: list[float], **more: Any) -> Step:
    body = {"embeddings": [{"values": vector} for vector in found], **more}
    return recorded(200, "application/json", json.dumps(body).encode())


def embed(key: Key, given: Any, **more: Any) -> Any:
    with key.openai(max_retries=0) as client:
        return client.embeddings.create(model=MODEL, input=given, **more)


def test_every_text_gets_its_vector_and_the_usage_is_paid_for(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(vectors([0.5, 1.0], [0.25, 0.0], usageMetadata={"promptTokenCount": 7}))
    found = embed(key, ["Hello", "Perth"], dimensions=2, user="alice")
    assert [(one.index, one.embedding) for one in found.data] == [(0, [0.5, 1.0]), (1, [0.25, 0.0])]
    assert (found.model, found.usage.prompt_tokens, found.usage.total_tokens) == (MODEL, 7, 7)
    (seen,) = upstream.seen()
    assert seen["path"] == f"/v1beta/models/{MODEL}:batchEmbedContents"
    assert seen["headers"]["x-goog-api-key"] == "sk-upstream"
    assert seen["body"] == {
        "requests": [
            {
                "model": f"models/{MODEL}",
                "outputDimensionality": 2,
                "content": {"parts": [{"text": text}]},
            }
            for text in ("Hello", "Perth")
        ]
    }
    call = bridge.last_call()
    assert (call.endpoint, call.input_tokens, call.usage_source) == ("embeddings", 7, "reported")
    assert call.cost_nanos == -(-7 * 150 * 153 // 100)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_usage_that_is_not_told_is_estimated_and_the_client_is_told_as_much(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, encoding: Any
) -> None:
    upstream.will(vectors([0.5]))
    found = embed(key, "Hello dear Alice", encoding_format=encoding)
    assert found.usage.prompt_tokens == 4
    call = bridge.last_call()
    assert (call.input_tokens, call.usage_source) == (4, "estimated")


def test_tokens_are_refused_by_name_and_nothing_is_sent(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        embed(key, [[1, 2, 3]])
    assert refused.value.param == "input"
    assert upstream.seen() == []


def test_a_rejection_keeps_its_words_and_costs_nothing(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    error = {"code": 400, "status": "INVALID_ARGUMENT", "message": "at most 100 requests"}
    upstream.will(status(400, {"error": error}))
    with pytest.raises(openai.BadRequestError, match="at most 100 requests"):
        embed(key, "Hello")
    assert bridge.last_call().cost_nanos is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"embeddings": None},
        {"embeddings": []},
        {"embeddings": [{"values": ["a"]}]},
        {"embeddings": [{"values": [1e400]}]},
        {"embeddings": [{}]},
        {"error": {"code": 500, "message": "It broke", "status": "INTERNAL"}},
        [],
    ],
)
def test_an_answer_without_a_vector_for_each_text_is_the_upstreams_failure(body: Any) -> None:
    request: Any = {"model": MODEL, "input": "Hello", "encoding_format": "base64"}
    with pytest.raises(UpstreamError):
        gemini_embeddings.read_answer(json.dumps(body).encode(), request)
