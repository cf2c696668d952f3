"""Which models a key may call, in both forms; quotes of every endpoint; what is not offered yet."""

from decimal import Decimal
from typing import Any

import anthropic
import pytest
import requests
from anthropic import Anthropic
from hostile import HostileUpstream
from people import HELLO, Key, Person, TestBridge

from modelbridge.store.tables import Hold
from modelbridge.upstream.sandbox import SCENARIO_MODELS

VERSION = {"anthropic-version": "2023-06-01"}
LONG = f"limit=000000001{'9' * 5_000}"


def get(key: Key, path: str, headers: dict[str, str] | None = None) -> requests.Response:
    url = f"{key.bridge.url}{path}"
    return requests.get(url, headers=key.headers | (headers or {}), timeout=30)


def estimate(key: Key, body: dict[str, Any], path: str = "", **headers: str) -> requests.Response:
    url = f"{key.bridge.url}/v1/estimate{path}"
    return requests.post(url, json=body, headers=key.headers | headers, timeout=30)


# The lists


def test_openais_client_lists_and_finds_models_with_slashes_in_their_names(
    bridge: TestBridge, alice: Person
) -> None:
    bridge.model("acme/tiny:free")
    key = alice.key(models=["acme/tiny:free", "text-embedding-3-small", "gone"])
    with key.openai() as client:
        assert [model.id for model in client.models.list()] == [
            "acme/tiny:free",
            "text-embedding-3-small",
        ]
        assert client.models.retrieve("acme/tiny:free").owned_by == "openai"
    assert get(key, "/v1/models/acme/tiny:free").json()["id"] == "acme/tiny:free"
    assert get(key, "/v1/models/gpt-test").status_code == 403
    unknown = get(key, "/v1/models/acme/tiny").json()["error"]
    assert (unknown["code"], unknown["param"]) == ("model_not_found", "model")
    assert "acme/tiny:free" in unknown["message"]


def test_anthropics_client_pages_through_what_takes_messages(bridge: TestBridge, key: Key) -> None:
    bridge.model("acme/tiny", context_window=9000, max_output=900)
    with Anthropic(api_key=key.secret, base_url=bridge.url) as client:
        page = client.models.list(limit=2)
        names = [model.id for model in page]
        first = client.models.list(limit=1000)
        tiny = client.models.retrieve("acme/tiny")
        with pytest.raises(anthropic.NotFoundError, match="not offered here"):
            client.models.retrieve("nope")
        back = client.models.list(limit=2, before_id=names[4])
    assert len(page.data) == 2
    assert page.has_more
    assert names == [model.id for model in first.data]
    assert {"gpt-test", "claude-test", "acme/tiny"} <= set(names)
    assert "text-embedding-3-small" not in names
    assert [model.id for model in back.data] == names[2:4]
    assert (tiny.type, tiny.display_name, tiny.lifecycle) == ("model", "acme/tiny", "active")
    assert (tiny.max_input_tokens, tiny.max_tokens) == (9000, 900)
    assert not first.has_more


def test_the_form_of_the_list_follows_the_header(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(models=["gpt-test"])
    theirs = get(key, "/v1/models", VERSION)
    assert theirs.headers["request-id"] == theirs.headers["x-request-id"]
    body = theirs.json()
    assert body.keys() == {"data", "has_more", "first_id", "last_id"}
    assert (body["first_id"], body["last_id"], body["has_more"]) == ("gpt-test", "gpt-test", False)
    assert body["data"][0]["created_at"].endswith("Z")
    assert get(key, "/v1/models").json()["object"] == "list"
    error = get(key, "/v1/models/nope", VERSION).json()
    assert (error["type"], error["error"]["type"]) == ("error", "not_found_error")
    for query in ("limit=0", "limit=x", "limit=1001", LONG, "after_id=nope", "before_id=nope"):
        answer = get(key, f"/v1/models?{query}", VERSION)
        assert answer.status_code == 400, query
    empty = get(alice.key(models=["gone"]), "/v1/models", VERSION).json()
    assert empty == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_a_test_key_sees_the_scenarios_in_both_forms(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(test=True)
    with Anthropic(api_key=key.secret, base_url=bridge.url) as client:
        names = [model.id for model in client.models.list(limit=1000)]
    assert set(SCENARIO_MODELS) <= set(names)
    assert names == sorted(set(names))
    assert get(key, "/v1/models/sandbox-echo", VERSION).json()["display_name"] == "sandbox-echo"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("chat/completions", {"messages": HELLO}),
        ("completions", {"prompt": "Hello"}),
        ("embeddings", {"input": "Hello"}),
        ("messages", {"messages": HELLO, "max_tokens": 9}),
        ("estimate", {"messages": HELLO}),
    ],
)
def test_an_unknown_model_gets_the_nearest_names_everywhere(
    bridge: TestBridge, key: Key, path: str, fields: dict[str, Any]
) -> None:
    answer = requests.post(
        f"{bridge.url}/v1/{path}",
        json={"model": "gpt-tset"} | fields,
        headers=key.headers,
        timeout=30,
    )
    assert answer.status_code == 404
    assert "gpt-test" in answer.json()["error"]["message"]


# What is not offered yet


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("POST", "/v1/images/generations", "images"),
        ("POST", "/v1/images/edits", "images"),
        ("POST", "/v1/audio/speech", "Speech"),
        ("POST", "/v1/audio/transcriptions", "transcription"),
        ("POST", "/v1/moderations", "Moderation"),
        ("POST", "/v1/rerank", "Reranking"),
        ("POST", "/v1/batches", "Batches"),
        ("GET", "/v1/files", "Files"),
        ("POST", "/v1/videos", "videos"),
        ("GET", "/v1/vector_stores/vs_1", "Vector stores"),
        ("POST", "/v1/fine_tuning/jobs", "Fine-tuning"),
        ("POST", "/v1/assistants", "Assistants"),
    ],
)
def test_what_is_not_offered_yet_says_so(
    bridge: TestBridge, key: Key, method: str, path: str, word: str
) -> None:
    answer = requests.request(
        method, f"{bridge.url}{path}", headers=key.headers, json={}, timeout=30
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "not_found")
    assert word in error["message"]
    assert "not offered" in error["message"]
    assert answer.headers["x-request-id"]


def test_anthropics_batches_say_so_in_anthropics_form(bridge: TestBridge, key: Key) -> None:
    url = f"{bridge.url}/v1/messages/batches"
    answer = requests.post(url, headers=key.headers, json={}, timeout=30)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    assert "not offered" in answer.json()["error"]["message"]


def test_a_path_that_nobody_knows_is_not_said_to_come(bridge: TestBridge, key: Key) -> None:
    message = get(key, "/v1/imagesque").json()["error"]["message"]
    assert "yet" not in message


# Quotes


def test_every_endpoint_is_quoted_by_its_path_by_a_field_and_by_its_fields(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    chat = {"model": "gpt-test", "messages": HELLO, "max_tokens": 9}
    vectors = {"model": "text-embedding-3-small", "input": "Hello"}
    text = {"model": "gpt-test", "prompt": "Hello"}
    responses = {"model": "gpt-test", "input": "Hello", "max_output_tokens": 9}
    for path, body, cap in (
        ("chat/completions", chat, 9),
        ("messages", chat, 9),
        ("responses", responses, 9),
        ("completions", text, 16),
        ("embeddings", vectors, 0),
    ):
        told = [
            estimate(key, body, f"/{path}"),
            estimate(key, body | {"endpoint": path}),
            estimate(key, body | {"endpoint": f"/v1/{path}"}),
            estimate(key, body),
        ]
        assert {answer.status_code for answer in told} == {200}, (path, told[0].text)
        found = [answer.json() for answer in told]
        assert found[0] == found[1] == found[2]
        assert found[0]["output_tokens_cap"] == found[3]["output_tokens_cap"] == cap
        assert Decimal(found[0]["quote"]) > 0
    assert upstream.seen() == []
    assert bridge.rows(Hold) == []


def test_an_anthropic_body_is_known_by_its_header(bridge: TestBridge, key: Key) -> None:
    body = {"model": "claude-test", "max_tokens": 9, "system": "Be brief", "messages": HELLO}
    plain = estimate(key, body | {"stop_sequences": ["."]}, **VERSION)
    assert plain.json() == estimate(key, body | {"stop_sequences": ["."]}, "/messages").json()


def test_an_endpoint_that_has_no_price_is_named(bridge: TestBridge, key: Key) -> None:
    for answer in (
        estimate(key, {"endpoint": "images/generations"}),
        estimate(key, {"endpoint": 7}),
        estimate(key, {}, "/files"),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "endpoint")
        assert "embeddings" in error["message"]
    wrong = estimate(key, {"model": "gpt-test", "input": "a"}, "/embeddings")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "model")


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent?alt=sse"])
def test_geminis_own_format_is_refused_with_a_way_out(bridge: TestBridge, method: str) -> None:
    url = f"{bridge.url}/v1/models/gemini-2.5-flash:{method}"
    answer = requests.post(url, json={}, timeout=30)
    assert answer.status_code == 404
    assert "/v1/chat/completions" in answer.json()["error"]["message"]
