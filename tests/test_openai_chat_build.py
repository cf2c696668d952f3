"""What an OpenAI-compatible upstream is sent for a chat request."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_words import CALL, FRONT, HELLO, UPSTREAM, WEATHER, read, target

TEXTS = st.text(max_size=20)
MESSAGES = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS}
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": TEXTS, "content": TEXTS}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "tool_calls": st.just([CALL]), "reasoning_content": TEXTS}
    ),
)
REQUESTS = st.fixed_dictionaries(
    {"model": st.just("gpt-4o"), "messages": st.lists(MESSAGES, min_size=1, max_size=4)},
    optional={
        "temperature": st.floats(0, 2),
        "n": st.integers(1, 128),
        "stop": TEXTS | st.lists(TEXTS, max_size=4),
        "tools": st.just([WEATHER]),
        "stream": st.booleans(),
        "user": TEXTS,
        "unknown_to_us": st.none() | st.lists(TEXTS) | st.integers(),
    },
)


@given(REQUESTS, st.sampled_from(["max_tokens", "max_completion_tokens"]), st.integers(1, 9999))
def test_what_is_sent_is_what_was_read(body: dict[str, Any], word: str, maximum: int) -> None:
    body[word] = maximum
    sent = UPSTREAM.build_request(FRONT.read_request(deepcopy(body)), target(), maximum)
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    assert sent.body == body
    assert FRONT.read_request(sent.body) == body


def test_the_cap_replaces_the_clients_maximum_under_the_clients_word() -> None:
    assert UPSTREAM.build_request(read(max_tokens=900), target(), 16).body["max_tokens"] == 16
    sent = UPSTREAM.build_request(read(max_tokens=9, max_completion_tokens=9), target(), 4).body
    assert sent["max_completion_tokens"] == 4
    assert "max_tokens" not in sent


def test_a_server_that_knows_another_word_for_the_cap_gets_that_word() -> None:
    quirk = target(rename={"max_completion_tokens": "max_tokens"})
    for request in (read(), read(max_tokens=50), read(max_completion_tokens=50)):
        sent = UPSTREAM.build_request(request, quirk, 7).body
        assert sent["max_tokens"] == 7
        assert "max_completion_tokens" not in sent


def test_a_dropped_field_is_named_only_if_the_client_sent_it() -> None:
    quirk = target(drop=("logit_bias", "seed"))
    sent = UPSTREAM.build_request(read(seed=7, logit_bias=None), quirk, 5)
    assert sent.dropped == ("seed",)
    assert not {"seed", "logit_bias"} & set(sent.body)


def test_a_forced_field_is_set_and_named_where_it_overrides_the_client() -> None:
    quirk = target(force={"store": False})
    assert UPSTREAM.build_request(read(), quirk, 5).body["store"] is False
    assert UPSTREAM.build_request(read(), quirk, 5).dropped == ()
    assert UPSTREAM.build_request(read(store=True), quirk, 5).dropped == ("store",)


def test_a_key_of_the_messages_can_be_dropped() -> None:
    thought = {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"}
    kept = UPSTREAM.build_request(read(HELLO, thought), target(), 5)
    assert kept.body["messages"][1] == thought
    quirk = target(drop=("messages.reasoning_content",))
    sent = UPSTREAM.build_request(read(HELLO, thought), quirk, 5)
    assert sent.body["messages"] == [HELLO, {"role": "assistant", "content": "Hi"}]
    assert sent.dropped == ("messages.reasoning_content",)


def test_blocks_that_anthropic_signed_are_not_sent_to_others_and_this_is_told() -> None:
    block = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    thought = {"role": "assistant", "content": "Hi", "thinking_blocks": [block]}
    sent = UPSTREAM.build_request(read(thought), target(), 5)
    assert sent.body["messages"] == [{"role": "assistant", "content": "Hi"}]
    assert "thinking_blocks" in thought
    assert sent.dropped == ("thinking_blocks",)
    empty = {"role": "assistant", "content": "Hi", "thinking_blocks": []}
    assert UPSTREAM.build_request(read(empty), target(), 5).dropped == ()


def test_developers_speak_as_system_where_the_server_knows_no_developers() -> None:
    developer = {"role": "developer", "content": "Be brief"}
    sent = UPSTREAM.build_request(read(developer), target(developer_role="system"), 5)
    assert sent.body["messages"] == [{"role": "system", "content": "Be brief"}]


@pytest.mark.parametrize(
    ("how", "client", "sent", "dropped"),
    [
        ("include_usage", None, {"include_usage": True}, ()),
        ("include_usage", {"include_usage": False}, {"include_usage": True}, ()),
        (
            "include_usage",
            {"include_obfuscation": False},
            {"include_obfuscation": False, "include_usage": True},
            (),
        ),
        ("always", {"include_usage": True}, None, ()),
        ("never", {"include_obfuscation": False}, None, ("stream_options",)),
    ],
)
def test_the_usage_is_asked_for_in_the_servers_own_way(
    how: str, client: dict[str, bool] | None, sent: dict[str, bool] | None, dropped: tuple[str, ...]
) -> None:
    request = read(stream=True, stream_options=client)
    built = UPSTREAM.build_request(request, target(stream_usage=how), 5)
    assert built.body.get("stream_options") == sent
    assert built.dropped == dropped


def test_the_automatic_service_tier_is_the_one_without_a_name() -> None:
    assert "service_tier" not in UPSTREAM.build_request(read(service_tier="auto"), target(), 5).body
    sent = UPSTREAM.build_request(read(service_tier="standard_only"), target(), 5).body
    assert sent["service_tier"] == "default"


def test_a_provider_may_have_its_own_path() -> None:
    quirk = target(paths={"openai_chat": "/v3/chat"})
    assert UPSTREAM.build_request(read(), quirk, 5).path == "/v3/chat"
