"""The canonical request and reply: what events add up to."""

import pytest

from modelbridge.errors import UpstreamError
from modelbridge.money import Usage
from modelbridge.wire.chat import ChatRequest, asked_maximum, wants_usage
from modelbridge.wire.reply import (
    Finish,
    ReasoningDelta,
    Reply,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallMade,
    ToolCallStart,
    UsageReported,
    fold,
)


def test_nothing_folds_into_an_empty_reply() -> None:
    assert fold([]) == Reply()


def test_pieces_fold_into_a_whole_reply() -> None:
    reply = fold(
        [
            TextDelta("Let me "),
            TextDelta("look."),
            ToolCallStart(0, "a", "f"),
            ToolCallStart(1, "b", "g"),
            ToolCallDelta(0, '{"x"'),
            ToolCallDelta(1, "{}"),
            ToolCallDelta(0, ":1}"),
            UsageReported(Usage(input=1), final=False),
            Finish("tool_calls"),
            UsageReported(Usage(input=1, output=9)),
        ]
    )
    assert reply == Reply(
        text="Let me look.",
        tool_calls=[ToolCallMade("a", "f", '{"x":1}'), ToolCallMade("b", "g", "{}")],
        finish_reason="tool_calls",
        usage=Usage(input=1, output=9),
    )


def test_a_signature_closes_a_block_of_thinking() -> None:
    reply = fold(
        [
            ReasoningDelta("One"),
            ReasoningDelta(" two", signature="s1"),
            ReasoningDelta(redacted="xx"),
            ReasoningDelta("Three"),
            ReasoningDelta(signature="s2"),
        ]
    )
    assert reply.reasoning == "One twoThree"
    assert reply.thinking == [
        {"type": "thinking", "thinking": "One two", "signature": "s1"},
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "thinking", "thinking": "Three", "signature": "s2"},
    ]


def test_a_failure_keeps_what_came_before_it() -> None:
    error = UpstreamError("boom")
    assert fold([TextDelta("Hi"), StreamFailed(error)]) == Reply(text="Hi", error=error)


@pytest.mark.parametrize(
    ("request_", "maximum"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
        ({"max_completion_tokens": 7}, 7),
    ],
)
def test_the_maximum_has_two_names(request_: ChatRequest, maximum: int | None) -> None:
    assert asked_maximum(request_) == maximum


def test_the_usage_is_wanted_only_by_who_asks() -> None:
    assert wants_usage({"stream_options": {"include_usage": True}})
    assert not wants_usage({"stream_options": {"include_usage": False}})
    assert not wants_usage({"stream_options": None})
    assert not wants_usage({})
