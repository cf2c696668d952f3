"""Conversations in Gemini's words: sides, parts, tools, results and signatures."""

from base64 import b64encode
from typing import Any

import pytest
from gemini_words import NEW, build, call, calls, contents, part, result

from modelbridge.dialects import anthropic_messages
from modelbridge.dialects.gemini_signatures import END, THOUGHT, UNCHECKED, mark, place_of
from modelbridge.errors import InvalidRequest, UnsupportedParameter
from modelbridge.wire.target import Target

ALICE: Any = {"role": "user", "content": "Hello"}
BOTH = calls(call("a", "one", '{"x":1}'), call("b", "two"))
PNG = b64encode(b"\x89PNG").decode()
PICTURE: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def text(words: str) -> dict[str, Any]:
    return {"text": words}


def turn(role: str, *parts: Any) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def test_system_words_have_a_place_of_their_own() -> None:
    body = build(
        {"role": "system", "content": "A"},
        ALICE,
        {"role": "developer", "content": [{"type": "text", "text": "B"}]},
    ).body
    assert body["systemInstruction"] == {"parts": [text("A"), text("B")]}
    assert body["contents"] == [turn("user", text("Hello"))]


def test_system_words_that_alone_ask_for_an_answer_are_the_users() -> None:
    body = build({"role": "system", "content": "A"}).body
    assert body["contents"] == [turn("user", text("A"))]
    assert "systemInstruction" not in body
    body = build(
        ALICE, {"role": "assistant", "content": "B"}, {"role": "system", "content": "C"}
    ).body
    assert body["contents"][-1] == turn("user", text("C"))


def test_a_model_without_a_place_for_system_words_reads_them_first() -> None:
    body = build({"role": "system", "content": "A"}, ALICE, model="gemma-3-27b-it").body
    assert [one["parts"] for one in body["contents"]] == [[text("A")], [text("Hello")]]
    assert "systemInstruction" not in body


def test_messages_of_one_side_are_one_turn_and_empty_texts_are_left_out() -> None:
    named = {"role": "user", "content": "B", "name": "bob"}
    assert contents(ALICE, named, {"role": "assistant", "content": ""}, ALICE) == [
        turn("user", text("Hello"), text("bob: B"), text("Hello"))
    ]
    with pytest.raises(InvalidRequest, match="no text to answer"):
        build({"role": "user", "content": ""})


# Pictures, sound, films, documents


def test_data_goes_in_line() -> None:
    assert part("image_url", url=f"data:image/PNG;base64,{PNG}") == {
        "inlineData": {"mimeType": "image/png", "data": PNG}
    }
    assert (
        part("image_url", url="data:image/jpg;base64,AA")["inlineData"]["mimeType"] == "image/jpeg"
    )
    assert part("file", file_data="data:video/mp4;base64,AA") == {
        "inlineData": {"mimeType": "video/mp4", "data": "AA"}
    }
    assert part("file", file_data="AA")["inlineData"]["mimeType"] == "application/pdf"
    assert part("file", file_data="AA", filename="x.WAV")["inlineData"]["mimeType"] == "audio/wav"
    assert part("input_audio", data="AA", format="mp3") == {
        "inlineData": {"mimeType": "audio/mp3", "data": "AA"}
    }
    assert part("input_audio", data="data:audio/mp3;base64,BB", format="mp3") == {
        "inlineData": {"mimeType": "audio/mp3", "data": "BB"}
    }
    assert part("file", file_data="data:text/plain,a%20b") == {
        "inlineData": {"mimeType": "text/plain", "data": b64encode(b"a b").decode()}
    }


@pytest.mark.parametrize(
    ("kind", "fields", "media"),
    [
        ("image_url", {"url": "https://a.test/x.webp?y=1#z"}, "image/webp"),
        ("image_url", {"url": "https://a.test/x"}, "image/jpeg"),
        ("file", {"file_data": "https://a.test/x.pdf"}, "application/pdf"),
        ("file", {"file_data": "gs://bucket/x.mp4"}, "video/mp4"),
        ("file", {"file_data": "https://a.test/x", "filename": "x.mp3"}, "audio/mp3"),
        ("file", {"file_data": "https://youtu.be/x"}, None),
    ],
)
def test_addresses_are_looked_up_by_google(kind: str, fields: Any, media: str | None) -> None:
    found = part(kind, **fields)["fileData"]
    assert found["fileUri"] == fields.get("url", fields.get("file_data"))
    assert found.get("mimeType") == media


@pytest.mark.parametrize(
    "url",
    [
        "data:application/pdf;base64,AA",
        "data:image/gif;base64,AA",
        "https://a.test/film.mp4",
        "https://www.youtube.com/watch?v=1",
        "https://youtu.be/1",
        "https://generativelanguage.googleapis.com/v1beta/files/abc",
        "http://[broken",
    ],
)
def test_what_is_priced_as_a_picture_must_be_one(url: str) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        part("image_url", url=url)
    assert refusal.value.param == "messages[0].content[0].image_url.url"


def test_parts_that_gemini_cannot_be_shown_are_named_by_their_place() -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        part("file", file_id="file-1")
    assert refusal.value.param == "messages[0].content[0].file.file_id"
    with pytest.raises(UnsupportedParameter) as refusal:
        part("video")
    assert refusal.value.param == "messages[0].content[0].type"
    with pytest.raises(InvalidRequest) as broken:
        part("image_url", url="ftp://x")
    assert broken.value.param == "messages[0].content[0].image_url.url"
    with pytest.raises(UnsupportedParameter, match="'function'"):
        build({"role": "function", "name": "x", "content": "y"})


def test_hints_on_parts_are_named() -> None:
    picture = {
        **PICTURE,
        "cache_control": {},
        "image_url": {**PICTURE["image_url"], "detail": "low"},
    }
    file = {"type": "file", "file": {"file_data": "AA"}, "citations": {"enabled": True}}
    assert build({"role": "user", "content": [picture, file]}).dropped == (
        "cache_control", "image_url.detail", "file.citations",
    )  # fmt: skip


# Tools


def test_a_round_of_tools_keeps_its_ids_and_its_results_stand_together() -> None:
    found = contents(ALICE, BOTH, result("b", "B"), result("a", "A", is_error=True), ALICE)
    assert found[1:] == [
        turn(
            "model",
            {"functionCall": {"id": "a", "name": "one", "args": {"x": 1}}},
            {"functionCall": {"id": "b", "name": "two", "args": {}}},
        ),
        turn(
            "user",
            {"functionResponse": {"id": "b", "name": "two", "response": {"output": "B"}}},
            {"functionResponse": {"id": "a", "name": "one", "response": {"error": "A"}}},
        ),
        turn("user", text("Hello")),
    ]


def test_calls_without_ids_and_with_broken_arguments_still_go_back() -> None:
    found = contents(ALICE, calls(call("", "one", "{oops"), content="Wait."), result("", "A"))
    wrapped = {"functionCall": {"name": "one", "args": {"INVALID_JSON": "{oops"}}}
    assert found[1:] == [
        turn("model", text("Wait."), wrapped),
        turn("user", {"functionResponse": {"name": "one", "response": {"output": "A"}}}),
    ]


def test_a_result_of_no_call_is_named() -> None:
    with pytest.raises(InvalidRequest, match="answers no tool call") as refusal:
        build(ALICE, BOTH, result("c", "C"))
    assert refusal.value.param == "messages[2].tool_call_id"


def test_pictures_in_results_are_shown_where_the_model_looks_for_them() -> None:
    answers = (result("a", [{"type": "text", "text": "see"}, PICTURE]), result("b", "B"))
    inline = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    old = contents(ALICE, BOTH, *answers)
    assert [list(one) for one in old[2]["parts"]] == [["functionResponse"]] * 2
    assert old[3] == turn("user", inline)
    new = contents(ALICE, BOTH, *answers, model=NEW)
    assert len(new) == 3
    assert new[2]["parts"][0]["functionResponse"]["parts"] == [inline]
    system = {"role": "system", "content": "Be brief."}
    assert contents(ALICE, BOTH, answers[0], system, answers[1]) == old
    linked = {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}}
    assert "fileData" in contents(ALICE, BOTH, result("a", [linked]), model=NEW)[3]["parts"][0]


# Signatures


def block(place: str, signature: str, thinking: str = "") -> dict[str, Any]:
    return {"type": "thinking", "thinking": thinking, "signature": mark(place, signature)}


def test_signatures_go_back_to_the_parts_they_came_from() -> None:
    blocks = [block(THOUGHT, "S1", "Hm."), block(END, "S2"), block(place_of("b"), "S3")]
    found = contents(ALICE, {**BOTH, "content": "Wait.", "thinking_blocks": blocks})[1]["parts"]
    assert found == [
        {"text": "Hm.", "thought": True, "thoughtSignature": "S1"},
        text("Wait."),
        {"text": "", "thoughtSignature": "S2"},
        {"functionCall": {"id": "a", "name": "one", "args": {"x": 1}}},
        {"functionCall": {"id": "b", "name": "two", "args": {}}, "thoughtSignature": "S3"},
    ]


def test_a_signature_finds_its_call_in_another_message() -> None:
    cut = (
        {"role": "assistant", "content": None, "thinking_blocks": [block(place_of("b"), "S")]},
        BOTH,
    )
    assert contents(ALICE, *cut)[1]["parts"][1]["thoughtSignature"] == "S"


def test_newer_models_are_told_that_a_round_of_tools_was_not_theirs() -> None:
    first, second = contents(ALICE, BOTH, model=NEW)[1]["parts"]
    assert first["thoughtSignature"] == UNCHECKED
    assert "thoughtSignature" not in second
    assert "thoughtSignature" not in str(contents(ALICE, BOTH))
    extra = {"google": {"thought_signature": "theirs"}}
    kept = contents(ALICE, calls(call("a", "one", extra_content=extra)), model=NEW)[1]["parts"]
    assert kept[0]["thoughtSignature"] == "theirs"


def test_the_thinking_of_others_is_dropped_by_its_name() -> None:
    theirs = {"type": "thinking", "thinking": "Hm.", "signature": "Anthropic's"}
    answer = {"role": "assistant", "content": "A", "name": "x"}
    wire = build(ALICE, {**answer, "thinking_blocks": [theirs]}, ALICE)
    assert wire.dropped == ("thinking_blocks", "messages.name")
    assert "Hm." not in str(wire.body)
    assert build(ALICE, {**answer, "reasoning_content": "Hm."}).dropped[0] == "reasoning_content"


def test_geminis_signatures_are_not_shown_to_anthropic() -> None:
    known: Any = {"upstream_id": "u", "upstream": "a", "provider": "anthropic", "auth": "x-api-key"}
    claude = Target(**known, dialect="anthropic_messages", base_url="x", model="claude-sonnet-4-6")
    answer = {"role": "assistant", "content": "A", "thinking_blocks": [block(END, "S", "Hm.")]}
    request: Any = {"messages": [ALICE, answer, ALICE], "thinking": {"type": "adaptive"}}
    wire = anthropic_messages.build_request(request, claude, 4096)
    assert "gemini" not in str(wire.body)
    assert wire.dropped == ("thinking_blocks",)
