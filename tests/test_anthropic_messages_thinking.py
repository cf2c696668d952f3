"""Alice asks for thinking and for a temperature; every generation of Claude takes them its way."""

from typing import Any

import pytest
from anthropic_words import DIALECT, WEATHER, assistant, build, call, result, system, target, user
from hypothesis import given
from hypothesis import strategies as st

from modelbridge.dialects.anthropic_messages_models import generation_of

SIGNED = {"type": "thinking", "thinking": "hm", "signature": "sig"}
REDACTED = {"type": "redacted_thinking", "data": "xyz"}
ENABLED = {"type": "enabled", "budget_tokens": 2000}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@pytest.mark.parametrize(
    ("name", "family", "version"),
    [
        ("claude-3-7-sonnet-20250219", "", (3, 7)),
        ("claude-3-opus-20240229", "", (3, 0)),
        ("claude-sonnet-4-20250514", "sonnet", (4, 0)),
        ("claude-opus-4-1-20250805", "opus", (4, 1)),
        ("claude-haiku-4-5@20251001", "haiku", (4, 5)),
        ("us.anthropic.claude-sonnet-4-6-v1:0", "sonnet", (4, 6)),
        ("anthropic/claude-opus-4.7", "opus", (4, 7)),
        ("Claude-Fable-5", "fable", (5, 0)),
        ("claude-mythos-preview", "mythos", (99, 0)),
        ("claude-2.1", "", (2, 1)),
        ("deepseek-chat", "", None),
    ],
)
def test_a_models_generation_is_told_from_its_name(name: str, family: str, version: Any) -> None:
    generation = generation_of(name)
    assert (generation.family, generation.version) == (family, version)


def said(model: str, effort: str, maximum: int = 64_000) -> tuple[Any, Any, tuple[str, ...]]:
    """The thinking, the effort and the dropped fields that an effort comes to."""
    request: Any = {"messages": [user("a")], "reasoning_effort": effort}
    wire = DIALECT.build_request(request, target(model), maximum)
    return wire.body.get("thinking"), wire.body.get("output_config", {}).get("effort"), wire.dropped


UNSAID = ("reasoning_effort",)
SHOWN = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("claude-3-5-haiku-latest", "high", (None, None, UNSAID)),
        ("claude-3-5-haiku-latest", "none", (None, None, ())),
        ("claude-haiku-4-5", "none", (None, None, ())),
        ("claude-haiku-4-5", "low", ({"type": "enabled", "budget_tokens": 2048}, None, ())),
        ("claude-opus-4-5", "high", ({"type": "enabled", "budget_tokens": 16384}, None, ())),
        ("their-own-model", "medium", ({"type": "enabled", "budget_tokens": 8192}, None, ())),
        ("claude-opus-4-6", "minimal", ({"type": "adaptive"}, "low", ())),
        ("claude-opus-4-6", "xhigh", ({"type": "adaptive"}, "high", UNSAID)),
        ("claude-opus-4-6", "max", ({"type": "adaptive"}, "max", ())),
        ("claude-opus-4-7", "xhigh", (SHOWN, "xhigh", ())),
        ("claude-opus-4-8", "none", (None, None, ())),
        ("claude-sonnet-5", "medium", (SHOWN, "medium", ())),
        ("claude-sonnet-5", "none", ({"type": "disabled"}, None, ())),
        ("claude-sonnet-5-5", "none", ({"type": "between_tools"}, None, ())),
        ("claude-opus-5", "none", ({"type": "disabled"}, None, ())),
        ("claude-opus-5-5", "none", (None, "low", UNSAID)),
        ("claude-fable-5", "none", (None, "low", UNSAID)),
    ],
)
def test_an_effort_becomes_what_the_generation_takes(
    model: str, effort: str, expected: tuple[Any, Any, tuple[str, ...]]
) -> None:
    assert said(model, effort) == expected


def test_the_recorded_refusal_of_xhigh_by_opus_4_6_cannot_happen() -> None:
    assert said("claude-opus-4-6", "xhigh")[1] in ("high", "low", "max", "medium")


@given(st.sampled_from(EFFORTS), st.integers(1, 100_000))
def test_a_thinking_budget_leaves_room_for_the_answer(effort: str, maximum: int) -> None:
    thinking, _, dropped = said("claude-sonnet-4-5", effort, maximum)
    if thinking is None:
        assert dropped == (() if effort == "none" else UNSAID)
    else:
        assert 1024 <= thinking["budget_tokens"] < maximum


def test_what_the_client_says_of_thinking_itself_passes_as_it_is() -> None:
    for model in ("claude-sonnet-4-5", "claude-opus-5"):
        for thinking in (ENABLED, {"type": "disabled"}, {"type": "adaptive", "display": "omitted"}):
            wire = build(user("a"), thinking=thinking, model=model)
            assert wire.body["thinking"] == thinking
            assert wire.dropped == ()


def test_a_budget_that_no_longer_fits_is_lowered_or_dropped_by_name() -> None:
    request: Any = {"messages": [user("a")], "thinking": {"type": "enabled", "budget_tokens": 9000}}
    wire = DIALECT.build_request(request, target(), 4000)
    assert wire.body["thinking"] == {"type": "enabled", "budget_tokens": 3200}
    assert wire.dropped == ("thinking.budget_tokens",)
    wire = DIALECT.build_request(request, target(), 1200)
    assert "thinking" not in wire.body
    assert wire.dropped == ("thinking",)


def test_thinking_and_effort_together_say_both_where_they_can() -> None:
    thinking = {"type": "adaptive"}
    body = build(user("a"), thinking=thinking, reasoning_effort="low", model="claude-opus-5").body
    assert (body["thinking"], body["output_config"]) == (thinking, {"effort": "low"})
    wire = build(user("a"), thinking=ENABLED, reasoning_effort="low")
    assert (wire.body["thinking"], wire.dropped) == (ENABLED, UNSAID)
    wire = build(user("a"), thinking=thinking, reasoning_effort="none", model="claude-opus-5")
    assert (wire.body["thinking"], wire.dropped) == (thinking, UNSAID)


# Earlier thinking


def round_of_tools(**first: Any) -> list[dict[str, Any]]:
    return [
        system("s"),
        user("a"),
        assistant(tool_calls=[call("c1", "weather", "{}")], **first),
        result("c1", "rain"),
    ]


def test_signed_thinking_goes_back_before_the_words_and_calls_that_followed_it() -> None:
    blocks = [{**SIGNED, "extra": 1}, REDACTED, {"type": "thinking", "thinking": "unsigned"}]
    spoken = {"content": "Look.", "reasoning_content": "hm", "thinking_blocks": blocks}
    conversation = round_of_tools(**spoken)
    wire = build(*conversation, tools=[WEATHER], thinking=ENABLED)
    assert wire.body["thinking"] == ENABLED
    assert wire.body["messages"][1]["content"] == [
        SIGNED,
        REDACTED,
        {"type": "text", "text": "Look."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
    ]
    assert wire.dropped == ()


def test_a_round_of_tools_begun_without_thinking_goes_on_without_it() -> None:
    wire = build(*round_of_tools(), tools=[WEATHER], thinking=ENABLED)
    assert "thinking" not in wire.body
    assert wire.dropped == ("thinking",)
    wire = build(*round_of_tools(), tools=[WEATHER], reasoning_effort="high")
    assert "thinking" not in wire.body
    assert wire.dropped == UNSAID
    adaptive = {"type": "adaptive"}
    wire = build(*round_of_tools(), tools=[WEATHER], thinking=adaptive, model="claude-sonnet-4-6")
    assert (wire.body["thinking"], wire.dropped) == (adaptive, ())


def test_only_the_first_message_of_a_round_has_to_think() -> None:
    later = [assistant(tool_calls=[call("c2", "weather", "{}")]), result("c2", "sun")]
    conversation = [*round_of_tools(thinking_blocks=[SIGNED]), *later]
    assert build(*conversation, tools=[WEATHER], thinking=ENABLED).body["thinking"] == ENABLED


def test_rounds_that_are_over_need_no_thinking() -> None:
    conversation = [*round_of_tools(), assistant("Rain."), user("Thanks. And in Bergen?")]
    assert build(*conversation, tools=[WEATHER], thinking=ENABLED).body["thinking"] == ENABLED


def test_a_prefilled_answer_or_a_forced_tool_rules_out_a_budget() -> None:
    assert build(user("a"), assistant("The answer is"), thinking=ENABLED).dropped == ("thinking",)
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in ("required", named):
        wire = build(user("a"), tools=[WEATHER], tool_choice=choice, reasoning_effort="low")
        assert ("thinking" in wire.body, wire.dropped) == (False, UNSAID)


def test_thinking_that_cannot_go_back_is_named() -> None:
    off = build(user("a"), assistant("b", thinking_blocks=[SIGNED]), user("c"))
    assert off.body["messages"][1]["content"] == [{"type": "text", "text": "b"}]
    assert off.dropped == ("thinking_blocks",)
    unsigned = build(user("a"), assistant("b", reasoning_content="hm"), user("c"), thinking=ENABLED)
    assert unsigned.dropped == ("reasoning_content",)
    unasked = build(
        user("a"), assistant("b", thinking_blocks=[SIGNED]), user("c"), model="claude-opus-5"
    )
    assert unasked.body["messages"][1]["content"][0] == SIGNED


# Sampling


@pytest.mark.parametrize(
    ("model", "fields", "sent", "dropped"),
    [
        ("claude-sonnet-4-5", {"temperature": 0}, {"temperature": 0}, ()),
        ("claude-sonnet-4-5", {"temperature": 1.4}, {}, ("temperature",)),
        ("claude-sonnet-4-5", {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}, ("top_p",)),
        ("claude-sonnet-4-5", {"temperature": 1, "top_p": 0.9}, {"top_p": 0.9}, ()),
        ("claude-sonnet-4-5", {"temperature": 0.2, "top_p": 1}, {"temperature": 0.2}, ()),
        ("claude-sonnet-4-5", {"top_k": 1}, {"top_k": 1}, ()),
        ("claude-opus-5", {"temperature": 0.2, "top_k": 9}, {}, ("temperature", "top_k")),
        ("claude-opus-5", {"temperature": 1, "top_p": 1}, {}, ()),
    ],
)
def test_sampling_is_sent_as_far_as_the_model_takes_it(
    model: str, fields: dict[str, Any], sent: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    wire = build(user("a"), model=model, **fields)
    found = {
        name: wire.body[name] for name in ("temperature", "top_p", "top_k") if name in wire.body
    }
    assert (found, wire.dropped) == (sent, dropped)


def test_a_model_that_thinks_is_left_its_temperature() -> None:
    wire = build(user("a"), thinking=ENABLED, temperature=0.2, top_p=0.9, top_k=4)
    assert not {"temperature", "top_p", "top_k"} & wire.body.keys()
    assert wire.dropped == ("temperature", "top_p", "top_k")
    assert build(user("a"), thinking=ENABLED, top_p=0.97).body["top_p"] == 0.97
