"""OpenAI's `usage` object, to and from our disjoint classes.

`prompt_tokens` includes the tokens read from the cache, written to it and of sound;
`completion_tokens` includes reasoning and sound. Source: OpenAI's OpenAPI document,
CompletionUsage, and what compatible servers were recorded to send.
"""

from typing import Any

from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage

_MOST = 2**53


class _AbsurdError(ValueError):
    """A count that no upstream can mean: the whole report is then worth nothing."""


def read_usage(value: object) -> Usage | None:
    """The counts of a `usage` object; None if there is none or any count in it is absurd.

    None is not zero: a report that cannot be believed must not make a call free.
    """
    if not isinstance(value, dict):
        return None
    try:
        return _read(value)
    except _AbsurdError:
        return None


def usage_object(body: JSONDict) -> object:
    """Where a reply or chunk keeps its usage: at the top, or, streamed by Groq, in `x_groq`."""
    found = body.get("usage")
    if found is None and isinstance(groq := body.get("x_groq"), dict):
        found = groq.get("usage")
    return found


def write_usage(usage: Usage) -> JSONDict:
    """The `usage` object that says these counts."""
    prompt: dict[str, Any] = {
        "cached_tokens": usage.cache_read,
        "audio_tokens": usage.audio_input,
    }
    if written := usage.cache_write + usage.cache_write_1h:
        prompt["cache_write_tokens"] = written
    return {
        "prompt_tokens": usage.total_input,
        "completion_tokens": usage.total_output,
        "total_tokens": usage.total_input + usage.total_output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _read(value: JSONDict) -> Usage:
    prompt = _required(value, "prompt_tokens")
    prompt_details = _details(value, "prompt_tokens_details")
    # DeepSeek and Moonshot have words of their own for it, or had.
    in_words = (_count(value, name) for name in ("prompt_cache_hit_tokens", "cached_tokens"))
    cached = _count(prompt_details, "cached_tokens") or max(in_words)
    written = _count(prompt_details, "cache_write_tokens")
    if cached + written > prompt:
        raise _AbsurdError
    # A cached token of sound is counted in both details; it is then priced as cached.
    audio = min(_count(prompt_details, "audio_tokens"), prompt - cached - written)
    output, reasoning = _read_output(value, prompt)
    spoken = _count(_details(value, "completion_tokens_details"), "audio_tokens")
    if spoken > output:
        raise _AbsurdError
    return Usage(
        input=prompt - cached - written - audio,
        cache_read=cached,
        cache_write=written,
        audio_input=audio,
        output=output - spoken,
        audio_output=spoken,
        reasoning=min(reasoning, output - spoken),
    )


def _read_output(value: JSONDict, prompt: int) -> tuple[int, int]:
    """All output tokens, and how many of them were reasoning.

    xAI leaves reasoning out of `completion_tokens`, Gemini's compatible endpoint does not even
    name it: there the total alone tells, and what it has beyond the two parts is billed as output.
    """
    completion = _required(value, "completion_tokens")
    reasoning = _count(_details(value, "completion_tokens_details"), "reasoning_tokens")
    beyond = max(0, _count(value, "total_tokens") - prompt - completion)
    if reasoning and beyond == reasoning:
        return completion + reasoning, reasoning
    if not reasoning:
        return completion + beyond, beyond
    if reasoning > completion:
        raise _AbsurdError
    return completion, reasoning


def _details(value: JSONDict, name: str) -> JSONDict:
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _AbsurdError
    return found


def _required(value: JSONDict, name: str) -> int:
    if value.get(name) is None:
        raise _AbsurdError
    return _count(value, name)


def _count(value: JSONDict, name: str) -> int:
    """A token count; 0 when it is not there."""
    found = value.get(name)
    if found is None:
        return 0
    if type(found) is not int or not 0 <= found <= _MOST:
        raise _AbsurdError
    return found
