"""/v1/embeddings through the real SDK: vectors, their price, their bound, and what is refused."""

import json
from base64 import b64decode
from decimal import Decimal
from typing import Any

import openai
import pytest
import requests
from hostile import HostileUpstream, reply, status
from people import Key, Person, TestBridge, wait_for
from recordings import available, recording

from modelbridge.dialects import openai_embeddings
from modelbridge.errors import InvalidRequest, UpstreamError
from modelbridge.gateway.kinds import EMBEDDINGS
from modelbridge.money import Usage
from modelbridge.store.tables import Hold
from modelbridge.wire.target import Quirks, Target

SMALL = "text-embedding-3-small"  # USD 0.02 a million tokens, of the price package
AUD_PER_USD = Decimal("1.53")


@pytest.fixture
def vectors(bridge: TestBridge) -> TestBridge:
    """A bridge with OpenAI's catalogue, and a server without prices that knows floats alone."""
    bridge.upstream("local", bridge_url(bridge), "openai_compatible")
    bridge.model("tiny-embed", "local", prices={"input": "1", "output": "0"}, context_window=512)
    return bridge


def bridge_url(bridge: TestBridge) -> str:
    with bridge.database.reading() as session:
        from modelbridge.catalog.admin import find_upstream

        found = find_upstream(session, "hostile")
    assert found is not None
    return str(found.base_url)


def ask(key: Key, headers: dict[str, str] | None = None, **fields: Any) -> requests.Response:
    body = {"model": SMALL, "input": "Hello"} | fields
    url = f"{key.bridge.url}/v1/embeddings"
    return requests.post(url, json=body, headers=key.headers | (headers or {}), timeout=30)


# The answer


def test_the_sdk_gets_floats_from_the_base64_that_it_asks_for(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    upstream.will(reply(prompt_tokens=100))
    with key.openai() as client:
        raw = client.embeddings.with_raw_response.create(model=SMALL, input="Hello", dimensions=3)
    found = raw.parse()
    assert found.data[0].embedding == [0.5, 0.5, 0.0]
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (100, 100)
    (seen,) = upstream.seen()
    assert seen["path"] == "/v1/embeddings"
    assert seen["body"] == {
        "model": SMALL,
        "input": "Hello",
        "dimensions": 3,
        "encoding_format": "base64",
    }
    cost = Decimal("0.02") * 100 / 10**6 * AUD_PER_USD
    assert Decimal(raw.headers["x-modelbridge-cost"]) == cost
    assert "x-modelbridge-output-cap" not in raw.headers
    call = bridge.last_call()
    assert (call.endpoint, call.model, call.input_tokens) == ("embeddings", SMALL, 100)
    assert (call.output_tokens, call.usage_source) == (0, "reported")
    assert call.cost_nanos == cost * 10**9
    assert raw.headers["x-request-id"] == call.id


@pytest.mark.parametrize("asked", ["float", "base64", None])
@pytest.mark.parametrize("answered", ["float", "base64"])
def test_an_upstream_that_knows_one_encoding_serves_clients_of_both(
    key: Key, upstream: HostileUpstream, asked: str | None, answered: str
) -> None:
    upstream.will(reply(message={"embedding_format": answered}))
    fields: dict[str, Any] = {} if asked is None else {"encoding_format": asked}
    answer = ask(key, input=["a", "b"], **fields)
    assert answer.status_code == 200
    found = [item["embedding"] for item in answer.json()["data"]]
    if asked == "base64":
        assert [len(b64decode(text)) for text in found] == [16, 16]
    else:
        assert found == [[0.5, 0.5, 0.5, 0.0], [0.5, 0.5, 0.5, 1.0]]


def test_what_needs_no_change_passes_untouched(key: Key, upstream: HostileUpstream) -> None:
    upstream.will(reply())
    answer = ask(key, input=[[1, 2, 3], [4]])
    assert [item["index"] for item in answer.json()["data"]] == [0, 1]
    assert upstream.seen()[0]["body"]["input"] == [[1, 2, 3], [4]]


@pytest.mark.skipif(not available, reason="the recordings are not beside the repository")
def test_a_recorded_answer_of_openais_is_read_and_put_into_floats() -> None:
    recorded = recording("openai-embeddings-one")
    payload = recorded.body
    same, usage = openai_embeddings.read_answer(payload, {"encoding_format": "base64"})
    assert same == payload
    told, again = openai_embeddings.read_answer(payload, {})
    (item,) = json.loads(told)["data"]
    assert len(item["embedding"]) == 1536
    assert usage == again == Usage(input=json.loads(payload)["usage"]["prompt_tokens"])
    assert openai_embeddings.encode(item["embedding"]) == json.loads(same)["data"][0]["embedding"]


# The money


def test_the_hold_is_the_quote_and_covers_the_most_that_the_input_can_be(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    upstream.will(reply(prompt_tokens=7))
    texts = ["Hello", "wörld ﷺ", "x" * 10_000]
    ask(key, input=texts)
    (hold,) = bridge.rows(Hold)
    size = EMBEDDINGS.measure({"model": SMALL, "input": texts})
    assert size.text_tokens >= sum(len(text.encode()) for text in texts)
    bound = size.bound("openai", SMALL, 8192)
    assert hold.amount_nanos == -(-bound * 20_000_000 * 1_530_000_000 // 10**15)
    quoted = requests.post(
        f"{bridge.url}/v1/estimate/embeddings",
        json={"model": SMALL, "input": texts},
        headers=key.headers,
        timeout=30,
    ).json()
    assert Decimal(quoted["quote"]) * 10**9 == hold.amount_nanos
    assert (quoted["input_tokens_bound"], quoted["output_tokens_cap"]) == (bound, 0)


def test_tokens_count_as_many_as_they_are_and_every_text_has_the_window_for_itself() -> None:
    one = EMBEDDINGS.measure({"model": "m", "input": list(range(1000))})
    assert 1000 < one.text_tokens < 1400
    assert one.text_bytes == 4000
    many = EMBEDDINGS.measure({"model": "m", "input": ["x" * 10_000] * 3})
    assert many.bound("openai", "m", 8192) == 3 * 8192


def test_a_key_without_money_for_it_is_refused_and_nothing_is_sent(
    bridge: TestBridge, alice: Person, charlie: Person, upstream: HostileUpstream
) -> None:
    poor = ask(charlie.key())
    assert (poor.status_code, poor.json()["error"]["code"]) == (429, "insufficient_balance")
    limited = ask(alice.key(limit="0.0001"), input="x" * 100_000)
    assert limited.json()["error"]["code"] == "spending_limit_exceeded"
    assert limited.headers["x-should-retry"] == "false"
    assert upstream.seen() == []


def test_usage_that_is_missing_or_absurd_is_estimated_from_the_bytes(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    for usage in (None, {"prompt_tokens": 0}, {"prompt_tokens": -4}, {"prompt_tokens": "7"}):
        upstream.will(reply(usage=usage))
        assert ask(key, input="x" * 400).status_code == 200
        call = wait_for(bridge.last_call)
        assert (call.usage_source, call.input_tokens) == ("estimated", 100)


def test_a_usage_above_the_bound_is_charged_at_the_hold(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    upstream.will(reply(prompt_tokens=10**9))
    assert ask(key).status_code == 200
    (hold,) = bridge.rows(Hold)
    assert hold.charged_nanos == hold.amount_nanos


def test_the_same_call_under_the_same_idempotency_key_is_made_once(
    key: Key, upstream: HostileUpstream
) -> None:
    once = {"Idempotency-Key": "vectors-1"}
    assert ask(key, once).status_code == 200
    again = ask(key, once)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotency_done")
    assert ask(key, once, input="Other").status_code == 422
    assert len(upstream.seen()) == 1


def test_a_client_that_hangs_up_is_charged_what_the_upstream_counts(
    key: Key, upstream: HostileUpstream, bridge: TestBridge
) -> None:
    upstream.will(reply(prompt_tokens=90, gate="door"))
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{bridge.url}/v1/embeddings",
            json={"model": SMALL, "input": "x" * 400},
            headers=key.headers,
            timeout=0.5,
        )
    upstream.open("door")
    call = wait_for(lambda: next(iter(bridge.calls()), None))
    assert (call.input_tokens, call.output_tokens, call.usage_source) == (90, 0, "reported")


def test_an_upstream_that_fails_costs_nothing_where_it_did_no_work(
    key: Key, upstream: HostileUpstream, bridge: TestBridge, alice: Person
) -> None:
    before = alice.account.balance_nanos
    upstream.will(status(429), status(400), reply(usage=None, message={}))
    assert ask(key).json()["error"]["code"] == "upstream_rate_limited"
    assert ask(key).status_code == 400
    assert alice.account.balance_nanos == before
    assert alice.account.held_nanos == 0


# What is refused


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, "a"]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [[1], ["a"]]}, "input[1]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"model": None}, "model"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"user": 7}, "user"),
        ({"stream": True}, "stream"),
    ],
)
def test_a_wrong_field_is_named(
    key: Key, upstream: HostileUpstream, fields: dict[str, Any], param: str
) -> None:
    answer = ask(key, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert upstream.seen() == []


def test_a_chat_model_makes_no_vectors_and_the_other_way_round(
    vectors: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    for model in ("gpt-test", "claude-test", "gpt-4o"):
        answer = ask(key, model=model)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "model")
        assert model in error["message"]
        assert SMALL in error["message"]
    for model in ("tiny-embed", SMALL):
        answer = key.chat(model)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "model")
        assert "/v1/embeddings" in error["message"]
    assert upstream.seen() == []


def test_a_model_that_nobody_has_is_answered_with_the_nearest_names(key: Key) -> None:
    answer = ask(key, model="text-embeding-3-small")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert SMALL in answer.json()["error"]["message"]


def test_a_key_with_a_list_of_models_keeps_to_it(alice: Person) -> None:
    answer = ask(alice.key(models=["gpt-test"]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed")


def test_vectors_are_listed_beside_the_chats(vectors: TestBridge, key: Key) -> None:
    names = {model["id"] for model in key.get("/v1/models").json()["data"]}
    assert {SMALL, "tiny-embed", "gpt-test"} <= names


def test_an_operators_own_model_is_bounded_by_its_window(
    vectors: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply(prompt_tokens=5))
    assert ask(key, model="tiny-embed", input="x" * 9000).status_code == 200
    (hold,) = vectors.rows(Hold)
    assert hold.amount_nanos == 512 * 1530


# The upstream's side


def at(**quirks: Any) -> Target:
    return Target(
        upstream_id="up",
        upstream="acme",
        provider="acme",
        dialect="openai_chat",
        base_url="https://acme.example/v1",
        auth="bearer",
        model="theirs",
        quirks=Quirks(**quirks),
    )


def test_what_a_provider_does_not_know_is_left_out_and_named_but_for_the_encoding() -> None:
    request: Any = {
        "model": "ours",
        "input": "a",
        "encoding_format": "base64",
        "user": "u",
        "service_tier": "priority",
    }
    made = openai_embeddings.build_request(request, at(drop=("encoding_format", "user")), 0)
    assert made.body == {"model": "theirs", "input": "a"}
    assert made.dropped == ("service_tier", "user")
    assert made.path == "/embeddings"
    elsewhere = at(paths={"openai_embeddings": "/vectors"})
    assert openai_embeddings.build_request(request, elsewhere, 0).path == "/vectors"
    assert request["model"] == "ours"


@pytest.mark.parametrize(
    "payload",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"data": 7}',
        b'{"data": [7]}',
        b'{"data": [{"embedding": "not base64!"}]}',
        b'{"data": [{"embedding": "AAA="}]}',
        b'{"error": {"message": "out of memory"}}',
    ],
)
def test_an_answer_without_vectors_is_the_upstreams_failure(payload: bytes) -> None:
    with pytest.raises(UpstreamError) as failure:
        openai_embeddings.read_answer(payload, {})
    assert failure.value.may_have_billed


def test_a_number_that_is_no_float_is_the_upstreams_failure() -> None:
    for vector in (b"[1e300]", b'["a"]'):
        payload = b'{"data": [{"embedding": ' + vector + b"}]}"
        with pytest.raises(UpstreamError):
            openai_embeddings.read_answer(payload, {"encoding_format": "base64"})


# Test keys


def test_a_test_key_gets_the_same_vector_for_the_same_text(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    with alice.key(test=True).openai() as client:
        first = client.embeddings.create(model=SMALL, input=["Hello", "World"])
        again = client.embeddings.create(model=SMALL, input="Hello", encoding_format="float")
        short = client.embeddings.create(model=SMALL, input="Hello", dimensions=8)
        large = client.embeddings.create(model="text-embedding-3-large", input=[[1, 2]])
    hello, world = (item.embedding for item in first.data)
    assert len(hello) == 1536
    assert hello == pytest.approx(again.data[0].embedding, abs=1e-7)
    assert hello != world
    assert sum(value * value for value in hello) == pytest.approx(1, abs=1e-5)
    assert len(short.data[0].embedding) == 8
    assert len(large.data[0].embedding) == 3072
    assert (first.usage.prompt_tokens, large.usage.total_tokens) == (4, 2)
    assert upstream.seen() == []
    assert bridge.rows(Hold) == []


def test_a_test_key_rehearses_what_goes_wrong(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(test=True)
    with key.openai(max_retries=0) as client, pytest.raises(openai.RateLimitError):
        client.embeddings.create(model=SMALL, input="sandbox:rate-limit")
    assert ask(key, model="sandbox-error").status_code == 502
    assert ask(key, model="sandbox-echo").status_code == 200
    assert ask(key, dimensions=5000).json()["error"]["param"] == "dimensions"
    refused = ask(key, model="gpt-4o").json()["error"]
    assert (refused["param"], SMALL in refused["message"]) == ("model", True)
    assert key.chat(SMALL).status_code == 400
    assert ask(key, model="nope").status_code == 404


def test_the_face_refuses_what_it_cannot_read() -> None:
    with pytest.raises(InvalidRequest, match="holds an API key"):
        openai_embeddings.read_request({"model": "mb_live_" + "a" * 49, "input": "a"})
