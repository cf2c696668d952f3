"""Gemini's thought signatures on their way through clients that know nothing of them.

A model of Gemini's signs parts of its answer and wants the signatures back where they were: from
Gemini 3 on a round of tools without them is refused
(https://ai.google.dev/gemini-api/docs/thought-signatures). The canonical form has signatures on
blocks of thinking only, which both kinds of clients return as they got them. So a signature
travels there, behind a mark that says whose it is and which part it belongs to:

    gemini:thought:SIGNATURE          the thought itself
    gemini:end:SIGNATURE              a text; goes back at its end, in an empty part of its own,
                                      which is how Gemini streams it
    gemini:call-DIGEST:SIGNATURE      the tool call whose id has this digest
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2s

from modelbridge.wire.chat import Message

THOUGHT, END = "thought", "end"
# What the page above gives for calls that no Gemini made, so that they are not refused.
UNCHECKED = "skip_thought_signature_validator"
_MARK = "gemini:"


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature, the part that it belongs to, and the text of the thinking beside it."""

    place: str
    signature: str
    thinking: str


def is_geminis(signature: str) -> bool:
    """Whether a block's signature is one of ours: other providers must not see it."""
    return signature.startswith(_MARK)


def place_of(call_id: str) -> str:
    """The place of a tool call."""
    return "call-" + blake2s(call_id.encode("utf-8", "replace"), digest_size=6).hexdigest()


def mark(place: str, signature: str) -> str:
    """The signature as it stands on a canonical block of thinking."""
    return f"{_MARK}{place}:{signature}"


def signed_places(message: Message) -> list[Signed]:
    """What Gemini has signed of an assistant's message, in its order."""
    found = []
    blocks = message.get("thinking_blocks")
    for block in blocks if isinstance(blocks, list) else []:
        match block:
            case {"type": "thinking", "thinking": str(text), "signature": str(marked)} if (
                is_geminis(marked)
            ):
                place, _, signature = marked.removeprefix(_MARK).partition(":")
                if signature:
                    found.append(Signed(place, signature, text))
    return found


def signed_calls(messages: Sequence[Message]) -> dict[str, str]:
    """The signatures of all tool calls of a conversation, by their places.

    Of the whole conversation: a client may have cut one answer into several messages.
    """
    return {
        signed.place: signed.signature
        for message in messages
        if message.get("role") == "assistant"
        for signed in signed_places(message)
        if signed.place not in (THOUGHT, END)
    }
