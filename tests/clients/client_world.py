"""Alice's bridge with one model for every format that an upstream may have, and what it charged."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from hostile import HostileUpstream, Seen
from people import wait_for
from running import RunningBridge, set_up, to_nanos

PROVIDERS = {
    "chat": "openai_compatible",
    "messages": "anthropic",
    "responses": "openai_responses",
    "gemini": "gemini",
}
USD_IN, USD_OUT = Decimal(3), Decimal(15)


@dataclass
class ClientWorld:
    """The bridge, the upstream behind it, and where in the journal a test began."""

    bridge: RunningBridge
    upstream: HostileUpstream

    @classmethod
    @contextmanager
    def start(cls, folder: Path, upstream: HostileUpstream) -> Iterator["ClientWorld"]:
        """A bridge of its own; `model_of` of each format is called at that upstream."""
        with RunningBridge.start(folder) as bridge:
            set_up(bridge)
            for format_, provider in PROVIDERS.items():
                of_openai = format_ in ("chat", "responses")
                address = upstream.base_url if of_openai else upstream.anthropic_base_url
                bridge.upstream(format_, provider, address, "sk-upstream")
                prices = ("--input", str(USD_IN), "--output", str(USD_OUT))
                bridge.flask("model", "add", model_of(format_), "--upstream", format_, *prices)
            yield cls(bridge, upstream)

    def environ(self) -> dict[str, str]:
        """All that a client is told of the bridge, in the variables that clients read."""
        return {
            "OPENAI_API_KEY": self.bridge.key(),
            "OPENAI_BASE_URL": f"{self.bridge.url}/v1",
            "ANTHROPIC_API_KEY": self.bridge.key(),
            "ANTHROPIC_BASE_URL": self.bridge.url,
        }

    def calls(self) -> list[dict[str, Any]]:
        """The journal, oldest first."""
        with closing(self.bridge._connect()) as connection:
            return [dict(row) for row in connection.execute("SELECT * FROM calls ORDER BY id")]

    @contextmanager
    def charges_what_was_served(self) -> Iterator[None]:
        """In this block, every call cost exactly the tokens that the upstream counted for it."""
        calls, balance = len(self.calls()), self.bridge.balance_nanos()
        yield
        served = [usage_of(one) for one in self.upstream.seen() if one["usage"] is not None]
        made = wait_for(lambda: self._settled(calls, len(served)))
        told = [(call["input_tokens"], call["output_tokens"]) for call in made]
        assert sorted(told) == sorted(served)
        assert {(call["finish"], call["usage_source"]) for call in made} == {
            ("answered", "reported")
        }
        assert balance - self.bridge.balance_nanos() == sum(cost_nanos(*one) for one in served)
        self.bridge.check_books()

    def _settled(self, before: int, count: int) -> list[dict[str, Any]]:
        made = self.calls()[before:]
        return made if len(made) >= count else []


def model_of(format_: str) -> str:
    """The public name of the model whose upstream speaks that format."""
    return f"{format_}-model"


def usage_of(seen: Seen) -> tuple[int, int]:
    """(input, output) tokens that the upstream counted for that request."""
    usage = seen["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


def cost_nanos(tokens_in: int, tokens_out: int) -> int:
    """What those tokens cost, in nano-AUD, rounded up."""
    return to_nanos((tokens_in * USD_IN + tokens_out * USD_OUT) / 10**6)
