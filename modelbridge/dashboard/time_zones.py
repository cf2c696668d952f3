"""The time zones that people choose from, by continent."""

from functools import cache
from zoneinfo import available_timezones

_CONTINENTS = frozenset(
    {
        "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe",
        "Indian", "Pacific",
    }
)  # fmt: skip
_UTC = "UTC"


def choices(present: str) -> dict[str, list[tuple[str, str]]]:
    """For a select: the zones of each continent, UTC, and `present`, whatever it is."""
    grouped = {continent: list(zones) for continent, zones in _zones().items()}
    if not any(name == present for zones in grouped.values() for name, _ in zones):
        grouped["Other"].append((present, present))
    return grouped


@cache
def _zones() -> dict[str, tuple[tuple[str, str], ...]]:
    names: dict[str, list[str]] = {}
    for name in sorted(available_timezones()):
        continent, _, place = name.partition("/")
        if continent in _CONTINENTS and place:
            names.setdefault(continent, []).append(name)
    grouped = {
        continent: tuple((name, _place(name)) for name in found)
        for continent, found in names.items()
    }
    return grouped | {"Other": ((_UTC, _UTC),)}


def _place(name: str) -> str:
    """The city first, since that is what people type to find it: "Sydney (Australia)"."""
    continent, _, place = name.partition("/")
    city = ", ".join(reversed(place.replace("_", " ").split("/")))
    return f"{city} ({continent})"
