"""Gemini, upstream half: what a model takes, told from its name; and thinking.

Sources, as of autumn 2026: https://ai.google.dev/gemini-api/docs/thinking (levels and budgets),
/openai (what `reasoning_effort` comes to), /generate-content/whats-new-gemini-3.6, and
https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/gemini/3-6-flash ("custom
values of temperature, top-K and top-P are ignored; frequency and presence penalties throw an
error"); checked against the table in pydantic-ai 2.68.0 (`profiles/google.py`).

| version | thinking | sampling fields |
|---|---|---|
| Gemini below 2.5, Gemma | none | yes |
| 2.5 | `thinkingBudget`; 0 is off, but for Pro | yes |
| 3.0 to 3.5 | `thinkingLevel`, cannot be off | yes |
| from 3.6 on | the same | ignored, the penalties refused |

A Gemini without a version in its name is taken for the newest; a name that is neither Gemini's nor
Gemma's (a tuned model) gets nothing that an old model could refuse.
"""

import re
from dataclasses import dataclass

from modelbridge.errors import InvalidRequest
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest

_NAME = re.compile(r"(gemini|gemma)-(\d{1,2})(?:\.(\d{1,2}))?(?![\d.])")
_NEWEST = (99, 0)
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
_ABOVE_HIGH = ("xhigh", "max")
_EFFORTS = ("none", *_BUDGETS, *_ABOVE_HIGH)
_LEAST_BUDGET_OF_PRO, _LEAST_BUDGET_OF_LITE = 128, 512
_FLASH_MOST, _PRO_MOST = 24576, 32768


@dataclass(frozen=True, slots=True)
class Generation:
    """A model's family, version and whether it is a Pro or a Lite; None: not Google's naming."""

    family: str
    version: tuple[int, int] | None
    is_pro: bool = False
    is_lite: bool = False

    def since(self, *version: int) -> bool:
        """Whether it is a Gemini of that version or a later one."""
        return self.family == "gemini" and self.version is not None and self.version >= version

    @property
    def thinks_by_budget(self) -> bool:
        """Takes `thinkingBudget`, and no level."""
        return self.since(2, 5) and not self.since(3)

    @property
    def takes_sampling(self) -> bool:
        """Listens to temperature, topP and topK, and does not refuse the penalties."""
        return not self.since(3, 6)

    @property
    def takes_system(self) -> bool:
        """Has a place for the system's words; Gemma 3 and older answer 400 to them."""
        return not (self.family == "gemma" and self.version is not None and self.version < (4, 0))

    @property
    def reads_pictures_in_results(self) -> bool:
        """Takes pictures and documents as parts of a function's response."""
        return self.since(3)

    @property
    def levels(self) -> tuple[str, ...]:
        """The thinking levels it knows, least first. An unknown newer model has no `minimal`."""
        if self.is_pro:
            return ("low", "medium", "high") if self.since(3, 1) else ("low", "high")
        return ("low", "medium", "high") if self.since(3, 7) else ("minimal", *_LEVELS)


_LEVELS = ("low", "medium", "high")


def generation_of(model: str) -> Generation:
    """Read the name: `gemini-2.5-pro`, `models/gemini-3-flash-preview`, `gemini-flash-latest` …"""
    name = model.lower().removeprefix("models/")
    is_pro, is_lite = "-pro" in name, "-lite" in name
    if found := _NAME.search(name):
        return Generation(found[1], (int(found[2]), int(found[3] or 0)), is_pro, is_lite)
    if name in ("gemini-pro", "gemini-pro-vision"):
        return Generation("gemini", (1, 0), is_pro=True)
    if name.startswith("gemini-"):
        return Generation("gemini", _NEWEST, is_pro, is_lite)
    return Generation("gemma" if name.startswith("gemma") else "", None)


@dataclass(frozen=True, slots=True)
class Thinking:
    """`config` goes into `thinkingConfig`; None: say nothing."""

    config: JSONDict | None = None
    dropped: tuple[str, ...] = ()


def choose_thinking(
    request: ChatRequest, effort: object, generation: Generation, max_output: int
) -> Thinking:
    """What the client's `thinking`, or else the effort it asked for, means for this model.

    Whoever asks for thinking sees the thoughts. Raises InvalidRequest for an effort that nobody
    knows.
    """
    if effort is not None and effort not in _EFFORTS:
        raise InvalidRequest(
            f"reasoning_effort must be {', '.join(_EFFORTS[:-1])} or {_EFFORTS[-1]}",
            param="reasoning_effort",
        )
    asked = request.get("thinking")
    if asked is None:
        return _by_effort(str(effort), generation, max_output) if effort else Thinking()
    if not isinstance(asked, dict):
        raise InvalidRequest("thinking must be an object with a type", param="thinking")
    if asked.get("type") == "disabled":
        return _renamed(_told_not_to(generation), "thinking")
    if not generation.since(2, 5):
        return Thinking(dropped=("thinking",))
    budget = asked.get("budget_tokens")
    if effort and effort != "none":
        chosen = _by_effort(str(effort), generation, max_output)
        unsaid = ("thinking.budget_tokens",) if isinstance(budget, int) else ()
        return Thinking(chosen.config or {"includeThoughts": True}, chosen.dropped + unsaid)
    if not isinstance(budget, int) or isinstance(budget, bool):
        return Thinking({"includeThoughts": True})
    if not generation.thinks_by_budget:  # it has levels, for which a number stands for nothing
        return Thinking({"includeThoughts": True}, ("thinking.budget_tokens",))
    fit = _fitting(budget, generation, max_output)
    inexact = ("thinking.budget_tokens",) if fit != budget else ()
    return _with_budget(fit, inexact) if fit else Thinking(dropped=("thinking",))


def _by_effort(effort: str, generation: Generation, max_output: int) -> Thinking:
    unsaid = ("reasoning_effort",)
    if effort == "none":
        return _told_not_to(generation)
    if not generation.since(2, 5):
        return Thinking(dropped=unsaid)
    inexact = unsaid if effort in _ABOVE_HIGH else ()
    wanted = "high" if effort in _ABOVE_HIGH else effort
    if generation.thinks_by_budget:
        fit = _fitting(_BUDGETS[wanted], generation, max_output)
        return _with_budget(fit, inexact) if fit else Thinking(dropped=unsaid)
    known = generation.levels
    level = wanted if wanted in known else known[-1] if wanted == "medium" else known[0]
    config = {"thinkingLevel": level, "includeThoughts": True}
    return Thinking(config, inexact if level == wanted else unsaid)


def _told_not_to(generation: Generation) -> Thinking:
    """Thinking off, or as little of it as the model can."""
    unsaid = ("reasoning_effort",)
    if not generation.since(2, 5):
        return Thinking()
    if not generation.thinks_by_budget:
        return Thinking({"thinkingLevel": generation.levels[0]}, unsaid)
    if generation.is_pro:
        return Thinking({"thinkingBudget": _LEAST_BUDGET_OF_PRO}, unsaid)
    return Thinking({"thinkingBudget": 0})


def _fitting(budget: int, generation: Generation, max_output: int) -> int:
    """The budget within the model's range and below the output cap, which thoughts share; or 0."""
    most = _PRO_MOST if generation.is_pro else _FLASH_MOST
    least = _LEAST_BUDGET_OF_LITE if generation.is_lite else _LEAST_BUDGET_OF_PRO
    fit = min(max(budget, least), most, max_output * 4 // 5)  # the rest is for the answer
    return fit if fit >= least else 0


def _with_budget(budget: int, dropped: tuple[str, ...]) -> Thinking:
    return Thinking({"thinkingBudget": budget, "includeThoughts": True}, dropped)


def _renamed(thinking: Thinking, name: str) -> Thinking:
    return Thinking(thinking.config, (name,) if thinking.dropped else ())
