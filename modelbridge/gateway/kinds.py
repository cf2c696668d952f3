"""Kinds of call: what the pipeline has to know of an endpoint to price it, bound it and send it.

Chats are one kind, whatever the format they come in. Another endpoint is a line here with its own
measure: one that is priced by picture, second or character brings a class of `Usage` with it, and
counts that here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modelbridge.dialects import openai_completions, openai_embeddings
from modelbridge.dialects.openai_completions_request import is_native
from modelbridge.dialects.registry import EMBEDDINGS as OWN_EMBEDDINGS
from modelbridge.dialects.registry import UPSTREAM_DIALECTS
from modelbridge.gateway import bounds
from modelbridge.gateway.bounds import Size
from modelbridge.gateway.call import Call
from modelbridge.wire.chat import asked_maximum
from modelbridge.wire.completion import CompletionRequest, completions, maximum, prompts
from modelbridge.wire.embedding import EmbeddingRequest, each_input
from modelbridge.wire.target import KindName, Target, WireRequest


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of call; its functions take the canonical request of that kind.

    `measure`: the input. `choices`: how many outputs a call has, each of them under the cap.
    `asked_maximum`: the cap that the client named, in tokens; 0: the answer is not in tokens.
    `build_request`: as `UpstreamDialect.build_request`. `format_at`: the name of the format that it
    is in for a target. `words`: what such models do, and where.
    """

    name: KindName
    words: str
    measure: Callable[[Any], Size]
    choices: Callable[[Any], int]
    asked_maximum: Callable[[Any], int | None]
    build_request: Callable[[Any, Target, int], WireRequest]
    format_at: Callable[[Target], str]


def _build_chat(request: Any, target: Target, max_output: int) -> WireRequest:
    return UPSTREAM_DIALECTS[target.dialect].build_request(request, target, max_output)


def _chat_format(target: Target) -> str:
    return target.dialect


def _measure_completions(request: CompletionRequest) -> Size:
    rest = {name: value for name, value in request.items() if name != "prompt"}
    return bounds.measure_texts(prompts(request), rest)


def _build_completions(request: Any, target: Target, max_output: int) -> WireRequest:
    if is_native(target):
        return openai_completions.build_request(request, target, max_output)
    return _build_chat(openai_completions.as_chat(request), target, max_output)


def _completions_format(target: Target) -> str:
    return openai_completions.NAME if is_native(target) else target.dialect


def _build_embeddings(request: Any, target: Target, max_output: int) -> WireRequest:
    spoken = OWN_EMBEDDINGS.get(target.dialect, openai_embeddings)
    return spoken.build_request(request, target, max_output)


def _measure_embeddings(request: EmbeddingRequest) -> Size:
    rest = {name: value for name, value in request.items() if name != "input"}
    return bounds.measure_texts(each_input(request), rest)


CHAT = Kind(
    name="chat",
    words="chats (/v1/chat/completions, /v1/responses, /v1/messages)",
    measure=bounds.measure,
    choices=bounds.choices,
    asked_maximum=asked_maximum,
    build_request=_build_chat,
    format_at=_chat_format,
)
COMPLETIONS = Kind(
    name="completions",
    words="legacy completions (/v1/completions)",
    measure=_measure_completions,
    choices=completions,
    asked_maximum=maximum,
    build_request=_build_completions,
    format_at=_completions_format,
)
EMBEDDINGS = Kind(
    name="embeddings",
    words="embeddings (/v1/embeddings)",
    measure=_measure_embeddings,
    choices=lambda request: 1,
    asked_maximum=lambda request: 0,
    build_request=_build_embeddings,
    format_at=lambda target: openai_embeddings.NAME,
)
KINDS: dict[KindName, Kind] = {kind.name: kind for kind in (CHAT, COMPLETIONS, EMBEDDINGS)}
_OF_FACE: dict[str, Kind] = {
    openai_completions.NAME: COMPLETIONS,
    openai_embeddings.NAME: EMBEDDINGS,
}


def of(call: Call) -> Kind:
    """The kind of this call: its endpoint's."""
    return of_face(call.front.NAME)


def of_face(name: str) -> Kind:
    """The kind of the calls that come through that face."""
    return _OF_FACE.get(name, CHAT)
