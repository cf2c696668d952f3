"""Testing a connection: one cheap request that costs nothing, and what came of it in words."""

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from modelbridge import jsonio
from modelbridge.dialects.openai_paths import path_at
from modelbridge.errors import BridgeError, UpstreamTimeout
from modelbridge.upstream.client import UpstreamClient
from modelbridge.wire.target import Target, WireRequest

PATIENCE_SECONDS = 10.0
_MOST_BYTES = 8 * 2**20
_CHAT_PATH = "/chat/completions"
_ANTHROPIC = "anthropic_messages"
_ANTHROPIC_HEADERS = {"anthropic-version": "2023-06-01"}
_GEMINI, _GEMINI_PREFIX = "gemini", "/v1beta"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a test told. `words` are ours: nothing that the provider wrote is in them.

    `told_at`: the moment of its answer by the upstream's clock, if it said so.
    """

    ok: bool
    words: str
    told_at: datetime | None = None


def probe(client: UpstreamClient, target: Target) -> Probe:
    """Asks the upstream for its list of models, and waits ten seconds at most."""
    exchange = client.open(target, _request(target), stream=False)
    late = UpstreamTimeout(f"It did not answer within {PATIENCE_SECONDS:.0f} seconds.")
    alarm = threading.Timer(PATIENCE_SECONDS, exchange.cut, (late,))
    alarm.daemon = True
    alarm.start()
    try:
        exchange.start()
        told_at = _moment(exchange.headers.get("date", ""))
        if exchange.status != 200:
            return Probe(False, _refusal(exchange.status), told_at)
        return replace(_read(exchange.read_all(_MOST_BYTES)), told_at=told_at)
    except BridgeError as error:
        return Probe(False, error.message)
    finally:
        alarm.cancel()
        exchange.close()


def _moment(date: str) -> datetime | None:
    """HTTP's `Date`, which is in UTC (RFC 9110, 5.6.7)."""
    try:
        return parsedate_to_datetime(date).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _request(target: Target) -> WireRequest:
    """GET of the list of models, beside the path of the calls."""
    if target.dialect == _ANTHROPIC:
        return WireRequest("/v1/models", {}, _ANTHROPIC_HEADERS, method="GET")
    if target.dialect == _GEMINI:
        prefix = target.quirks.paths.get(_GEMINI, _GEMINI_PREFIX)
        return WireRequest(f"{prefix}/models?pageSize=1000", {}, method="GET")
    path, mark, query = path_at(target, target.dialect, _CHAT_PATH).partition("?")
    above = path.removesuffix(_CHAT_PATH).partition("/deployments/")[0]  # Azure's list is above
    return WireRequest(f"{above}/models{mark}{query}", {}, method="GET")


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"It answers, but refuses the API key (status {status}). Replace the key."
    if status == 404:
        return (
            "It answers, but has no list of models at this address (status 404). Check the base "
            "URL; if the provider publishes no list, only a call can tell."
        )
    if status == 429:
        return "It answers, but says that we ask too often just now (status 429)."
    if status >= 500:
        return f"It answers with a failure of its own (status {status}). Try again later."
    return f"It answers with status {status}, which is not what a list of models looks like."


def _read(body: bytes) -> Probe:
    try:
        found = jsonio.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        found = found.get("data", found.get("models"))  # OpenAI's and Anthropic's; Gemini's
    models = found
    if not isinstance(models, list):
        return Probe(False, "It answers, but not with a list of models. Check the base URL.")
    count = "1 model" if len(models) == 1 else f"{len(models)} models"
    return Probe(True, f"It works: the API key is accepted and the list has {count}.")
