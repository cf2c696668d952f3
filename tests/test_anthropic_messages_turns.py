"""Conversations in OpenAI's words, and the turns that Anthropic is sent."""

import re
from base64 import b64encode
from typing import Any

import pytest
from anthropic_words import (
    DIALECT,
    MARK,
    PNG,
    assistant,
    build,
    call,
    content,
    file,
    image,
    result,
    system,
    target,
    text,
    turns,
    user,
)
from hypothesis import given
from hypothesis import strategies as st

from modelbridge.errors import InvalidRequest
from modelbridge.jsonio import dumps

# System messages


def test_system_messages_in_mid_conversation_keep_their_authority_and_order() -> None:
    body = build(
        system("one"), user("a"), assistant("b"), system("two", role="developer"), user("c")
    ).body
    assert body["system"] == [text("one"), text("two")]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


def test_a_system_message_after_the_users_question_is_an_instruction_too() -> None:
    body = build(user("a"), system("Answer in French.")).body
    assert body["system"] == "Answer in French."
    assert body["messages"] == [{"role": "user", "content": [text("a")]}]


def test_when_only_system_messages_ask_they_are_the_question() -> None:
    body = build(system("Say hi.")).body
    assert "system" not in body
    assert body["messages"] == [{"role": "user", "content": [text("Say hi.")]}]
    body = build(system("one"), user("a"), assistant("b"), system("Now sum up.")).body
    assert body["system"] == "one"
    assert body["messages"][-1] == {"role": "user", "content": [text("Now sum up.")]}


# Turns


def test_messages_of_one_side_in_a_row_become_one_turn() -> None:
    found = turns(user("a"), user("b"), assistant("c"), assistant("d"), user("e"))
    assert found == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
        {"role": "user", "content": [text("e")]},
    ]


def test_empty_text_is_left_out_and_may_join_turns() -> None:
    assert turns(user("a"), assistant(""), user([text("  "), text("b")])) == [
        {"role": "user", "content": [text("a"), text("b")]}
    ]


def test_a_conversation_without_a_word_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        build(user(" "), assistant(None))
    assert caught.value.param == "messages"


def test_a_last_assistant_turn_loses_its_trailing_white_space() -> None:
    assert turns(user("a"), assistant("The answer is: \n"))[-1]["content"] == [
        text("The answer is:")
    ]


def test_names_are_put_before_what_people_say() -> None:
    assert turns(user("hi", name="Bob"), user("ho", name="Charlie"))[0]["content"] == [
        text("Bob: hi"),
        text("Charlie: ho"),
    ]
    image = {"type": "image_url", "image_url": {"url": "https://i.test/a"}}
    assert turns(user([image], name="Bob"))[0]["content"][0] == text("Bob:")
    wire = build(user("a"), assistant("b", name="Claude"), user("c"))
    assert wire.body["messages"][1]["content"] == [text("b")]
    assert wire.dropped == ("messages.name",)


def test_a_refusal_of_the_assistant_is_told_as_text() -> None:
    assert turns(user("a"), assistant(None, refusal="No."), user("b"))[1]["content"] == [
        text("No.")
    ]
    part = {"type": "refusal", "refusal": "Never."}
    assert turns(user("a"), assistant([part]), user("b"))[1]["content"] == [text("Never.")]


def test_cache_marks_on_parts_and_messages_are_kept() -> None:
    assert content(text("a", cache_control=MARK), text("b")) == [
        text("a", cache_control=MARK),
        text("b"),
    ]
    assert turns(user("a", cache_control=MARK))[0]["content"] == [text("a", cache_control=MARK)]
    found = turns(
        user("a"),
        assistant("b", tool_calls=[call("c1", "f", "{}")], cache_control=MARK),
        result("c1", "x", cache_control=MARK),
    )
    assert [turn["content"][-1].get("cache_control") for turn in found] == [None, MARK, MARK]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "function", "name": "f", "content": "x"}, "messages[1].role"),
        ({"role": "wizard", "content": "x"}, "messages[1].role"),
        (user(7), "messages[1].content"),
        (user([7]), "messages[1].content[0]"),
        (user([{"type": "text"}]), "messages[1].content[0].text"),
        (user([{"type": "input_audio", "input_audio": {}}]), "messages[1].content[0].type"),
        (user([{"type": "image_url", "image_url": {}}]), "messages[1].content[0].image_url.url"),
        (assistant([{"type": "image_url"}]), "messages[1].content[0].type"),
        (assistant(audio={"id": "a"}), "messages[1].audio"),
        (assistant(function_call={"name": "f"}), "messages[1].function_call"),
        (assistant(tool_calls="f"), "messages[1].tool_calls"),
        (assistant(tool_calls=[{"type": "custom"}]), "messages[1].tool_calls[0]"),
        (assistant(tool_calls=[call("", "f", "")]), "messages[1].tool_calls[0].id"),
        (assistant(tool_calls=[{"id": "c"}]), "messages[1].tool_calls[0].function.name"),
        ({"role": "tool", "content": "x"}, "messages[1].tool_call_id"),
    ],
)
def test_what_cannot_be_shown_to_the_model_is_named(message: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build(user("a"), message)
    assert caught.value.param == param


def test_messages_that_are_no_list_of_objects_are_refused() -> None:
    for messages in ("hi", ["hi"], None):
        with pytest.raises(InvalidRequest) as caught:
            DIALECT.build_request({"messages": messages}, target(), 9)
        assert caught.value.param == "messages"


# Images and documents


def test_images_come_as_data_or_as_an_address() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    assert content(image(f"data:image/png;base64,{PNG}")) == [{"type": "image", "source": source}]
    jpeg = content(image(f"data:image/jpg;base64,{PNG}"))[0]
    assert jpeg["source"]["media_type"] == "image/jpeg"
    assert content({"type": "image_url", "image_url": "http://i.test/x"})[0]["source"] == {
        "type": "url",
        "url": "http://i.test/x",
    }
    assert build(user([image("https://i.test/x", detail="low")])).dropped == ("image_url.detail",)


def test_files_become_documents() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
    document = {"type": "document", "source": source, "title": "a.pdf"}
    assert content(file("data:application/pdf;base64,JVBE", filename="a.pdf")) == [document]
    assert content(file("JVBE", filename="a.pdf")) == [document]
    assert content(file("https://f.test/a.pdf"))[0]["source"] == {
        "type": "url",
        "url": "https://f.test/a.pdf",
    }
    words = b64encode("Grüße".encode()).decode()
    assert content(file(f"data:text/plain;base64,{words}"))[0]["source"] == {
        "type": "text",
        "media_type": "text/plain",
        "data": "Grüße",
    }
    assert content(file("data:text/plain,Gr%C3%BC%C3%9Fe"))[0]["source"]["data"] == "Grüße"


@pytest.mark.parametrize(
    "part",
    [
        image("ftp://i.test/x"),
        image("data:image/tiff;base64,AAAA"),
        image("data:application/pdf;base64,JVBE"),
        image("data:text/plain,hello"),
        file("data:audio/wav;base64,AAAA"),
        file("data:text/plain;base64,/w=="),
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file"},
    ],
)
def test_pictures_and_files_that_the_model_cannot_read_are_refused(part: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        content(part)
    assert str(caught.value.param).startswith("messages[0].content[0].")


# Tool calls in the conversation


def test_arguments_that_are_no_json_object_are_shown_as_they_were() -> None:
    for arguments in ('{"city": "Os', "[1]", "NaN"):
        found = turns(user("a"), assistant(tool_calls=[call("c", "f", arguments)]), result("c", ""))
        assert found[1]["content"][0]["input"] == {"INVALID_JSON": arguments}
        assert found[2]["content"] == [{"type": "tool_result", "tool_use_id": "c"}]


def test_arguments_that_came_as_an_object_already_are_kept() -> None:
    made: Any = call("c", "f", "")
    made["function"]["arguments"] = {"a": 1}
    assert turns(user("a"), assistant(tool_calls=[made]))[1]["content"][0]["input"] == {"a": 1}


def test_ids_in_a_foreign_alphabet_still_match_their_results_and_stay_apart() -> None:
    calls = [call("f.x:0", "f", "{}"), call("f:x.0", "f", "{}")]
    found = turns(
        user("a"), assistant(tool_calls=calls), result("f.x:0", "y"), result("f:x.0", "z")
    )
    asked = [block["id"] for block in found[1]["content"]]
    assert asked == [block["tool_use_id"] for block in found[2]["content"]]
    assert asked[0] != asked[1]
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", one) for one in asked)


def test_tool_results_may_hold_images_and_forgotten_objects() -> None:
    before = (user("a"), assistant(tool_calls=[call("c", "f", "{}")]))
    shown = turns(*before, result("c", [image("https://i.test/x")]))[2]["content"][0]["content"]
    assert shown[0]["type"] == "image"
    assert turns(*before, result("c", {"a": 1}))[2]["content"][0]["content"] == '{"a":1}'


def test_tools_that_were_called_are_declared_though_nobody_offers_them_any_more() -> None:
    """Anthropic refuses calls and results in a request without tools; OpenAI does not."""
    made = [call("c", "f", "{}"), call("d", "g", "{}"), call("e", "f", "{}")]
    before = (user("a"), assistant(tool_calls=made), result("c", "1"), result("d", "2"))
    body = build(*before, result("e", "3")).body
    schema = {"type": "object"}
    assert body["tools"] == [
        {"name": "f", "input_schema": schema},
        {"name": "g", "input_schema": schema},
    ]
    assert body["tool_choice"] == {"type": "none"}
    assert not {"tools", "tool_choice"} & build(user("a"), assistant("b"), user("c")).body.keys()


# Whatever is said

ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool"])
PARTS = st.builds(lambda words: text(words), st.text(max_size=5))
MESSAGES = st.builds(
    lambda role, said: {"role": role, "content": said, "tool_call_id": "c"},
    ROLES,
    st.text(max_size=5) | st.lists(PARTS, max_size=3),
)


@given(st.lists(MESSAGES, max_size=8))
def test_turns_alternate_hold_no_empty_text_and_lose_no_word(
    messages: list[dict[str, Any]],
) -> None:
    try:
        body = build(*messages).body
    except InvalidRequest:
        assert not any(m["role"] == "tool" or _words(m) for m in messages)
        return
    roles = [turn["role"] for turn in body["messages"]]
    assert all(one != other for one, other in zip(roles, roles[1:], strict=False))
    sent = dumps(body)
    assert all(dumps(word.rstrip())[1:-1] in sent for m in messages for word in _words(m))
    blocks = [block for turn in body["messages"] for block in turn["content"]]
    assert all(block["text"].strip() for block in blocks if block["type"] == "text")


def _words(message: dict[str, Any]) -> list[str]:
    said = message["content"]
    words = [said] if isinstance(said, str) else [part["text"] for part in said]
    return [word for word in words if word.strip()]
