"""One answer of the hostile upstream before it has a wire format, and how frames are spelled."""

import json
from dataclasses import dataclass
from typing import Any

JSONDict = dict[str, Any]


@dataclass
class Talk:
    """One answer, before it has a wire format."""

    step: JSONDict
    model: str
    prompt_tokens: int
    tokens: int
    text: str
    finish: str
    usage_chunk: bool

    @property
    def truth(self) -> JSONDict:
        """What was really produced."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            **self.step["details"],
        }

    def calls(self) -> list[tuple[str, str, list[str]]]:
        """(id, name, JSON arguments in two halves) of the tools that are called."""
        found = []
        for number, (name, arguments) in enumerate(self.step["calls"], 1):
            said = json.dumps(arguments)
            half = len(said) // 2
            found.append((f"call_{number}", name, [said[:half], said[half:]]))
        return found

    def chunks(self) -> list[tuple[str, int]]:
        """(text, tokens produced so far), up to where an error is to come."""
        count = self.step["chunks"]
        size = max(1, -(-len(self.text) // count)) if count else 0
        found = []
        for number in range(count):
            piece = self.text[number * size : (number + 1) * size]
            found.append((piece, self.tokens * (number + 1) // count))
        broken = self.step["error_after"]
        return found if broken is None else found[:broken]


def asks_usage(body: JSONDict) -> bool:
    """Whether the request wants OpenAI's usage chunk."""
    return bool((body.get("stream_options") or {}).get("include_usage"))


def dump(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def data(value: object) -> bytes:
    """One frame of OpenAI's."""
    return b"data: " + dump(value) + b"\n\n"


def event(value: JSONDict) -> bytes:
    """One frame of Anthropic's."""
    return b"event: " + str(value["type"]).encode() + b"\n" + data(value)
