"""What every client here does, so that one test can judge them all.

A script is `python SCRIPT MODEL`: it has the usual environment variables and nothing else. It asks
for a reply, for a stream, and twice (unstreamed, then streamed) about the weather with a tool,
whose result goes back to the model. Then it tells what came of it as one line of JSON.
"""

import json
import sys
from collections.abc import Iterable
from typing import Any

MODEL = sys.argv[1]
HELLO = "Hello"
QUESTION = "How warm is Perth?"
DEGREES = "31 degrees"
DESCRIPTION = "The weather in a city"
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
asked: list[dict[str, Any]] = []


def weather(city: str) -> str:
    """The weather in a city."""
    asked.append({"city": city})
    return DEGREES


def tell(chat: str | None, stream: Iterable[str | None], answer: Any, streamed_answer: Any) -> None:
    """The text of the reply, the pieces of the stream, and the last words about the weather."""
    found = {
        "chat": chat,
        "stream": [piece for piece in stream if piece],
        "asked": asked,
        "answers": [answer, streamed_answer],
    }
    sys.stdout.write(json.dumps(found) + "\n")
