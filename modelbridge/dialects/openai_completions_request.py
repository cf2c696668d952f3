"""The body of a legacy completion: read, built for an upstream, or turned into a chat.

Source: OpenAI's OpenAPI document, CreateCompletionRequest.
"""

from typing import NoReturn, cast

from modelbridge.dialects.openai_chat_build import set_stream_options
from modelbridge.dialects.openai_chat_messages import refuse
from modelbridge.dialects.openai_chat_request import (
    CHECKS,
    boolean,
    check_stream_options,
    read_model,
    refuse_unbounded,
    text,
    whole,
)
from modelbridge.dialects.openai_embeddings import check_inputs, plain_body
from modelbridge.dialects.openai_paths import path_at
from modelbridge.errors import UnsupportedParameter
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest
from modelbridge.wire.completion import CompletionRequest, maximum, prompts
from modelbridge.wire.target import Target, WireRequest

NAME = "openai_completions"
_PATH = "/completions"
_MOST_CHOICES = 128
_SHARED = (
    "stream",
    "stream_options",
    "n",
    "stop",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "user",
    "service_tier",
)
_CHECKS = {name: CHECKS[name] for name in _SHARED} | {
    "max_tokens": whole(0),
    "best_of": whole(0, _MOST_CHOICES),
    "logprobs": whole(0, _MOST_CHOICES),
    "echo": boolean,
    "suffix": text,
}
# What a chat says in the same words.
_IN_CHATS = (*(name for name in _SHARED if name not in ("n", "service_tier")), "model")


def read_request(body: JSONDict) -> CompletionRequest:
    """The same dict. Raises InvalidRequest or UnsupportedParameter naming the parameter."""
    read_model(body)
    if body.get("prompt") is not None:
        check_inputs(body["prompt"], "prompt", empty=True)
    for name, check in _CHECKS.items():
        if body.get(name) is not None:
            check(body[name], name)
    check_stream_options(body)
    refuse_unbounded(body, maximum="max_tokens", allowed=("best_of",))
    if body.get("max_completion_tokens") is not None:
        refuse("max_completion_tokens", "is for chats; use 'max_tokens' instead")
    _check_best_of(body)
    return cast(CompletionRequest, body)


def _check_best_of(body: JSONDict) -> None:
    best_of, n = body.get("best_of") or 1, body.get("n") or 1
    if body.get("best_of") and best_of < n:
        refuse("best_of", f"is {best_of}, but 'n' is {n}: it must be as large, or left out")
    if body.get("stream") and best_of > n:
        refuse("best_of", "is not for streams: which is the best is known at the end only")


def is_native(target: Target) -> bool:
    """Whether the upstream itself has legacy completions for this model."""
    return "completions" in target.endpoints


def build_request(request: CompletionRequest, target: Target, max_output: int) -> WireRequest:
    """The body for an upstream that has completions; the maximum is always named.

    Of the quirks only those hold that both endpoints share: fields to leave out, and the usage of
    streams.
    """
    body, dropped = plain_body(dict(request), target)
    body["max_tokens"] = max_output
    set_stream_options(body, target.quirks, dropped)
    return WireRequest(path_at(target, NAME, _PATH), body, dropped=tuple(dropped))


def as_chat(request: CompletionRequest) -> ChatRequest:
    """One user message that says the prompt, for an upstream that only chats.

    Raises UnsupportedParameter for what a chat cannot say: more than one answer or prompt, tokens,
    the prompt again in the answer, a text behind the gap, and probabilities of tokens, which are
    told in another form there.
    """
    given = prompts(request)
    if len(given) != 1:
        _unsupported("prompt", f"has {len(given)} prompts, and it chats about one: send one each")
    prompt = given[0]
    if not isinstance(prompt, str):
        _unsupported("prompt", "is in tokens, which only its own tokenizer could read: send text")
    if not prompt:
        _unsupported("prompt", "is empty, and a chat needs words to answer")
    if maximum(request) < 1:
        _unsupported("max_tokens", "is 0, and a chat has an answer of at least one token")
    for name in ("n", "best_of"):
        if (request.get(name) or 1) != 1:
            _unsupported(name, "must be 1 there: it gives one answer")
    for name in ("echo", "suffix", "logprobs"):
        if request.get(name) not in (None, False, ""):
            _unsupported(name, "has no counterpart there: leave it out")
    chat = {name: value for name, value in request.items() if name in _IN_CHATS}
    chat["messages"] = [{"role": "user", "content": prompt}]
    chat["max_tokens"] = maximum(request)
    return cast(ChatRequest, chat)


def _unsupported(name: str, why: str) -> NoReturn:
    raise UnsupportedParameter(
        f"'{name}' {why}. (This model has no legacy completions; they are translated into a chat.)",
        param=name,
    )
