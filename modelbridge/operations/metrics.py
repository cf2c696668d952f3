"""The text of /metrics: what was counted, and how things are at the moment of asking."""

from collections.abc import Iterator

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from modelbridge.gateway import books
from modelbridge.gateway.services import Gateway
from modelbridge.store.tables import OPEN_STATES, Hold, is_open

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one process."""

    def __init__(self, gateway: Gateway) -> None:
        self._registry = gateway.meters.registry
        self._registry.register(_Present(gateway))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self._registry)


class _Present(Collector):
    """Gauges that are read when they are asked for."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not ask the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        gateway = self._gateway
        with gateway.database.reading() as session:
            counted = dict(
                session.execute(
                    select(Hold.state, func.count()).where(is_open(Hold.state)).group_by(Hold.state)
                ).all()
            )
            last = books.latest(session)
        holds = GaugeMetricFamily("modelbridge_holds", "Open holds by state.", labels=["state"])
        for state in OPEN_STATES:
            holds.add_metric([state], counted.get(state, 0))
        yield holds
        for name, words, value in (
            ("writer_queue", "Changes that wait to be committed.", gateway.database.queue_length()),
            ("calls_running", "Calls under way.", gateway.slots.in_use),
            ("streams", "Calls that are at an upstream now.", len(gateway.flights)),
            ("unsettled", "Settlements that are tried again.", len(gateway.unsettled)),
        ):
            yield GaugeMetricFamily(f"modelbridge_{name}", words, value=value)
        if last:
            yield GaugeMetricFamily(
                "modelbridge_books_ok",
                "1 if the books added up when they were last checked.",
                value=int(last[0].ok),
            )
            yield GaugeMetricFamily(
                "modelbridge_books_checked_timestamp_seconds",
                "When the books were last checked.",
                value=last[0].at.timestamp(),
            )
