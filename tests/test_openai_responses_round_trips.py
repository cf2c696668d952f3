"""A canonical request in the Responses format and back is the same request."""

from copy import deepcopy
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from responses_words import FRONT, UPSTREAM, target

JSONDict = dict[str, Any]
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TEXT = st.text(min_size=1, max_size=8)
PARTS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, TEXT),
        st.just({"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}),
        st.just({"type": "file", "file": {"file_id": "file_1"}}),
        st.just({"type": "file", "file": {"file_data": "https://a.test/b.pdf"}}),
        st.just({"type": "file", "file": {"file_data": "data:a;base64,", "filename": "a"}}),
    ),
    min_size=1,
    max_size=3,
)
CALLS = st.lists(
    st.builds(
        lambda id_, name, arguments: {
            "id": id_,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        },
        TEXT, TEXT, st.text(max_size=8),
    ),
    min_size=1, max_size=3,
)  # fmt: skip
THOUGHTS = st.lists(
    st.builds(
        lambda thought, seal: {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": thought}],
            "encrypted_content": "g" + seal,
        },
        TEXT, TEXT,
    ),
    min_size=1, max_size=2,
)  # fmt: skip
ANSWER = st.one_of(
    TEXT, st.lists(st.builds(lambda t: {"type": "text", "text": t}, TEXT), min_size=1)
)


@st.composite
def turns(draw: st.DrawFn) -> list[JSONDict]:
    """What a user said or a tool answered, and what the assistant made of it."""
    user: JSONDict = draw(
        st.one_of(
            st.builds(lambda c: {"role": "user", "content": c}, TEXT | PARTS),
            st.builds(lambda c: {"role": "developer", "content": c}, TEXT),
            st.builds(lambda i, c: {"role": "tool", "tool_call_id": i, "content": c}, TEXT, TEXT),
        )
    )
    optional: JSONDict = {"thinking_blocks": THOUGHTS, "tool_calls": CALLS}
    said = draw(st.fixed_dictionaries({"content": st.none() | ANSWER}, optional=optional))
    if said["content"] is None and "tool_calls" not in said:
        said["content"] = "Yes."
    return [user, {"role": "assistant", **said}]


@st.composite
def requests(draw: st.DrawFn) -> JSONDict:
    system: list[JSONDict] = draw(
        st.just([]) | st.builds(lambda t: [{"role": "system", "content": t}], TEXT)
    )
    history = [one for turn in draw(st.lists(turns(), max_size=3)) for one in turn]
    last = {"role": "user", "content": draw(TEXT | PARTS)}
    tool = {
        "type": "function",
        "function": {"name": "a", "parameters": {"type": "object"}, "strict": draw(st.booleans())},
    }
    optional: JSONDict = {
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "user": TEXT,
        "verbosity": st.sampled_from(["low", "high"]),
        "reasoning_effort": st.sampled_from(["low", "none"]),
        "response_format": st.sampled_from(
            [
                {"type": "json_object"},
                {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": True}},
            ]
        ),
    }
    fields = draw(st.fixed_dictionaries({}, optional=optional))
    if draw(st.booleans()):
        choices = ["auto", "none", {"type": "function", "function": {"name": "a"}}]
        fields |= {"tools": [tool], "tool_choice": draw(st.sampled_from(choices))}
        if draw(st.booleans()):
            fields["parallel_tool_calls"] = False
    if draw(st.booleans()):
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return {"model": "gpt-test", "messages": [*system, *history, last], **fields}


@given(requests())
def test_a_request_goes_there_and_back_unchanged(request: JSONDict) -> None:
    wire = UPSTREAM.build_request(deepcopy(request), target(), 512)
    assert wire.dropped == ()
    found = cast(JSONDict, FRONT.read_request(wire.body))
    own = found.pop("responses_fields")
    assert own in ({}, {"include": ["reasoning.encrypted_content"]})
    assert found.pop("max_completion_tokens") == 512
    assert found == request
