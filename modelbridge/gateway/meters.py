"""What calls came to, counted as they end: the numbers behind /metrics.

A call costs some microseconds here. Label sets are bounded: a model's name counts under itself only
once something served it, and never more than MOST_NAMES of them; everything else is `other`.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram

from modelbridge.money import Usage

if TYPE_CHECKING:
    from modelbridge.gateway.call import Call

MOST_NAMES = 200
OTHER = "other"
_Metric = TypeVar("_Metric", Counter, Histogram)
_MICROS = 1_000_000
_FIRST_BYTE_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_ADDED_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_CLASSES = ("input", "cache_read", "cache_write", "output")


class Meters:
    """Counters of one process, in a registry of their own; any thread may count."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._calls = Counter(
            "modelbridge_calls",
            "Calls that have ended, by model, upstream and the status that the client was told.",
            ("model", "upstream", "status"),
            registry=registry,
        )
        self._first_byte = Histogram(
            "modelbridge_first_byte_seconds",
            "From a call's arrival to the first byte of the upstream's answer.",
            ("upstream",),
            buckets=_FIRST_BYTE_BUCKETS,
            registry=registry,
        )
        self._added = Histogram(
            "modelbridge_added_seconds",
            "What the bridge itself takes of a call: until it is sent on, and to settle it.",
            buckets=_ADDED_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            "modelbridge_tokens",
            "Tokens of settled calls, by model and class; classes don't overlap.",
            ("model", "class"),
            registry=registry,
        )
        self._cost = Counter(
            "modelbridge_cost_nano_aud",
            "What calls were charged, in billionths of an AUD.",
            ("model", "upstream"),
            registry=registry,
        )
        self._models: set[str] = set()
        self._upstreams: set[str] = set()

    def call_ended(
        self,
        call: "Call",
        status: int,
        *,
        upstream: str = "",
        usage: Usage | None = None,
        cost_nanos: int | None = None,
    ) -> None:
        """Count it. `upstream` is the operator's name for it, or `sandbox`; empty: none heard."""
        model = self._known(call.model, served=bool(upstream))
        upstream = _bounded(self._upstreams, upstream) if upstream else "none"
        _child(self._calls, model, upstream, status).inc()
        if call.first_byte_micros is not None:
            _child(self._first_byte, upstream).observe(call.first_byte_micros / _MICROS)
        if call.added_micros:
            self._added.observe(call.added_micros / _MICROS)
        if usage is not None:
            counts = (
                usage.input + usage.audio_input,
                usage.cache_read,
                usage.cache_write + usage.cache_write_1h,
                usage.total_output,
            )
            for name, count in zip(_CLASSES, counts, strict=True):
                if count:
                    _child(self._tokens, model, name).inc(count)
        if cost_nanos:
            _child(self._cost, model, upstream).inc(cost_nanos)

    def _known(self, model: str, *, served: bool) -> str:
        if model in self._models:
            return model
        return _bounded(self._models, model) if served else OTHER


@lru_cache(maxsize=4 * MOST_NAMES)
def _child(metric: _Metric, *labels: str | int) -> _Metric:
    """The metric with these labels; the library looks for it under a lock, each time."""
    return metric.labels(*labels)


def _bounded(names: set[str], name: str) -> str:
    if name in names:
        return name
    if len(names) >= MOST_NAMES:
        return OTHER
    names.add(name)
    return name
