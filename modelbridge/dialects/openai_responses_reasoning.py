"""Reasoning items and thinking blocks: the same thing in two formats, each sealed by its maker.

A thought goes back to who sealed it, through clients of either format:

- OpenAI's `encrypted_content` travels to clients of other formats as a thinking block whose
  signature begins with `openai:`.
- Any other model's signature (Anthropic's, or Gemini's behind its own mark) travels to Responses
  clients as an `encrypted_content` that begins with `signed:`; a redacted block, with `redacted:`.

A seal of the one is never shown to the other, which would refuse the request.
"""

from typing import Any

from modelbridge.jsonio import JSONDict

OPENAI = "openai:"
SIGNED = "signed:"
REDACTED = "redacted:"


def thinking_block(item: JSONDict) -> tuple[JSONDict | None, str]:
    """A reasoning item as a block for `thinking_blocks`, or None and the bare thought."""
    thought, seal = texts_of(item), item.get("encrypted_content") or ""
    if seal.startswith(SIGNED):
        signature = seal.removeprefix(SIGNED)
        return {"type": "thinking", "thinking": thought, "signature": signature}, thought
    if seal.startswith(REDACTED):
        return {"type": "redacted_thinking", "data": seal.removeprefix(REDACTED)}, ""
    if seal:
        kept = ("type", "id", "summary", "content", "encrypted_content")
        return {name: item[name] for name in kept if item.get(name) is not None}, thought
    return None, thought


def reasoning_item(block: JSONDict) -> JSONDict | None:
    """A thinking block as the reasoning item that OpenAI takes back; None: it is another's."""
    if block.get("type") == "reasoning":
        return {"summary": [], **block}
    signature = block.get("signature")
    if block.get("type") != "thinking" or not isinstance(signature, str):
        return None
    if not is_openais(signature):
        return None
    id_, _, seal = signature.removeprefix(OPENAI).partition(":")
    summary = [{"type": "summary_text", "text": block["thinking"]}] if block["thinking"] else []
    item: JSONDict = {"type": "reasoning", "summary": summary, "encrypted_content": seal}
    return {**item, "id": id_} if id_ else item


def seal_of(item: JSONDict) -> tuple[str, str]:
    """What stands for an item's seal in a thinking block: its signature, or redacted data."""
    seal = item.get("encrypted_content")
    if not isinstance(seal, str) or not seal:
        return "", ""
    if seal.startswith(REDACTED):
        return "", seal.removeprefix(REDACTED)
    if seal.startswith(SIGNED):
        return seal.removeprefix(SIGNED), ""
    id_ = item.get("id")
    return f"{OPENAI}{id_ if isinstance(id_, str) else ''}:{seal}", ""


def is_openais(signature: str) -> bool:
    """Whether a block's signature is OpenAI's seal: other providers must not see it."""
    return signature.startswith(OPENAI)


def sealed(signature: str) -> JSONDict:
    """What a reasoning item says of the signature that closes its thought."""
    return {"encrypted_content": SIGNED + signature}


def texts_of(item: JSONDict) -> str:
    """The thought of a reasoning item: its text, or the summaries of it, an empty line between."""
    said = _texts(item.get("content")) or _texts(item.get("summary"))
    return "\n\n".join(said)


def _texts(parts: Any) -> list[str]:
    parts = parts if isinstance(parts, list) else []
    found = [part.get("text") for part in parts if isinstance(part, dict)]
    return [text for text in found if isinstance(text, str)]
