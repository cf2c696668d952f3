"""The canonical request of the legacy completions: OpenAI's body as a plain dict.

Source: OpenAI's OpenAPI document, CreateCompletionRequest.
"""

from typing import Any, TypedDict

from modelbridge.wire.embedding import split

USUAL_MAXIMUM = 16  # what the format says of a request that names no maximum


class CompletionRequest(TypedDict, total=False):
    """The fields that money, routing and translation look at; any other key may be present.

    `prompt` is a text, a list of texts, or the same in tokens.
    """

    model: str
    prompt: str | list[str] | list[int] | list[list[int]] | None
    suffix: str | None
    stream: bool
    stream_options: dict[str, Any] | None
    max_tokens: int | None
    n: int | None
    best_of: int | None
    echo: bool | None
    logprobs: int | None
    stop: str | list[str] | None
    user: str


def prompts(request: CompletionRequest) -> list[str | list[int]]:
    """The prompts one by one; each is completed by itself."""
    return split(request.get("prompt") or "")


def maximum(request: CompletionRequest) -> int:
    """The most output tokens of each completion."""
    asked = request.get("max_tokens")
    return USUAL_MAXIMUM if asked is None else asked


def completions(request: CompletionRequest) -> int:
    """How many completions are made: those that `best_of` throws away are billed as well."""
    each = max(request.get("n") or 1, request.get("best_of") or 1)
    return each * len(prompts(request))
