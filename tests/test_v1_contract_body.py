"""What a call's body may be: strict JSON, every refusal by name, and not a cent moves meanwhile."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hostile import HostileUpstream, reply
from openai import AuthenticationError, OpenAI
from people import Key, Person, TestBridge, serving
from test_v1_contract import CHAT, HELLO, Answer, Headers, ask, bearer

from modelbridge.store.tables import BalanceTransaction, Hold

JSON = ("Content-Type", "application/json")


def post(key: Key, body: bytes, *headers: tuple[str, str], path: str = CHAT) -> Answer:
    sent: Headers = [bearer(key), *(headers or (JSON,))]
    return ask(key.bridge, "POST", path, sent, body)


@pytest.fixture
def frugal(bridge: TestBridge, alice: Person, upstream: HostileUpstream) -> Iterator[Key]:
    """A key of Alice's with which nothing is spent, held or sent during the test."""
    before = alice.account
    key = alice.key()
    yield key
    bridge.settle_down()
    assert alice.account == before
    assert bridge.rows(Hold) == []
    assert len(bridge.rows(BalanceTransaction)) == 1
    assert upstream.seen() == []


def refused(answer: Answer, param: str | None) -> dict[str, Any]:
    assert answer.status == 400, answer.body
    error = answer.error
    assert error["type"] == "invalid_request_error"
    assert error["code"] in ("invalid_request", "unsupported_parameter")
    assert error["param"] == param, error
    return error


def with_raw(field: str, raw: str) -> bytes:
    """A good body with one field more, whose value is this text."""
    return json.dumps(HELLO)[:-1].encode() + f', "{field}": {raw}}}'.encode()


# Strict JSON


NOT_STRICT: list[tuple[bytes, str | None, str]] = [
    (b"", None, "Expecting value"),
    (b"null", None, "must be a JSON object"),
    (b"[]", None, "must be a JSON object"),
    (b'"text"', None, "must be a JSON object"),
    (b"{", None, "line 1"),
    (b'{"model": "gpt-test"', None, "line 1"),
    (b'{"model": "gpt-test",}', None, "line 1"),
    (b"{'model': 1}", None, "line 1"),
    (json.dumps(HELLO).encode() + b" x", None, "Extra data"),
    (json.dumps(HELLO).encode() * 2, None, "Extra data"),
    (json.dumps(HELLO).encode("utf-16"), None, "not UTF-8"),
    (json.dumps(HELLO).encode("utf-32"), None, "not UTF-8"),
    (b"\xef\xbb\xbf" + json.dumps(HELLO).encode(), None, "Expecting value"),
    (b'{"model": "\xff"}', None, "not UTF-8"),
    (b'{"model": "\xed\xa0\x80"}', None, "not UTF-8"),
    (b'{"model": "a\x00b"}', None, "control character"),
    (with_raw("model", '"gpt-other"'), "model", "'model' appears twice"),
    (with_raw("x", '{"a": [{"b": 1, "b": 2}]}'), "x.a[0].b", "'b' appears twice"),
    (with_raw("temperature", "NaN"), "temperature", "NaN is not JSON"),
    (with_raw("temperature", "-Infinity"), "temperature", "Infinity is not JSON"),
    (with_raw("temperature", "1e400"), "temperature", "1e400 is out of range"),
    (with_raw("n", str(2**63)), "n", "out of range"),
    (with_raw("n", "9" * 5000), "n", "out of range"),
    (with_raw("seed", str(-(2**63) - 1)), "seed", "out of range"),
    (with_raw("user", r'"\ud800"'), "user", "surrogate"),
    (with_raw("x", r'[1, {"y": "\udc00\ud800"}]'), "x[1].y", "surrogate"),
    (with_raw("x", r'{"\ud83d": 1}'), None, "surrogate"),
    (with_raw("x", r'{"\ud83d": NaN}'), "x.?", "NaN"),
    (with_raw("x", "[" * 65 + "]" * 65), None, "deeper than 64"),
    (with_raw("x", "[" * 5000 + "]" * 5000), None, "deeper than 64"),
    (with_raw("x", '{"a":' * 5000 + "1" + "}" * 5000), None, "deeper than 64"),
    (b"[" * 100_000, None, "deeper than 64"),
]


def test_what_is_no_strict_json_is_refused_by_name(frugal: Key) -> None:
    for body, param, words in NOT_STRICT:
        assert words in refused(post(frugal, body), param)["message"], body[:60]


def test_the_name_of_a_deep_place_is_cut(frugal: Key) -> None:
    answer = post(frugal, with_raw("x", "[" * 900 + "NaN" + "]" * 900))
    assert answer.status == 400
    assert answer.error["param"] == ("x" + "[0]" * 900)[:200]


def test_depth_is_counted_to_the_level(key: Key) -> None:
    deep = "[" * 63 + "]" * 63
    assert post(key, with_raw("x", deep)).status == 200
    assert refused(post(key, with_raw("x", f"[{deep}]")), None)


def test_characters_beyond_the_basic_plane_pass(key: Key, upstream: HostileUpstream) -> None:
    body = {**HELLO, "messages": [{"role": "user", "content": "😀 ｆｕｌｌ \u0000 ﷽"}]}
    for sent in (json.dumps(body), json.dumps(body, ensure_ascii=False)):
        assert post(key, sent.encode()).status == 200
        assert upstream.seen()[-1]["body"]["messages"] == body["messages"]


# Fields


WRONG: dict[str, list[Any]] = {
    "model": [None, "", 5, [], {}],
    "messages": [None, "Hello", {}, [], [5]],
    "n": [0, -1, True, "5", 1.0, 1.5, 129, [], {}],
    "max_tokens": [0, -1, True, "5", 1.0, 1.5, [], {}],
    "max_completion_tokens": [0, -1, True, "5", 1.0, 1.5, [], {}],
    "stream": ["true", 1, 0, [], {}],
    "temperature": [-0.1, 2.1, "1", True, []],
    "top_p": [-0.1, 1.1, "1", True],
    "frequency_penalty": [-2.1, 2.1, "1"],
    "presence_penalty": [-2.1, 2.1, "1"],
    "stop": [5, [5], {}, ["a", None]],
    "tools": ["x", {}, ["x"]],
    "parallel_tool_calls": ["yes", 1],
    "response_format": ["json", [], 5],
    "seed": ["1", 1.5, True],
    "logprobs": ["yes", 1],
    "top_logprobs": [-1, 21, "1", True],
    "logit_bias": [[], "x"],
    "user": [5, [], {}],
    "metadata": [[], "x"],
    "reasoning_effort": [5, {}],
    "stream_options": [[], "x", {"include_usage": True}],
    "tool_choice": ["auto?", "required", {"type": "function", "function": {"name": "f"}}],
}


def test_a_wrong_type_or_range_is_refused_by_name(frugal: Key) -> None:
    for field, value in [(field, value) for field, values in WRONG.items() for value in values]:
        answer = post(frugal, json.dumps({**HELLO, field: value}).encode())
        assert answer.status == 400, (value, answer.body)
        assert answer.error["type"] == "invalid_request_error"
        assert str(answer.error["param"]).partition("[")[0] == field, value
        assert field in answer.error["message"]


WRONG_MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({}, "messages[0].role"),
    ({"role": "wizard", "content": "x"}, "messages[0].role"),
    ({"role": "user"}, "messages[0].content"),
    ({"role": "user", "content": 5}, "messages[0].content"),
    ({"role": "user", "content": ["x"]}, "messages[0].content[0]"),
    ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
    ({"role": "user", "content": [{"type": "smell"}]}, "messages[0].content[0].type"),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
        "messages[0].content[0].image_url",
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
        "messages[0].content[0].image_url.url",
    ),
    ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
    (
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
]


def test_a_message_is_refused_by_the_place_that_is_wrong(frugal: Key) -> None:
    for message, param in WRONG_MESSAGES:
        refused(post(frugal, json.dumps({**HELLO, "messages": [message]}).encode()), param)


UNBOUNDED = ["web_search_options", "plugins", "models", "best_of", "n_predict", "audio"]


def test_what_multiplies_the_cost_beyond_any_bound_is_refused_by_name(frugal: Key) -> None:
    for field in UNBOUNDED:
        error = refused(post(frugal, json.dumps({**HELLO, field: {"x": 1}}).encode()), field)
        assert error["code"] == "unsupported_parameter"


def test_two_maxima_that_differ_are_refused(frugal: Key) -> None:
    body = {**HELLO, "max_tokens": 5, "max_completion_tokens": 6}
    refused(post(frugal, json.dumps(body).encode()), "max_tokens")


def test_null_is_absent(key: Key) -> None:
    body = HELLO | dict.fromkeys(
        (field for field in WRONG if field not in ("model", "messages")), None
    )
    assert post(key, json.dumps(body).encode()).status == 200


def test_the_largest_maximum_is_money_and_no_overflow(key: Key) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        answer = post(key, json.dumps({**HELLO, field: 2**63 - 1}).encode())
        assert answer.told == (429, "insufficient_quota", "max_tokens_unaffordable")


def test_unknown_fields_reach_the_upstream(key: Key, upstream: HostileUpstream) -> None:
    extra = {"top_k": 40, "min_p": 0.05, "x_new": {"a": [1, None, "é"]}}
    assert post(key, json.dumps(HELLO | extra).encode()).status == 200
    assert {name: upstream.seen()[-1]["body"][name] for name in extra} == extra


def test_validation_comes_before_routing(frugal: Key) -> None:
    body = {"model": "no-such-model", "messages": []}
    refused(post(frugal, json.dumps(body).encode()), "messages")


# What surrounds the body


def test_another_content_type_is_refused(frugal: Key) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = post(frugal, json.dumps(HELLO).encode(), ("Content-Type", kind))
        assert answer.told == (415, "invalid_request_error", "unsupported_media_type")
        assert "application/json" in answer.error["message"]


def test_json_by_any_name_passes(key: Key) -> None:
    for kind in ("Application/JSON; charset=utf-8", "application/vnd.api+json"):
        assert post(key, json.dumps(HELLO).encode(), ("Content-Type", kind)).status == 200


def test_a_compressed_body_is_refused(frugal: Key) -> None:
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, identity"):
        answer = post(frugal, b"\x1f\x8b", JSON, ("Content-Encoding", encoding))
        assert answer.told == (415, "invalid_request_error", "unsupported_media_type")


def test_identity_is_no_compression(key: Key) -> None:
    answer = post(key, json.dumps(HELLO).encode(), JSON, ("Content-Encoding", "identity"))
    assert answer.status == 200


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


def test_a_chunked_body_is_read(key: Key) -> None:
    body = chunked(json.dumps(HELLO).encode())
    assert post(key, body, JSON, ("Transfer-Encoding", "chunked")).status == 200


def test_a_body_that_is_too_large_is_refused_in_json(tmp_path: Any) -> None:
    with serving(tmp_path, MODELBRIDGE_MAX_BODY_BYTES="2048") as bridge:
        key = bridge.person("alice").key()
        for size in (2049, 8191, 8192, 100_000):
            answer = post(key, b" " * size)
            assert answer.told == (413, "invalid_request_error", "request_too_large"), size
        declared = post(key, b"{", JSON, ("Content-Length", str(10**12)))
        assert declared.told == (413, "invalid_request_error", "request_too_large")
        long = post(key, chunked(b" " * 9000), JSON, ("Transfer-Encoding", "chunked"))
        assert long.told == (413, "invalid_request_error", "request_too_large")
        assert post(key, b" " * 2048).status == 400
        bridge.check_books()


@pytest.mark.parametrize("size", [2_000, 5_000_000])
def test_a_body_without_a_key_is_refused_alike_whether_it_was_read_or_not(
    key: Key, size: int
) -> None:
    """The long one is not read; OpenAI's client gets its answer all the same."""
    client = OpenAI(base_url=f"{key.bridge.url}/v1", api_key="sk-none", max_retries=0)
    with pytest.raises(AuthenticationError) as refusal:
        client.chat.completions.create(
            model="gpt-test", messages=[{"role": "user", "content": "x" * size}]
        )
    assert refusal.value.code == "invalid_api_key"
    assert refusal.value.response.headers.get("connection") == ("close" if size > 10**6 else None)


def test_broken_http_is_refused_in_json(frugal: Key) -> None:
    for header, status in (
        (("Content-Length", "-5"), 400),
        (("Content-Length", "5, 6"), 400),
        (("Transfer-Encoding", "gzip"), 501),
        (("X-Long", "x" * 300_000), 431),
    ):
        answer = post(frugal, b"{}", JSON, header)
        assert answer.told == (status, "invalid_request_error", "invalid_request")


def test_fields_of_any_name_are_told_in_a_header_that_can_carry_them(
    key: Key, upstream: HostileUpstream
) -> None:
    key.bridge.upstream("chats", upstream.base_url, "openai_compatible")
    key.bridge.model("gpt-chats", "chats")
    upstream.will(reply("Hello"))
    odd = {"\x85": 1, "caf\u00e9\r\nx: y": 2, "n" * 5_000: 3}
    body = json.dumps({"model": "gpt-chats", "input": "Hi", **odd}).encode()
    answer = post(key, body, path="/v1/responses")
    assert answer.status == 200
    told = answer.headers["x-modelbridge-dropped"]
    assert "\\x85, caf\\xe9\\r\\nx: y, nnn" in told
    assert len(told) < 200
