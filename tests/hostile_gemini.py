"""What the hostile upstream answers with in Gemini's format.

Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse
"""

import json
from typing import Any

from hostile_talk import JSONDict, Talk

GEMINI_REASONS = {"length": "MAX_TOKENS"}


def gemini_body(talk: Talk) -> JSONDict:
    """Gemini's GenerateContentResponse; the last chunk of a stream is one too."""
    return _reply(talk, talk.text, ended=True)


def gemini_chunks(talk: Talk) -> list[tuple[JSONDict, int]]:
    """(chunk, tokens produced so far); the last has the end, the calls and the usage."""
    pieces = talk.chunks()
    if talk.step["error_after"] is not None:
        error = talk.step["error"] or {
            "code": 503,
            "message": "Overloaded",
            "status": "UNAVAILABLE",
        }
        found = [(_reply(talk, text, ended=False), tokens) for text, tokens in pieces]
        return [*found, ({"error": error}, pieces[-1][1] if pieces else 0)]
    before, text = pieces[:-1], pieces[-1][0] if pieces else ""
    found = [(_reply(talk, text, ended=False), tokens) for text, tokens in before]
    return [*found, (_reply(talk, text, ended=talk.step["done"]), talk.tokens)]


def _reply(talk: Talk, text: str, *, ended: bool) -> JSONDict:
    parts: list[JSONDict] = [{"text": text}] if text else []
    candidate: JSONDict = {"index": 0, "content": {"role": "model", "parts": parts}}
    reply: JSONDict = {"candidates": [candidate], "responseId": "hostile"}
    if not ended:
        return reply
    for _, name, halves in talk.calls():
        parts.append({"functionCall": {"name": name, "args": json.loads("".join(halves))}})
    candidate["finishReason"] = GEMINI_REASONS.get(talk.finish, "STOP")
    if talk.step["usage"] is not None:
        reply["usageMetadata"] = _usage(talk)
    return reply


def _usage(talk: Talk) -> Any:
    """What is reported, which need not be the truth."""
    if talk.step["usage"] != "true":
        return talk.step["usage"]
    return {
        "promptTokenCount": talk.prompt_tokens,
        "candidatesTokenCount": talk.tokens,
        "totalTokenCount": talk.prompt_tokens + talk.tokens,
        **talk.step["details"],
    }
