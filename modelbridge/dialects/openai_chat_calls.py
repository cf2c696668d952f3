"""Which tool call a piece of a stream belongs to; and mending the indexes that don't tell it.

Clients put streamed calls together by their `index`. Mistral leaves it out, Gemini's compatible
endpoint gives every call the index 0 and an empty id: the official SDKs then fail, or merge two
calls into one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from modelbridge import jsonio
from modelbridge.jsonio import JSONDict
from modelbridge.wire.sse import Frame, data_frame


@dataclass(slots=True)
class Call:
    """A tool call under way; `id` as the upstream gave it, perhaps empty."""

    number: int
    id: str
    pieces: list[str] = field(default_factory=list)


class Calls:
    """The tool calls of one choice, numbered from 0 as they come."""

    __slots__ = ("_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._by_index: dict[int, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, id_: str) -> Call:
        """A new call."""
        call = Call(len(self._calls), id_)
        self._calls.append(call)
        return call

    def find(self, index: object, id_: str, complete: bool) -> Call | None:
        """The call that a piece belongs to; None if it begins a new one.

        `complete`: the piece has a name and arguments.
        """
        if not self._calls:
            return None
        if type(index) is int:
            found = self._by_index.get(index)
        elif id_:
            found = next((call for call in self._calls if call.id == id_), None)
        else:
            found = self._calls[-1]
        if found is None or (id_ and found.id and id_ != found.id):
            return None
        if complete and not id_ and _is_json("".join(found.pieces)):
            return None
        return found

    def add(self, call: Call, index: object, arguments: str) -> None:
        """The piece belongs to that call; later ones with the same index do, too."""
        if type(index) is int:
            self._by_index[index] = call
        call.pieces.append(arguments)


def arguments_text(function: JSONDict) -> str:
    """The arguments in a piece of a call, as JSON text; some servers send an object."""
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        return jsonio.dumps(arguments).decode()
    return arguments if isinstance(arguments, str) else ""


class CallMender:
    """Numbers the tool calls of one stream that passes untouched otherwise."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[object, Calls] = {}

    def mend(self, frame: Frame) -> Frame:
        """The same frame, or one whose tool calls have the indexes that clients need."""
        if frame.data is None or b'"tool_calls"' not in frame.data:
            return frame
        try:
            chunk = jsonio.loads(frame.data)
        except ValueError:
            return frame  # whoever inspects it says what is wrong
        if not sum(self._number(choice, call) for choice, call in _calls_in(chunk)):
            return frame
        data = jsonio.dumps(chunk)
        return Frame(data_frame(data), data, frame.event)

    def _number(self, choice: int, call: JSONDict) -> bool:
        """The piece's index is its call's number; whether it was not before."""
        calls = self._choices.setdefault(choice, Calls())
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        id_ = call.get("id")
        id_ = id_ if isinstance(id_, str) else ""
        index, arguments = call.get("index"), arguments_text(function)
        known = calls.find(index, id_, bool(function.get("name") and arguments))
        known = known or calls.begin(id_)
        calls.add(known, index, arguments)
        call["index"] = known.number
        return index != known.number


def _calls_in(chunk: object) -> Iterator[tuple[int, JSONDict]]:
    """Every piece of a tool call with its choice's index."""
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        calls = delta.get("tool_calls") if isinstance(delta, dict) else None
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                at = choice.get("index")
                yield at if type(at) is int else 0, call


def _is_json(text: str) -> bool:
    try:
        jsonio.loads(text)
    except ValueError:
        return False
    return True
