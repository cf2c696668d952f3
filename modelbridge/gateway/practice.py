"""Calls of `mb_test_` keys: answered by the sandbox, never by an upstream, and free."""

import time
from collections.abc import Iterator
from typing import Any, cast

from modelbridge.catalog.routes import Catalog
from modelbridge.dialects import openai_completions
from modelbridge.dialects.base import Front, StreamWriter
from modelbridge.dialects.registry import PLAINS
from modelbridge.errors import BridgeError
from modelbridge.gateway import journal, kinds
from modelbridge.gateway.admission import not_found, other_kind, refuse_other_models
from modelbridge.gateway.call import Answer, Call
from modelbridge.gateway.services import Gateway
from modelbridge.identity.callers import Caller
from modelbridge.jsonio import dumps
from modelbridge.money import Usage
from modelbridge.upstream import sandbox
from modelbridge.upstream.sandbox_embeddings import answer_embeddings
from modelbridge.wire.chat import wants_usage
from modelbridge.wire.embedding import EmbeddingRequest
from modelbridge.wire.reply import StreamEvent, StreamFailed, fold


def complete(gateway: Gateway, call: Call, request: Any) -> Answer:
    """The sandbox's reply. Raises what its scenarios provoke."""
    _check_model(gateway, call)
    body, usage = _vectors(request) if call.front.NAME in PLAINS else _text(call, request)
    call.mark_first_byte()
    call.note_cost(0)
    gateway.rates.count_used(call, usage)
    journal.write_later(gateway, call, finish="answered")
    return Answer(body)


def _vectors(request: EmbeddingRequest) -> tuple[bytes, Usage]:
    body, usage = answer_embeddings(request)
    return dumps(body), usage


def _text(call: Call, request: Any) -> tuple[bytes, Usage]:
    front, answer = cast(Front, call.front), _answer(call, request)
    events: list[StreamEvent] = []
    for delay, event in answer.events():
        _pause(delay)
        if isinstance(event, StreamFailed):
            raise event.error
        events.append(event)
    return dumps(front.write_reply(fold(events), call.head())), answer.usage


def stream(gateway: Gateway, call: Call, request: Any) -> "PracticeBody":
    """The sandbox's stream."""
    _check_model(gateway, call)
    front, answer = cast(Front, call.front), _answer(call, request)
    writer = front.write_stream(call.head(), include_usage=wants_usage(request))
    return PracticeBody(gateway, call, answer, writer)


def _answer(call: Call, request: Any) -> sandbox.SandboxAnswer:
    """What the sandbox says; it only chats."""
    is_chat = kinds.of(call) is kinds.CHAT
    return sandbox.answer(request if is_chat else openai_completions.as_chat(request))


def _check_model(gateway: Gateway, call: Call) -> None:
    """Raises what `check_model` does, and InvalidRequest for a model that is for something else."""
    catalog, model = gateway.catalog.at(call.caller.catalog_version), call.model
    check_model(catalog, call.caller, model)
    if model not in sandbox.SCENARIO_MODELS and not catalog.is_for(model, kinds.of(call).name):
        others = frozenset(other for other in kinds.KINDS if catalog.is_for(model, other))
        raise other_kind(catalog, kinds.of(call), model, others)


def check_model(catalog: Catalog, caller: Caller, model: str) -> None:
    """The sandbox answers for this model. Raises ModelNotFound or ModelNotAllowed."""
    known = model in sandbox.SCENARIO_MODELS or catalog.known(model)
    if not known and catalog.offered(model) is None:
        raise not_found(catalog, caller, model)
    refuse_other_models(caller, model)


class PracticeBody:
    """A stream of the sandbox."""

    def __init__(
        self, gateway: Gateway, call: Call, answer: sandbox.SandboxAnswer, writer: StreamWriter
    ) -> None:
        self._gateway, self._call, self._answer, self._writer = gateway, call, answer, writer
        self._error: BridgeError | None = None
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        for delay, event in self._answer.events():
            _pause(delay)
            self._call.mark_first_byte()
            if isinstance(event, StreamFailed):
                self._error = event.error
                self._ended = True
                yield self._call.front.write_stream_error(event.error, self._call.id)
                return
            if piece := self._writer.write(event):
                yield piece
        self._ended = True
        yield self._writer.end(self._answer.usage, "0.00")

    def close(self) -> None:
        """The call has its row in the journal."""
        self._gateway.rates.count_used(self._call, self._answer.usage)
        finish = "failed" if self._error else "answered" if self._ended else "client_left"
        journal.write_later(self._gateway, self._call, finish=finish, error=self._error)


def _pause(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)
