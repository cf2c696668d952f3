"""Calls of `mb_test_` keys: answered by the sandbox, never by an upstream, and free."""

import time
from collections.abc import Iterator

from modelbridge.catalog.routes import Catalog
from modelbridge.dialects.base import StreamWriter
from modelbridge.errors import BridgeError
from modelbridge.gateway import journal
from modelbridge.gateway.admission import not_found, refuse_other_models
from modelbridge.gateway.call import Answer, Call
from modelbridge.gateway.services import Gateway
from modelbridge.identity.callers import Caller
from modelbridge.jsonio import dumps
from modelbridge.upstream import sandbox
from modelbridge.wire.chat import ChatRequest, wants_usage
from modelbridge.wire.reply import StreamEvent, StreamFailed, fold


def complete(gateway: Gateway, call: Call, request: ChatRequest) -> Answer:
    """The sandbox's reply. Raises what its scenarios provoke."""
    answer = _answer(gateway, call, request)
    events: list[StreamEvent] = []
    for delay, event in answer.events():
        _pause(delay)
        if isinstance(event, StreamFailed):
            raise event.error
        events.append(event)
    call.mark_first_byte()
    body = dumps(call.front.write_reply(fold(events), call.head()))
    call.note_cost(0)
    journal.write_later(gateway, call, finish="answered")
    return Answer(body)


def stream(gateway: Gateway, call: Call, request: ChatRequest) -> "PracticeBody":
    """The sandbox's stream."""
    answer = _answer(gateway, call, request)
    writer = call.front.write_stream(call.head(), include_usage=wants_usage(request))
    return PracticeBody(gateway, call, answer, writer)


def _answer(gateway: Gateway, call: Call, request: ChatRequest) -> sandbox.SandboxAnswer:
    check_model(gateway.catalog.at(call.caller.catalog_version), call.caller, call.model)
    return sandbox.answer(request)


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
        finish = "failed" if self._error else "answered" if self._ended else "client_left"
        journal.write_later(self._gateway, self._call, finish=finish, error=self._error)


def _pause(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)
