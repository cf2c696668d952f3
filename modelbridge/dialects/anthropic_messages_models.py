"""Anthropic Messages, upstream half: what a model takes, told from its name; and thinking.

Sources, as of autumn 2026: https://platform.claude.com/docs/en/build-with-claude/effort,
/adaptive-thinking, /extended-thinking, /structured-outputs and
/about-claude/models/migration-guide; checked against the tables in pydantic-ai 2.68.0
(`profiles/anthropic.py`) and @ai-sdk/anthropic 3.0.140 (`getModelCapabilities`).

| version | thinking | sampling fields | notes |
|---|---|---|---|
| below 3.7 | none | yes | |
| 3.7 to 4.5 | `enabled` with `budget_tokens` | yes | schemas from 4.5 on, and Opus 4.1 |
| 4.6 | `adaptive` with effort to `high`, and `max` | yes | |
| 4.7, 4.8 | `adaptive` only, effort also `xhigh` | refused | |
| from 5 on | the same, and thinks unless told not to | refused | some cannot be told |

A Claude model without a version in its name is taken for the newest. A name that is not Claude's
is somebody else's server speaking this format: it gets the format's oldest, most copied form.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelbridge.dialects.anthropic_messages_turns import signed_thinking
from modelbridge.errors import InvalidRequest
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest, Message

MIN_BUDGET_TOKENS = 1024
_NAME = re.compile(r"claude-(?:([a-z]+)-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_FAMILY = re.compile(r"claude-([a-z]+)")
_NEWEST = (99, 0)
# No official equivalence exists; these lie in the range that pydantic-ai and others use.
_BUDGETS = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 32768,
}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "max": "max"}


@dataclass(frozen=True, slots=True)
class Generation:
    """A Claude model's family and version; `version` is None for a model that is not Claude."""

    family: str
    version: tuple[int, int] | None

    def between(self, low: tuple[int, int], high: tuple[int, int]) -> bool:
        """Whether it is a Claude model with low <= version < high."""
        return self.version is not None and low <= self.version < high

    def since(self, *version: int) -> bool:
        """Whether it is a Claude model of that version or a later one."""
        return self.version is not None and self.version >= version

    @property
    def thinks_by_budget(self) -> bool:
        """Takes `{"type": "enabled", "budget_tokens": …}` and nothing newer."""
        return self.version is None or self.between((3, 7), (4, 6))

    @property
    def thinks_unasked(self) -> bool:
        """Thinks when the request says nothing of thinking."""
        return self.since(5)

    @property
    def takes_sampling(self) -> bool:
        """Takes temperature, top_p and top_k; newer models answer 400 to them."""
        return not self.since(4, 7)

    @property
    def takes_schemas(self) -> bool:
        """Enforces JSON schemas: `output_config.format` and strict tools."""
        return (
            self.version is None
            or self.since(4, 5)
            or (self.family, self.version) == ("opus", (4, 1))
        )


def generation_of(model: str) -> Generation:
    """Read the name: `claude-sonnet-4-6`, `claude-3-7-sonnet-20250219`, `claude-opus-5` …"""
    name = model.lower()
    if found := _NAME.search(name):
        return Generation(found[1] or "", (int(found[2]), int(found[3] or 0)))
    if "claude" not in name:
        return Generation("", None)
    family = _FAMILY.search(name)
    return Generation(family[1] if family else "", _NEWEST)


@dataclass(frozen=True, slots=True)
class Thinking:
    """`config` goes into `thinking`, `effort` into `output_config`; None: say nothing.

    `on`: the model may think, so that thinking blocks go back to it and sampling is restricted.
    """

    config: JSONDict | None = None
    effort: str | None = None
    dropped: tuple[str, ...] = ()
    on: bool = False


def choose_thinking(request: ChatRequest, generation: Generation, max_output: int) -> Thinking:
    """What the client's `thinking`, or else its `reasoning_effort`, means for this model.

    `thinking` passes as it is, but for a budget that no longer fits below `max_output`. Raises
    InvalidRequest for an effort that nobody knows.
    """
    effort = request.get("reasoning_effort")
    if effort is not None and effort not in ("none", *_BUDGETS):
        raise InvalidRequest(
            "reasoning_effort must be none, minimal, low, medium, high, xhigh or max",
            param="reasoning_effort",
        )
    asked = request.get("thinking")
    if asked is not None:
        chosen = _as_asked(asked, effort, generation, max_output)
    elif effort is not None:
        chosen = _by_effort(effort, generation, max_output)
    else:
        chosen = Thinking()
    kind = (chosen.config or {}).get("type")
    if kind == "enabled" and _forbidden(request):
        # Manual thinking cannot go with a forced tool, with a prefilled answer, or with a round of
        # tools that was begun without thinking; all three are the API's 400.
        field = "thinking" if asked is not None else "reasoning_effort"
        return Thinking(dropped=(*chosen.dropped, field))
    on = kind not in (None, "disabled") or (kind is None and generation.thinks_unasked)
    return Thinking(chosen.config, chosen.effort, chosen.dropped, on)


def _as_asked(
    asked: JSONDict, effort: str | None, generation: Generation, max_output: int
) -> Thinking:
    if not isinstance(asked, dict):
        raise InvalidRequest("thinking must be an object with a type", param="thinking")
    config, dropped = dict(asked), []
    level = None
    if effort is not None:
        level, exact = _level(effort, generation) if generation.since(4, 6) else (None, False)
        dropped += [] if exact else ["reasoning_effort"]
    budget = config.get("budget_tokens")
    if isinstance(budget, int) and budget >= max_output:
        config["budget_tokens"] = max_output * 4 // 5
        if config["budget_tokens"] < MIN_BUDGET_TOKENS:
            return Thinking(None, level, (*dropped, "thinking"))
        dropped.append("thinking.budget_tokens")
    return Thinking(config, level, tuple(dropped))


def _by_effort(effort: str, generation: Generation, max_output: int) -> Thinking:
    unsaid = ("reasoning_effort",)
    if effort == "none":
        return _told_not_to(generation)
    if generation.thinks_by_budget:
        budget = min(_BUDGETS[effort], max_output * 4 // 5)  # the rest is for the answer
        if budget < MIN_BUDGET_TOKENS:
            return Thinking(dropped=unsaid)
        return Thinking({"type": "enabled", "budget_tokens": budget})
    if not generation.since(4, 6):
        return Thinking(dropped=unsaid)
    config: JSONDict = {"type": "adaptive"}
    if generation.since(4, 7):
        config["display"] = "summarized"  # older ones show their thinking by default, these don't
    level, exact = _level(effort, generation)
    return Thinking(config, level, () if exact else unsaid)


def _level(effort: str, generation: Generation) -> tuple[str | None, bool]:
    """The value of `output_config.effort`, and whether it says exactly what was asked."""
    if effort == "none":
        return None, False
    if effort == "xhigh":
        return ("xhigh", True) if generation.since(4, 7) else ("high", False)
    return _EFFORTS[effort], True


def _told_not_to(generation: Generation) -> Thinking:
    """Thinking off. Sonnet from 5.5 on calls it `between_tools`; a few models cannot stop."""
    if not generation.thinks_unasked:
        return Thinking()
    late = generation.since(5, 5)
    if generation.family in ("fable", "mythos") or (generation.family == "opus" and late):
        return Thinking(None, "low", ("reasoning_effort",))
    if generation.family == "sonnet" and late:
        return Thinking({"type": "between_tools"})
    return Thinking({"type": "disabled"})


def _forbidden(request: ChatRequest) -> bool:
    return _is_forced(request.get("tool_choice")) or _begun_without_thinking(
        request.get("messages") or []
    )


def _is_forced(choice: object) -> bool:
    match choice:
        case "required" | {"type": "function"} | {"allowed_tools": {"mode": "required"}}:
            return True
    return False


def _begun_without_thinking(messages: Sequence[Message]) -> bool:
    """Whether the round that the model is to continue began without signed thinking.

    A round begins after the last message that the user wrote. "When thinking is enabled, a final
    assistant message must start with a thinking block (preceding the lastmost set of tool_use and
    tool_result blocks)", says the API; later messages of the round may lack one.
    """
    opening: Message | None = None
    spoken = [m for m in messages if isinstance(m, dict)]
    for index in range(len(spoken) - 1, -1, -1):
        role = spoken[index].get("role")
        if role == "user" and (index == 0 or spoken[index - 1].get("role") != "tool"):
            break
        if role == "assistant":
            opening = spoken[index]
    return opening is not None and not signed_thinking(opening)
