"""One client request to /v1, from the first look at its body to its row in the journal."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from modelbridge import clock, ids
from modelbridge.dialects.base import Face
from modelbridge.identity.callers import Caller
from modelbridge.jsonio import JSONDict
from modelbridge.money import format_amount
from modelbridge.wire.reply import ReplyHead


def _never() -> bool:
    return False


@dataclass(slots=True)
class Call:
    """A call under way.

    `client_gone` tells whether the client has hung up. `idempotency`: its Idempotency-Key and the
    SHA-256 of its body. `notes` are response headers that the gateway wants sent. `tokens_taken`:
    what its key's limit of tokens a minute has counted for it so far. `added_micros`: what the
    bridge itself took, until it sent the call on and to settle it.
    """

    caller: Caller
    front: Face
    endpoint: str
    body: JSONDict
    client_gone: Callable[[], bool] = _never
    idempotency: tuple[str, str] | None = None
    id: str = field(default_factory=lambda: ids.new_id("req"))
    started_at: datetime = field(default_factory=clock.now)
    started: float = field(default_factory=clock.monotonic)
    model: str = ""
    stream: bool = False
    output_cap: int | None = None
    first_byte_micros: int | None = None
    added_micros: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    journaled: bool = False
    tokens_taken: int = 0

    def micros_so_far(self) -> int:
        """Microseconds since the call came in."""
        return round((clock.monotonic() - self.started) * 1_000_000)

    def mark_first_byte(self) -> None:
        """The upstream has begun to answer."""
        if self.first_byte_micros is None:
            self.first_byte_micros = self.micros_so_far()

    def note_cost(self, cost_nanos: int) -> None:
        """The reply will say what the call cost."""
        self.notes["x-modelbridge-cost"] = format_amount(cost_nanos)

    def head(self) -> ReplyHead:
        """How a translated reply introduces itself."""
        return ReplyHead(
            id=f"chatcmpl-{self.id.removeprefix('req_')}",
            model=self.model,
            created=clock.to_micros(self.started_at) // 1_000_000,
            asked=self.body,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete reply: JSON bytes, ready to send."""

    body: bytes
