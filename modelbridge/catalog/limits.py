"""How long an answer and a window can be, and which names are offered: models.toml, read once."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelbridge.catalog.providers import PROVIDERS, Provider
from modelbridge.wire.target import KindName

MODELS_FILE = Path(__file__).with_name("models.toml")
UNKNOWN_MAX_OUTPUT = 4096
_LIMIT_KEYS = {"max_output", "context_window"}
_BY_PROVIDER = ("elsewhere", "unlisted", "completions_only", "chat_only")
_CHAT: frozenset[KindName] = frozenset({"chat", "completions"})


class ModelsFileError(ValueError):
    """The models' file is malformed; the message names the place."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Tokens: the most that one answer may have, and the context window. None: not known."""

    max_output: int | None = None
    context_window: int | None = None


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """The whole file: limits by provider row and exact name or family, and patterns of names."""

    exact: Mapping[str, Mapping[str, Limits]]
    families: Mapping[str, Mapping[str, Limits]]
    not_offered: re.Pattern[str]
    embeddings: re.Pattern[str]
    elsewhere: Mapping[str, re.Pattern[str]]
    unlisted: Mapping[str, re.Pattern[str]]
    completions_only: Mapping[str, re.Pattern[str]]
    chat_only: Mapping[str, re.Pattern[str]]

    def limits(self, provider: str, model: str) -> Limits:
        """Limits of an upstream's model: of its exact name, else of its longest family."""
        name = model.lower()
        if found := self.exact.get(provider, {}).get(name):
            return found
        families = self.families.get(provider, {})
        ends = [end for end in range(len(name), 0, -1) if end == len(name) or name[end] in "-@:"]
        return next((families[name[:end]] for end in ends if name[:end] in families), Limits())

    def is_offered(self, model: str) -> bool:
        """Whether a model of that name has an endpoint here, at a cost that has a bound."""
        return self.not_offered.search(model.lower()) is None

    def is_embedding(self, model: str) -> bool:
        """Whether a model of that name makes vectors, and nothing else."""
        return self.is_offered(model) and self.embeddings.search(model.lower()) is not None

    def is_chat(self, model: str) -> bool:
        """Whether a model of that name answers in text at a cost that has a bound."""
        return self.is_offered(model) and not self.is_embedding(model)

    def kinds(self, provider: str, model: str) -> frozenset[KindName] | None:
        """What the name says that the model is for; None: nothing.

        A chat model is for completions, too: where its provider has none they are translated.
        """
        if self.is_embedding(model):
            return frozenset({"embeddings"})
        if _matches(self.completions_only.get(provider), model):
            return frozenset({"completions"})
        return _CHAT if _matches(self.chat_only.get(provider), model) else None

    def endpoints(self, provider: Provider, model: str) -> tuple[KindName, ...]:
        """What an upstream of that provider itself takes for the model."""
        if _matches(self.chat_only.get(provider.name), model):
            return tuple(kind for kind in provider.endpoints if kind != "completions")
        return provider.endpoints

    def is_served(self, provider: str, model: str) -> bool:
        """Whether an upstream of that provider serves the model without being told to."""
        return self.is_offered(model) and not _matches(self.elsewhere.get(provider), model)

    def is_listed(self, provider: str, model: str) -> bool:
        """Whether it also says so: retired models are served where named, but not listed."""
        return self.is_served(provider, model) and not _matches(self.unlisted.get(provider), model)


def read_models(path: Path) -> ModelsFile:
    """The models' file. Raises ModelsFileError for unknown keys and providers, and wrong values."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    for name, like in data.pop("same_as", {}).items():
        for section in ("limits", *_BY_PROVIDER):
            if like in data.get(section, {}):
                data[section].setdefault(name, data[section][like])
    _only(data, {"not_offered", "embeddings", *_BY_PROVIDER, "limits"}, path.name)
    for section in ("limits", *_BY_PROVIDER):
        _only(data.get(section, {}), set(PROVIDERS), section)
    limits = data.get("limits", {})
    for name, kinds in limits.items():
        _only(kinds, {"exact", "prefix"}, f"limits.{name}")
    return ModelsFile(
        exact={name: _table(name, kinds.get("exact", {})) for name, kinds in limits.items()},
        families={name: _table(name, kinds.get("prefix", {})) for name, kinds in limits.items()},
        not_offered=_any_of(data.get("not_offered", {}).get("patterns", [])),
        embeddings=_any_of(data.get("embeddings", {}).get("patterns", [])),
        elsewhere=_by_provider(data.get("elsewhere", {})),
        unlisted=_by_provider(data.get("unlisted", {})),
        completions_only=_by_provider(data.get("completions_only", {})),
        chat_only=_by_provider(data.get("chat_only", {})),
    )


def _by_provider(section: Mapping[str, list[str]]) -> dict[str, re.Pattern[str]]:
    return {name: _any_of(found) for name, found in section.items()}


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)")


def _matches(pattern: re.Pattern[str] | None, model: str) -> bool:
    return pattern is not None and pattern.search(model) is not None


def _only(table: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(table.keys() - known):
        raise ModelsFileError(f"{where}: unknown {', '.join(unknown)}")


def _table(provider: str, rows: Mapping[str, Any]) -> dict[str, Limits]:
    for name, row in rows.items():
        where = f"limits.{provider}: {name}"
        _only(row, _LIMIT_KEYS, where)
        if not row or any(type(value) is not int or value < 1 for value in row.values()):
            raise ModelsFileError(f"{where}: limits are whole numbers of tokens")
        if name != name.lower():
            raise ModelsFileError(f"{where}: names are matched in lower case")
    return {name: Limits(**row) for name, row in rows.items()}


MODELS: ModelsFile = read_models(MODELS_FILE)
