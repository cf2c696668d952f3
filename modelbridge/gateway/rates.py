"""What a key may do in a minute, and at once: counted in memory, by this process alone.

A key without such limits costs nothing here. Calls are counted over the last 60 seconds. Tokens
are counted in minutes that begin with a key's first call after the last one ended: a call takes an
estimate of its input at the door, and what it used beyond that when it ends. Headers are those of
OpenAI: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers.
"""

import math
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modelbridge import clock
from modelbridge.errors import RateLimited, TokensRateLimited
from modelbridge.gateway import kinds
from modelbridge.gateway.bounds import BYTES_PER_TOKEN, Size, measure
from modelbridge.gateway.call import Call
from modelbridge.money import Usage
from modelbridge.wire.chat import ChatRequest

if TYPE_CHECKING:
    from limits.limits import RateLimitItem
    from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

TOKENS_OF_A_PICTURE = 1_600


class RateLimits:
    """The counters of every limited key. Thread-safe; a restart forgets them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_once: dict[str, int] = {}

    def enter(self, call: Call) -> None:
        """The call is counted; `leave` has to follow. Raises RateLimited, and counts nothing.

        The call's notes say how much is left, refused or not.
        """
        rates = call.caller.rates
        if rates is None:
            return
        key_id = call.caller.key_id
        with self._lock:
            self._note_tokens(call)
            running = self._at_once.get(key_id, 0)
            if rates.concurrent is not None and running >= rates.concurrent:
                self._note_calls(call)
                raise RateLimited(_too_many_at_once(rates.concurrent), retry_after=1)
            if rates.calls is not None:
                counted = self._counters.calls.hit(_per_minute(rates.calls), "calls", key_id)
                wait_seconds = self._note_calls(call)
                if not counted:
                    raise RateLimited(_too_many_calls(rates.calls), retry_after=wait_seconds)
            if rates.concurrent is not None:
                self._at_once[key_id] = running + 1

    def leave(self, call: Call) -> None:
        """The call is not under way any more."""
        rates = call.caller.rates
        if rates is None or rates.concurrent is None:
            return
        with self._lock:
            running = self._at_once.get(call.caller.key_id, 0) - 1
            if running > 0:
                self._at_once[call.caller.key_id] = running
            else:
                self._at_once.pop(call.caller.key_id, None)

    def take_tokens(self, call: Call, request: Any) -> None:
        """An estimate of the request's input is taken. Raises TokensRateLimited."""
        rates = call.caller.rates
        if rates is None or rates.tokens is None:
            return
        item = _per_minute(rates.tokens)
        tokens = estimated_tokens(kinds.of(call).measure(request))
        if tokens > rates.tokens:
            raise TokensRateLimited(
                f"This request alone is about {tokens} tokens, and this API key may use "
                f"{rates.tokens} a minute. Send less, or have the key's limit raised where it is "
                "managed.",
                retry=False,
            )
        with self._lock:
            fits = self._counters.tokens.test(item, "tokens", call.caller.key_id, cost=tokens)
            if fits:
                self._counters.tokens.hit(item, "tokens", call.caller.key_id, cost=tokens)
                call.tokens_taken = tokens
            wait_seconds = self._note_tokens(call)
        if not fits:
            raise TokensRateLimited(
                f"This API key may use {rates.tokens} tokens a minute, and this request of about "
                f"{tokens} does not fit into what is left. Try again in a moment.",
                retry_after=wait_seconds,
            )

    def count_used(self, call: Call, usage: Usage) -> None:
        """What the call used beyond its estimate counts too, even if it is over the limit."""
        rates = call.caller.rates
        if rates is None or rates.tokens is None:
            return
        more = usage.total_input + usage.total_output - call.tokens_taken
        if more > 0:
            with self._lock:
                item = _per_minute(rates.tokens)
                self._counters.tokens.hit(item, "tokens", call.caller.key_id, cost=more)

    @cached_property
    def _counters(self) -> "_Counters":
        return _Counters()

    def _note_calls(self, call: Call) -> float:
        """The headers about calls; seconds until there is room again."""
        rates = call.caller.rates
        if rates is None or rates.calls is None:
            return 0.0
        stats = self._counters.calls.get_window_stats(
            _per_minute(rates.calls), "calls", call.caller.key_id
        )
        return _note(call, "requests", rates.calls, stats.remaining, stats.reset_time)

    def _note_tokens(self, call: Call) -> float:
        """The headers about tokens; seconds until the minute is over."""
        rates = call.caller.rates
        if rates is None or rates.tokens is None:
            return 0.0
        stats = self._counters.tokens.get_window_stats(
            _per_minute(rates.tokens), "tokens", call.caller.key_id
        )
        return _note(call, "tokens", rates.tokens, stats.remaining, stats.reset_time)


@dataclass(slots=True)
class _Counters:
    """The package's counters; making them imports it, which takes a while."""

    calls: "MovingWindowRateLimiter" = field(init=False)
    tokens: "FixedWindowRateLimiter" = field(init=False)

    def __post_init__(self) -> None:
        from limits import storage, strategies  # noqa: PLC0415  slow, and most keys have no limit

        memory = storage.MemoryStorage()
        self.calls = strategies.MovingWindowRateLimiter(memory)
        self.tokens = strategies.FixedWindowRateLimiter(memory)


def estimated_input(request: ChatRequest) -> int:
    """About how many tokens a chat's input is."""
    return estimated_tokens(measure(request))


def estimated_tokens(size: Size) -> int:
    """About how many tokens an input is: bytes ÷ 4, and a usual size for a picture."""
    return -(-size.text_bytes // BYTES_PER_TOKEN) + size.images * TOKENS_OF_A_PICTURE


def duration(seconds: float) -> str:
    """As OpenAI writes it: "1s", "6m0s", "120ms"."""
    millis = max(0, math.ceil(seconds * 1000))
    if millis < 1000:
        return f"{millis}ms"
    minutes, rest = divmod(math.ceil(millis / 1000), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _note(call: Call, what: str, limit: int, remaining: int, reset_time: float) -> float:
    seconds = max(0.0, reset_time - clock.now().timestamp())
    call.notes[f"x-ratelimit-limit-{what}"] = str(limit)
    call.notes[f"x-ratelimit-remaining-{what}"] = str(max(0, remaining))
    call.notes[f"x-ratelimit-reset-{what}"] = duration(seconds)
    return seconds


def _per_minute(amount: int) -> "RateLimitItem":
    from limits.limits import RateLimitItemPerMinute  # noqa: PLC0415  see _Counters

    return RateLimitItemPerMinute(amount)


def _too_many_calls(limit: int) -> str:
    return f"This API key may make {limit} calls a minute. Try again when the header says."


def _too_many_at_once(limit: int) -> str:
    return (
        f"This API key may have {limit} calls under way at once. Try again when one of them ends, "
        "or have the limit raised where the key is managed."
    )
