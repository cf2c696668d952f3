"""The bound on input: no tokenizer makes more of a request than was held for."""

import json
import unicodedata
from typing import Any, cast

import pytest
import requests
from hostile_strings import growing, hostile_strings
from hypothesis import given
from hypothesis import strategies as st
from llama import LlamaServer
from people import Key, TestBridge

from modelbridge import jsonio
from modelbridge.dialects.registry import UPSTREAM_DIALECTS
from modelbridge.errors import UnsupportedParameter
from modelbridge.gateway import bounds
from modelbridge.gateway.bounds import measure
from modelbridge.gateway.kinds import COMPLETIONS, EMBEDDINGS, Kind
from modelbridge.wire.chat import ChatRequest
from modelbridge.wire.target import Target

SALLA = "\ufdfa"  # 3 bytes; 18 letters, 33 bytes, after NFKC
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def request(*content: Any, **more: Any) -> ChatRequest:
    """A request with a message of each content."""
    messages = [{"role": "user", "content": one} for one in content]
    return cast(ChatRequest, {"model": "m", "messages": messages, **more})


def bound(asked: ChatRequest, window: int | None = None, provider: str = "openai") -> int:
    return measure(asked).bound(provider, "gpt-test", window)


def sent_to(dialect: str, asked: ChatRequest) -> dict[str, Any]:
    """What a newer model of that format is sent."""
    names = {"anthropic_messages": "claude-sonnet-4-6", "gemini": "gemini-2.5-flash"}
    target = Target("up_1", "a", "a", dialect, "http://h", "bearer", names[dialect])
    return UPSTREAM_DIALECTS[dialect].build_request(asked, target, 100).body


def longest_form(text: str) -> int:
    """The most tokens that a byte-level tokenizer can start with."""
    return max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode()))


# Text


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_text_is_bounded_by_its_bytes_raw_and_normalised(texts: list[str]) -> None:
    raw = sum(len(text.encode()) for text in texts)
    normal = sum(len(unicodedata.normalize("NFKC", text).encode()) for text in texts)
    assert measure(request(*texts)).text_tokens >= max(raw, normal) + bounds.TEMPLATE_TOKENS


def test_hostile_strings_are_bounded_in_both_forms() -> None:
    for text in hostile_strings(seed=1, count=3_000):
        assert measure(request(text)).text_bytes >= longest_form(text)


@pytest.mark.parametrize("one", growing()[:50])
def test_characters_that_grow_the_most_are_bounded(one: str) -> None:
    assert measure(request(one * 1_000)).text_bytes >= longest_form(one * 1_000)


def test_ten_thousand_times_u_fdfa_is_bounded_by_its_long_form() -> None:
    assert measure(request(SALLA * 10_000)).text_tokens >= 330_000


def test_a_real_tokenizer_makes_no_more_of_hostile_strings(llama: LlamaServer) -> None:
    """SmolLM2's own byte-level BPE, asked through llama.cpp."""
    url = llama.base_url.removesuffix("/v1") + "/tokenize"
    texts = list(hostile_strings(seed=2, count=1_500))
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {llama.api_key}"
        for start in range(0, len(texts), 50):
            batch = texts[start : start + 50]
            for text in ("\x1e".join(batch), batch[0]):
                answer = session.post(url, json={"content": text}, timeout=30)
                assert answer.status_code == 200, answer.text
                assert len(answer.json()["tokens"]) <= measure(request(text)).text_bytes


def test_everything_that_is_text_counts_wherever_it_stands() -> None:
    empty = measure(request("")).text_tokens
    padding = "x" * 1_000
    tool = {"type": "function", "function": {"name": "f", "description": padding}}
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"a": padding}}}
    thinking = [{"role": "assistant", "content": "", "reasoning_content": padding}]
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": padding}}
    for asked in (
        request([{"type": "text", "text": padding}]),
        request("", tools=[tool]),
        request("", response_format=schema),
        request("", user=padding),
        {"model": "m", "messages": thinking},
        {"model": "m", "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]},
        {"model": "m", "messages": [{"role": "user", "content": "", "name": padding}]},
        request("", something_unknown={"deep": [padding]}),
    ):
        assert measure(asked).text_tokens >= empty + 1_000 - 100  # type: ignore[arg-type]


def test_messages_and_tools_have_their_overheads() -> None:
    one, two = measure(request("a")), measure(request("a", "a"))
    assert two.text_tokens - one.text_tokens >= bounds.MESSAGE_TOKENS
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with_tool = measure(request("a", tools=[tool]))
    with_tools = measure(request("a", tools=[tool] * 2))
    tool_bytes = len(json.dumps(tool, separators=(",", ":")))
    assert with_tool.text_tokens - one.text_tokens >= 2_048 + 64 + tool_bytes * 5 // 4
    assert with_tools.text_tokens - with_tool.text_tokens >= 64 + tool_bytes * 5 // 4
    assert bounds.choices(request("a")) == bounds.choices(request("a", n=None)) == 1
    assert bounds.choices(request("a", n=3)) == 3


# Pictures, and what bytes cannot bound


def test_a_picture_counts_as_its_provider_counts_and_not_by_its_bytes() -> None:
    data = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    text = bound(request([{"type": "text", "text": "Look"}]))
    for provider, each in (("openai", 16_000), ("anthropic", 5_000), ("groq", 50_000)):
        for one in (PICTURE, data):
            found = bound(request([{"type": "text", "text": "Look"}, one, one]), None, provider)
            assert 2 * each <= found <= text + 2 * each + 10
    mini = measure(request([PICTURE])).bound("openai", "gpt-4o-mini-2024-07-18", None)
    assert mini >= 50_000


def test_pictures_do_not_hide_text_whatever_their_address_looks_like() -> None:
    """An address that shrinks when it is normalised must not be taken off text that grows."""
    shrinks = "https://example.com/" + "\uff21" * 100_000  # 3 bytes each, 1 after NFKC
    text = SALLA * 5_000
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": shrinks}}]
    assert measure(request(parts)).text_bytes >= longest_form(text)
    assert measure(request(parts)).text_bytes < longest_form(text) + 1_000


UNBOUNDED: list[dict[str, Any]] = [
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
    {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
    {"type": "something new"},
]


@pytest.mark.parametrize("part", UNBOUNDED)
def test_what_bytes_cannot_bound_counts_as_the_whole_window_or_is_refused(
    part: dict[str, Any],
) -> None:
    asked = request([part])
    assert bound(asked, window=128_000) == 128_000
    with pytest.raises(UnsupportedParameter, match="--context-window") as refused:
        bound(asked)
    assert refused.value.param == "messages[0].content[0]"


def test_sound_that_lies_at_the_provider_cannot_be_bounded_either() -> None:
    asked: Any = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Say hello"},
            {"role": "assistant", "audio": {"id": "audio_1"}},
        ],
    }
    assert bound(asked, window=128_000) == 128_000
    with pytest.raises(UnsupportedParameter) as refused:
        bound(asked)
    assert refused.value.param == "messages[1].audio"


def test_the_window_is_the_most_that_anything_counts() -> None:
    assert bound(request("x" * 50_000), window=8_192) == 8_192
    assert bound(request([PICTURE] * 5), window=8_192) == 8_192
    short = bound(request("x"), window=8_192)
    assert short == bound(request("x")) < 8_192


def test_cache_writes_are_seen_where_a_client_marks_them() -> None:
    marked = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    assert measure(request([marked])).cache_writes
    assert measure(request([PICTURE | {"cache_control": {"type": "ephemeral"}}])).cache_writes
    assert not measure(request("a")).cache_writes
    assert not measure(request('"cache_control"')).cache_writes


# The numbers of docs/bounds.md, exactly


def as_json(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def test_a_chat_counts_its_bytes_its_template_and_its_messages() -> None:
    asked = request("one", "two", "three", temperature=1)
    size = measure(asked)
    assert size.text_bytes == as_json(asked)
    assert size.text_tokens == as_json(asked) + 256 + 3 * 16
    assert (size.images, size.unbounded, size.cache_writes) == (0, None, False)
    assert bound(asked) == bound(asked, window=size.text_tokens) == size.text_tokens
    assert bound(asked, window=size.text_tokens - 1) == size.text_tokens - 1


def test_tools_count_once_for_all_once_for_each_and_a_quarter_more_than_their_bytes() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    for tools in ([tool], [tool] * 5):
        asked = request("a", tools=tools)
        extra = 2_048 + 64 * len(tools) + as_json(tools) // 4
        assert measure(asked).text_tokens == as_json(asked) + 256 + 16 + extra
    empty: tuple[list[Any] | None, ...] = ([], None)
    for none in empty:
        asked = request("a", tools=none)
        assert measure(asked).text_tokens == as_json(asked) + 256 + 16
    call: Any = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = request("a")
    called["messages"].append({"role": "assistant", "content": None, "tool_calls": [call]})
    assert measure(called).text_tokens == as_json(called) + 256 + 2 * 16 + 2_048


@pytest.mark.parametrize(
    ("provider", "model", "tokens"),
    [
        ("anthropic", "claude-sonnet-4-6", 5_000),
        ("openai", "gpt-5", 16_000),
        ("openai", "gpt-4o", 16_000),
        ("openai_responses", "gpt-5", 16_000),
        ("openai", "gpt-4o-mini-2024-07-18", 50_000),
        ("openai-compatible", "gpt-4o", 50_000),
        ("gemini", "gemini-2.5-pro", 50_000),
    ],
)
def test_each_picture_has_its_providers_number(provider: str, model: str, tokens: int) -> None:
    text = {"type": "text", "text": "What is this?"}
    without = measure(request([text])).text_tokens
    size = measure(request([PICTURE, text, PICTURE]))
    assert (size.images, size.text_tokens) == (2, without)
    assert size.bound(provider, model, None) == without + 2 * tokens
    assert size.bound(provider, model, without + 1) == without + 1


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("abc", 3), ("é", 2), ("e\u0301", 3), (SALLA, 33), ("\uff21", 3), ("\U0001f600", 4)],
)
def test_a_text_counts_its_longer_form(text: str, tokens: int) -> None:
    empty = measure(request("")).text_bytes
    assert measure(request(text * 100)).text_bytes == empty + 100 * tokens


@pytest.mark.parametrize("kind", ["text", "refusal", "thinking", "redacted_thinking"])
def test_parts_of_text_count_by_their_bytes(kind: str) -> None:
    asked = request([{"type": kind, kind: "x" * 500}])
    size = measure(asked)
    assert (size.text_bytes, size.unbounded) == (as_json(asked), None)


def test_the_last_part_that_cannot_be_bounded_is_named_by_its_place() -> None:
    text = {"type": "text", "text": "a"}
    size = measure(request([text], "b", [text, PICTURE, {"type": "file"}], [text]))
    assert (size.unbounded, size.images) == ("messages[2].content[2]", 1)
    assert size.bound("openai", "gpt-test", 7) == 7  # the whole window, which is the least


def test_a_mark_for_the_cache_on_one_picture_is_not_forgotten_at_the_next() -> None:
    marked = PICTURE | {"cache_control": {"type": "ephemeral"}}
    assert measure(request([marked, PICTURE])).cache_writes
    assert measure(request([PICTURE, marked])).cache_writes
    assert not measure(request([PICTURE, PICTURE])).cache_writes


def test_texts_that_are_no_chat_count_each_for_itself_and_tokens_as_they_are() -> None:
    rest: dict[str, Any] = {"model": "m"}
    size = bounds.measure_texts(["abcd", SALLA, [1, 2, 3]], rest)
    assert size.text_tokens == 4 + 33 + 3 + 256 + 3 * (16 + as_json(rest))
    assert size.text_bytes == 4 + 33 + 4 * 3  # four bytes for each token that came as one
    assert size.longest_tokens == 33 + as_json(rest) + 256 + 16
    assert size.bound("openai", "m", None) == size.text_tokens
    assert size.bound("openai", "m", 100) == 3 * 100  # a window for each
    assert (size.cache_writes, size.unbounded) == (False, None)


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (COMPLETIONS, {"prompt": ["a"] * 100, "suffix": "x y " * 500}),
        (EMBEDDINGS, {"input": ["a"] * 100, "instruction": "x y " * 500}),
    ],
)
def test_what_stands_beside_each_text_counts_for_each(kind: Kind, asked: dict[str, Any]) -> None:
    """A provider reads the suffix behind every prompt, and an instruction before every input."""
    size = kind.measure({"model": "m", **asked})
    assert size.text_tokens >= 100 * 2_000
    assert size.bound("openai", "m", 4_096) >= 100 * 2_000


def test_functions_of_the_older_kind_have_the_overheads_of_tools() -> None:
    function = {"name": "f", "parameters": {"type": "object"}}
    plain, asked = measure(request("a")), request("a", functions=[function] * 2)
    extra = 2_048 + 2 * 64 + as_json([function] * 2) // 4
    assert measure(asked).text_tokens >= plain.text_tokens + extra
    assert measure(asked).text_tokens == as_json(asked) + 256 + 16 + extra


# What a translation sends is what was priced


NUMBERS = [f"{number}e{power}" for number in (1, 1.5, -7) for power in (-7, -5, 5, 15, 16, 300)]


@pytest.mark.parametrize("dialect", ["anthropic_messages", "gemini"])
@pytest.mark.parametrize("value", ["\x7f", "\u200b", "\U000e0001", '"', "a"])
def test_a_schema_that_is_said_in_words_is_no_longer_than_it_was(dialect: str, value: str) -> None:
    schema = {"type": "object", "properties": {"a": {"not": {"enum": [value] * 2_000}}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    function = {"name": "f", "strict": True, "parameters": schema}
    for more in (
        {"response_format": wanted},
        {"tools": [{"type": "function", "function": function}]},
    ):
        sent = sent_to(dialect, request("a", **more))
        assert as_json(sent) <= measure(request("a", **more)).text_tokens


@pytest.mark.parametrize("dialect", ["anthropic_messages", "gemini"])
@pytest.mark.parametrize("number", [*NUMBERS, "123456789012345678901", "1.10", "12"])
def test_numbers_in_the_arguments_of_a_call_are_sent_as_they_were_written(
    dialect: str, number: str
) -> None:
    arguments = f'{{"a": [{", ".join([number] * 2_000)}]}}'
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    asked = request("a")
    asked["messages"] += [
        cast(Any, {"role": "assistant", "content": None, "tool_calls": [call]}),
        cast(Any, {"role": "tool", "tool_call_id": "1", "content": "b"}),
    ]
    sent = jsonio.dumps(sent_to(dialect, asked)).decode()
    assert len(sent) <= measure(asked).text_tokens
    assert json.dumps([float(number)] * 2_000) in json.dumps(json.loads(sent, parse_int=float))


# On the wire


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("web_search_options", {}),
        ("background", True),
        ("audio", {"voice": "alloy"}),
        ("prediction", {"type": "content", "content": "x"}),
        ("plugins", [{"id": "web"}]),
        ("mcp_servers", [{"url": "https://example.com"}]),
        ("service_tier", "priority"),
        ("modalities", ["text", "audio"]),
        ("modalities", ["image", "text"]),
        ("tools", [{"type": "web_search"}]),
        ("n_predict", 100_000),
        ("best_of", 5),
        ("max_output_tokens", 5),
        ("n", 129),
    ],
)
def test_what_would_cost_beyond_the_bound_is_a_400_that_names_it(
    key: Key, name: str, value: Any
) -> None:
    answer = key.chat(**{name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(name)


def test_a_file_is_a_400_where_the_window_is_not_known_and_a_call_where_it_is(
    bridge: TestBridge, key: Key
) -> None:
    bridge.model("gpt-window", context_window=10_000)
    content = [{"type": "file", "file": {"file_id": "file-1"}}]
    messages = [{"role": "user", "content": content}]
    refused = key.chat("gpt-test", messages=messages)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "unsupported_parameter"
    assert refused.json()["error"]["param"] == "messages[0].content[0]"
    answer = key.chat("gpt-window", messages=messages, max_tokens=10)
    assert answer.status_code == 200
    bridge.settle_down()
    # 10,000 at USD 1 and 10 at USD 2 a million, at 1.53
    assert bridge.last_call().held_nanos == (10_000 + 2 * 10) * 1530
