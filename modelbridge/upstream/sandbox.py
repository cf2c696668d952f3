"""The upstream behind `mb_test_` keys: no network, no money, the same answer every time.

A plain prompt gets a friendly answer that quotes it. Tools with a `tool_choice` that wants a call
get one, with arguments made from the tool's schema; a tool's answer gets a text. A
`response_format` gets JSON that satisfies it. The output cap and stop sequences are honoured.

Everything that can go wrong can be rehearsed: by the model's name, or, on any model, by a last
user message that contains `sandbox:` and the scenario (`sandbox:rate-limit`).

| model | what it rehearses |
|---|---|
| `sandbox-echo` | the last user text comes back, word for word |
| `sandbox-tool-call` | calls the first of `tools`, or the one that `tool_choice` names |
| `sandbox-reasoning` | thinks before it answers |
| `sandbox-refusal` | refuses; `finish_reason` is `content_filter` |
| `sandbox-slow` | half a second before the first byte, 0.2 s between the pieces |
| `sandbox-stream-error` | fails after a few words |
| `sandbox-rate-limit` | 429 `upstream_rate_limited`, with `retry-after: 1` |
| `sandbox-limit` | 429 `spending_limit_exceeded`, as when a key's limit is reached |
| `sandbox-error` | 502 `upstream_error` |
| `sandbox-overloaded` | 503 `overloaded`, with `retry-after: 1` |
| `sandbox-timeout` | 504 `upstream_timeout`, without the wait |

A token is four bytes of UTF-8, rounded up.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from modelbridge import jsonio
from modelbridge.errors import (
    BridgeError,
    InvalidRequest,
    Overloaded,
    SpendingLimitReached,
    UnsupportedParameter,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from modelbridge.money import Usage
from modelbridge.upstream.sandbox_schema import example_of
from modelbridge.wire.chat import ChatRequest, Message, asked_maximum
from modelbridge.wire.reply import (
    Finish,
    FinishReason,
    ReasoningDelta,
    StreamEvent,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageReported,
)

SCENARIOS: dict[str, str] = {
    "echo": "the last user text comes back, word for word",
    "tool-call": "calls the first of the tools, or the one that tool_choice names",
    "reasoning": "thinks before it answers",
    "refusal": "refuses: finish_reason is content_filter",
    "slow": "half a second before the first byte, 0.2 s between the pieces",
    "stream-error": "fails after a few words",
    "rate-limit": "429 upstream_rate_limited, with retry-after",
    "limit": "429 spending_limit_exceeded, as when a key's limit is reached",
    "error": "502 upstream_error",
    "overloaded": "503 overloaded, with retry-after",
    "timeout": "504 upstream_timeout, without the wait",
}
_MODEL_PREFIX = "sandbox-"
SCENARIO_MODELS: tuple[str, ...] = tuple(_MODEL_PREFIX + name for name in SCENARIOS)

_IN_PROMPT = re.compile(r"\bsandbox:([a-z]+(?:[-_][a-z]+)*)")
_BYTES_PER_TOKEN = 4
_LONGEST_QUOTE = 200
_LONGEST_SPOKEN = 20_000
_WORDS = re.compile(r"\s*\S+|\s+")
_ARGUMENTS_SLICE = 16
_PIECES_BEFORE_ERROR = 3
_SLOW_START_SECONDS, _SLOW_STEP_SECONDS = 0.5, 0.2

_FAILURES: dict[str, Callable[[], BridgeError]] = {
    "rate-limit": lambda: UpstreamRateLimited(
        "The sandbox is limiting its rate, as you asked it to.", refused=True, retry_after=1
    ),
    "limit": lambda: SpendingLimitReached(
        "This key has reached its spending limit. (The sandbox says so because you asked it to.)"
    ),
    "error": lambda: UpstreamError("The sandbox failed, as you asked it to.", may_have_billed=True),
    "overloaded": lambda: Overloaded(
        "The sandbox is overloaded, as you asked it to be.", retry_after=1
    ),
    "timeout": lambda: UpstreamTimeout(
        "The sandbox took too long, as you asked it to.", may_have_billed=True
    ),
}


@dataclass(frozen=True, slots=True)
class SandboxAnswer:
    """An answer, whole; `events` tells it piece by piece, as often as it is asked to."""

    usage: Usage
    pieces: tuple[StreamEvent, ...]
    first_delay_seconds: float = 0
    step_delay_seconds: float = 0

    def events(self) -> Iterator[tuple[float, StreamEvent]]:
        """Each event, and how many seconds to wait before it."""
        delay = self.first_delay_seconds
        for piece in self.pieces:
            yield delay, piece
            delay = self.step_delay_seconds


def answer(request: ChatRequest) -> SandboxAnswer:
    """The answer to this request: the same whenever it is asked.

    Raises the BridgeError of a scenario that fails before its first byte, and InvalidRequest for
    what the sandbox cannot play.
    """
    if (request.get("n") or 1) > 1:
        raise UnsupportedParameter(
            "'n' is not supported with a test key: the sandbox gives one choice.", param="n"
        )
    scenario = _scenario(request)
    pieces, reason = _play(request, scenario)
    pieces, was_cut = _within(pieces, asked_maximum(request))
    usage = _usage(request, pieces)
    if scenario == "stream-error":
        error = UpstreamError(
            "The sandbox failed in mid-stream, as you asked it to.", may_have_billed=True
        )
        pieces = [*pieces[:_PIECES_BEFORE_ERROR], StreamFailed(error)]
    else:
        pieces += [Finish("length" if was_cut else reason), UsageReported(usage)]
    if scenario == "slow":
        return SandboxAnswer(usage, tuple(pieces), _SLOW_START_SECONDS, _SLOW_STEP_SECONDS)
    return SandboxAnswer(usage, tuple(pieces))


def refuse_if_scenario(model: str, text: str) -> str:
    """The scenario's name; empty for a plain answer. The model's name goes before the prompt.

    Raises the BridgeError of a scenario that fails before its first byte.
    """
    scenario = _scenario_of(model, text)
    if scenario in _FAILURES:
        raise _FAILURES[scenario]()
    return scenario


def tokens_of(text: str) -> int:
    """How many tokens the sandbox says that a text is."""
    return _tokens(len(text.encode()))


def _scenario(request: ChatRequest) -> str:
    return refuse_if_scenario(request["model"], _last_user_text(request))


def _scenario_of(model: str, text: str) -> str:
    if model in SCENARIO_MODELS:
        return model.removeprefix(_MODEL_PREFIX)
    for found in _IN_PROMPT.finditer(text):
        name = found[1].replace("_", "-")
        if name in SCENARIOS:
            return name
    return ""


def _play(request: ChatRequest, scenario: str) -> tuple[list[StreamEvent], FinishReason]:
    """Everything that the model would say, and why it would stop."""
    if scenario == "refusal":
        return _spoken("I'm sorry, but I can't help with that.", request), "content_filter"
    tool = _tool_to_call(request, scenario)
    if tool is not None:
        return _tool_call(request, *tool), "tool_calls"
    pieces = _spoken(_text(request, scenario), request)
    if scenario == "reasoning":
        thought = f"The user said {_quote(request)}. I am a sandbox, so I answer politely."
        return [*(ReasoningDelta(word) for word in _WORDS.findall(thought)), *pieces], "stop"
    return pieces, "stop"


def _text(request: ChatRequest, scenario: str) -> str:
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_object":
        return "{}"
    if wanted.get("type") == "json_schema":
        schema = wanted["json_schema"].get("schema") or {"type": "object"}
        value = example_of(schema, "response_format.json_schema.schema")
        return jsonio.dumps(value).decode()
    if scenario == "echo":
        return _last_user_text(request)
    if _follows_a_tool(request):
        return f"The tool answered: {_shortened(_text_of(request['messages'][-1]))}"
    return (
        f"Hello from the ModelBridge sandbox! You said {_quote(request)}. "
        "A test key reaches no model and costs nothing; "
        f"with a live key {request['model']} would have answered."
    )


def _tool_to_call(request: ChatRequest, scenario: str) -> tuple[int, dict[str, Any]] | None:
    """The function to call and its place in `tools`, or None where a text is wanted."""
    choice = request.get("tool_choice") or "auto"
    allowed: list[str] = []
    if isinstance(choice, dict):
        group = choice.get("allowed_tools") or {"mode": "required", "tools": [choice]}
        allowed = [named.get("function", {}).get("name") for named in group["tools"]]
        choice = group["mode"]
    is_wanted = choice == "required" or (choice == "auto" and scenario == "tool-call")
    if not is_wanted or _follows_a_tool(request):
        return None
    for place, tool in enumerate(request.get("tools") or []):
        if tool["type"] == "function" and (not allowed or tool["function"]["name"] in allowed):
            return place, tool["function"]
    raise InvalidRequest(
        "The sandbox can only call a tool of type 'function': give one in 'tools'.", param="tools"
    )


def _tool_call(request: ChatRequest, place: int, function: dict[str, Any]) -> list[StreamEvent]:
    schema = {"type": "object", **(function.get("parameters") or {})}
    value = example_of(schema, f"tools[{place}].function.parameters")
    arguments = jsonio.dumps(value).decode()
    seed = f"{function['name']} {arguments} {len(request['messages'])}"
    id_ = "call_" + hashlib.sha256(seed.encode()).hexdigest()[:24]
    slices = (
        arguments[at : at + _ARGUMENTS_SLICE] for at in range(0, len(arguments), _ARGUMENTS_SLICE)
    )
    return [
        ToolCallStart(0, id_, function["name"]),
        *(ToolCallDelta(0, piece) for piece in slices),
    ]


def _spoken(text: str, request: ChatRequest) -> list[StreamEvent]:
    """The text up to the first stop sequence, word by word; of a very long one, the rest whole."""
    stops = request.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        if stop:
            text = text.split(stop, 1)[0]
    pieces: list[StreamEvent] = [TextDelta(word) for word in _WORDS.findall(text[:_LONGEST_SPOKEN])]
    if rest := text[_LONGEST_SPOKEN:]:
        pieces.append(TextDelta(rest))
    return pieces


def _within(pieces: list[StreamEvent], tokens: int | None) -> tuple[list[StreamEvent], bool]:
    """As much as the output cap allows, and whether anything was cut off."""
    if tokens is None:
        return pieces, False
    left = tokens * _BYTES_PER_TOKEN
    kept: list[StreamEvent] = []
    for piece in pieces:
        size = len(_produced(piece).encode())
        if size > left:
            start = _produced(piece).encode()[:left].decode(errors="ignore")
            if start and isinstance(piece, TextDelta):
                kept.append(TextDelta(start))
            return kept, True
        kept.append(piece)
        left -= size
    return kept, False


def _usage(request: ChatRequest, pieces: list[StreamEvent]) -> Usage:
    sent = "".join(_text_of(message) for message in request["messages"])
    described = jsonio.dumps(request["tools"]) if request.get("tools") else b""
    thought = "".join(piece.text for piece in pieces if isinstance(piece, ReasoningDelta))
    return Usage(
        input=_tokens(len(sent.encode()) + len(described)),
        output=_tokens(sum(len(_produced(piece).encode()) for piece in pieces)),
        reasoning=_tokens(len(thought.encode())),
    )


def _produced(piece: StreamEvent) -> str:
    match piece:
        case TextDelta(text) | ReasoningDelta(text):
            return text
        case ToolCallDelta(_, arguments):
            return arguments
        case _:
            return ""


def _tokens(size_bytes: int) -> int:
    return -(-size_bytes // _BYTES_PER_TOKEN)


def _follows_a_tool(request: ChatRequest) -> bool:
    return request["messages"][-1]["role"] in ("tool", "function")


def _last_user_text(request: ChatRequest) -> str:
    for message in reversed(request["messages"]):
        if message["role"] == "user":
            return _text_of(message)
    return ""


def _text_of(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def _quote(request: ChatRequest) -> str:
    return f"“{_shortened(_last_user_text(request))}”"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
