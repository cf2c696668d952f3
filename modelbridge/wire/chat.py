"""The canonical request: the body of OpenAI's chat completions as a plain dict, typed here.

Most fronts and upstreams speak it already, so translating is copying, and fields that we do not
know survive. Source: OpenAI's OpenAPI document, CreateChatCompletionRequest.
"""

from typing import Any, Literal, NotRequired, TypedDict

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class FunctionCall(TypedDict):
    """`arguments` is JSON text, as the model wrote it."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """One call that the model wants made."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class Message(TypedDict, total=False):
    """One message. `content` is text, a list of parts, or null beside tool calls.

    Extension keys, ours and other gateways': `reasoning_content` (thinking as text) and
    `thinking_blocks` (Anthropic's blocks with their signatures, for a round trip).
    """

    role: Role
    content: str | list[dict[str, Any]] | None
    name: str
    tool_calls: list[ToolCall]
    tool_call_id: str
    refusal: str | None
    reasoning_content: str | None
    thinking_blocks: list[dict[str, Any]]


class ChatRequest(TypedDict, total=False):
    """The fields that money, routing and translation look at; any other key may be present."""

    model: str
    messages: list[Message]
    stream: bool
    stream_options: dict[str, Any] | None
    max_tokens: int | None
    max_completion_tokens: int | None
    n: int | None
    tools: list[dict[str, Any]] | None
    tool_choice: str | dict[str, Any] | None
    parallel_tool_calls: bool
    response_format: dict[str, Any] | None
    stop: str | list[str] | None
    temperature: float | None
    top_p: float | None
    reasoning_effort: str | None
    thinking: NotRequired[dict[str, Any] | None]
    service_tier: str | None
    user: str
    metadata: dict[str, Any] | None


def wants_usage(request: ChatRequest) -> bool:
    """Whether the client asked for the usage chunk at the end of its stream."""
    return bool((request.get("stream_options") or {}).get("include_usage"))


MAXIMA = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def maximum_named(body: dict[str, Any]) -> str:
    """The field in which a client's body, in whatever format, names its maximum of output."""
    return next((name for name in MAXIMA if body.get(name) is not None), MAXIMA[0])


def asked_maximum(request: ChatRequest) -> int | None:
    """The most output tokens that the client named, or None."""
    maximum = request.get("max_completion_tokens")
    return maximum if maximum is not None else request.get("max_tokens")
