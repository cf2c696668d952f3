"""Providers: companies and servers described as data, read from providers.toml at import.

The file is checked whole when it is read: an unknown key, a wrong type or a missing title stops the
start with a message that names the row.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_args

from modelbridge.wire.target import Auth, KindName, Quirks

PROVIDERS_FILE = Path(__file__).with_name("providers.toml")

_STREAM_USAGE = ("include_usage", "always", "never")
_TEXTS = ("title", "dialect", "base_url", "price_provider", "developer_role")
_TABLES_OF_TEXTS = ("rename", "paths")
_KEYS = {
    *_TEXTS,
    *_TABLES_OF_TEXTS,
    "auth",
    "stream_usage",
    "drop",
    "speaks",
    "force",
    "cancel_stops_billing",
    "endpoints",
    "thoughts_apart",
}
_REQUIRED = ("title", "dialect")
_QUIRKS = ("rename", "force", "developer_role", "stream_usage", "paths", "thoughts_apart")


class ProvidersFileError(ValueError):
    """The providers' file is malformed; the message names the row and the key."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A company, or a kind of server, as data.

    `base_url` is None where every operator has one of his own; it has no slash at its end.
    `price_provider` is the provider's id in genai-prices, or None: then only what the operator
    added can be called. `cancel_stops_billing`: closing the connection stops its meter.
    `endpoints`: what it takes beside chat.
    """

    name: str
    title: str
    dialect: str
    base_url: str | None = None
    auth: Auth = "bearer"
    quirks: Quirks = field(default_factory=Quirks)
    price_provider: str | None = None
    cancel_stops_billing: bool = False
    endpoints: tuple[KindName, ...] = ("chat",)

    @property
    def paths(self) -> Mapping[str, str]:
        """Paths below the base URL by dialect, where they are not the usual ones."""
        return self.quirks.paths


def read_providers(path: Path) -> Mapping[str, Provider]:
    """Every row of a providers' file by name, in its order. Raises ProvidersFileError."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ProvidersFileError(f"{path.name}: {error}") from None
    return MappingProxyType({name: _provider(name, row) for name, row in rows.items()})


def _provider(name: str, row: object) -> Provider:
    if not isinstance(row, dict):
        raise ProvidersFileError(f"{name}: not a table")
    _check(name, row)
    quirks = {key: row[key] for key in _QUIRKS if key in row}
    return Provider(
        name=name,
        title=row["title"],
        dialect=row["dialect"],
        base_url=row["base_url"].rstrip("/") if "base_url" in row else None,
        auth=cast(Auth, row.get("auth", "bearer")),
        quirks=Quirks(
            drop=tuple(row.get("drop", ())), speaks=tuple(row.get("speaks", ())), **quirks
        ),
        price_provider=row.get("price_provider"),
        cancel_stops_billing=row.get("cancel_stops_billing", False),
        endpoints=tuple(row.get("endpoints", ("chat",))),
    )


def _check(name: str, row: dict[str, Any]) -> None:
    if unknown := sorted(row.keys() - _KEYS):
        raise ProvidersFileError(f"{name}: unknown key {', '.join(unknown)}")
    for key in _REQUIRED:
        if not row.get(key):
            raise ProvidersFileError(f"{name}: {key} is missing")
    for key, value in row.items():
        if not _is_valid(key, value):
            raise ProvidersFileError(f"{name}: {key} has a wrong value: {value!r}")


def _is_valid(key: str, value: object) -> bool:
    if key in _TEXTS:
        return isinstance(value, str) and bool(value)
    if key in _TABLES_OF_TEXTS:
        return isinstance(value, dict) and all(isinstance(v, str) and v for v in value.values())
    if key == "endpoints":
        return isinstance(value, list) and bool(value) and set(value) <= set(get_args(KindName))
    if key in ("drop", "speaks"):
        return isinstance(value, list) and all(isinstance(v, str) and v for v in value)
    if key == "force":
        return isinstance(value, dict)
    if key == "cancel_stops_billing":
        return isinstance(value, bool)
    if key == "thoughts_apart":
        return type(value) is int and value > 0
    return value in (get_args(Auth) if key == "auth" else _STREAM_USAGE)


PROVIDERS: Mapping[str, Provider] = read_providers(PROVIDERS_FILE)
