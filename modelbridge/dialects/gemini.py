"""Gemini's own API, `generateContent` and `streamGenerateContent`, version v1beta: what we speak
to Google.

This file turns a canonical chat request into its body; the conversation is in `gemini_turns`,
tools and schemas in `gemini_schema`, what each model takes in `gemini_models`, the way back in
`gemini_reply`, errors in `gemini_errors`. Source: https://ai.google.dev/api/generate-content, and
the types of Google's own SDK (google-genai 3.4.0).

Decisions where the two APIs differ, besides those named in the other files:

- `maxOutputTokens` is always the output cap that was paid for. It bounds thoughts and answer
  together (https://github.com/googleapis/python-genai/issues/2062), while `thinkingBudget` bounds
  nothing (python-genai#1795): the price's bound rests on the former alone.
- `n`: `candidateCount` is refused by every Gemini from 3 on, and the older ones' candidates would
  have to be merged: one answer only. Log probabilities have no place in the canonical reply: 400.
- Sampling fields that a model ignores or refuses are named as dropped.
- Gemini's own tools (search, code, maps) have costs without a bound: 400.
- A `seed` beyond 32 bits is folded into them: equal seeds stay equal.
"""

from typing import Any, cast
from urllib.parse import quote

from modelbridge.dialects.anthropic_front_request import FIELDS
from modelbridge.dialects.gemini_errors import read_error
from modelbridge.dialects.gemini_models import Generation, choose_thinking, generation_of
from modelbridge.dialects.gemini_reply import read_reply, read_stream
from modelbridge.dialects.gemini_schema import build_format, build_tools
from modelbridge.dialects.gemini_turns import build_turns
from modelbridge.dialects.translating import spelled, stop_texts, unsaid
from modelbridge.errors import InvalidRequest, UnsupportedParameter
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest
from modelbridge.wire.target import Target, WireRequest

__all__ = [
    "NAME",
    "build_request",
    "path_of",
    "read_error",
    "read_reply",
    "read_stream",
    "resource_of",
]

NAME = "gemini"
VERSION_PATH = "/v1beta"

_TRANSLATED = {
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "stop",
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort",
    "thinking", FIELDS,
}  # fmt: skip
# What changes the meaning of the call, with the values that ask for nothing.
_REFUSED: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none",),
    "web_search_options": (),
    "mcp_servers": ([],),
}
# Hints whose value may ask for nothing; every field that is in no table is a hint, too.
_SAYS_NOTHING: dict[str, tuple[object, ...]] = {
    "logit_bias": ({},),
    "store": (False,),
    "metadata": ({},),
    "service_tier": ("auto", "default", "standard_only"),
}
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_MOST_STOPS = 5
_SEEDS = 2**31


def build_request(request: ChatRequest, target: Target, max_output: int) -> WireRequest:
    """The request for `generateContent`; `dropped` names the hints that it cannot say.

    Raises InvalidRequest for what is malformed, UnsupportedParameter for what would change the
    meaning of the call; both name the field.
    """
    fields = cast(JSONDict, request)
    dropped = unsaid(fields, _TRANSLATED, _REFUSED, _SAYS_NOTHING)
    effort = request.get("reasoning_effort") or _anthropics_effort(fields.get(FIELDS), dropped)
    generation = generation_of(target.model)
    turns = build_turns(request.get("messages") or [], generation)
    thinking = choose_thinking(request, effort, generation, max_output)
    dropped += [*turns.dropped, *thinking.dropped]
    config: JSONDict = {"maxOutputTokens": max_output, **_sampling(fields, generation, dropped)}
    if stops := _stops(request.get("stop")):
        config["stopSequences"] = stops
    config |= build_format(request.get("response_format"), dropped)
    if thinking.config is not None:
        config["thinkingConfig"] = thinking.config
    body: JSONDict = {"contents": turns.contents}
    if turns.system:
        body["systemInstruction"] = {"parts": turns.system}
    body |= build_tools(request, dropped)
    body["generationConfig"] = config
    method = "streamGenerateContent?alt=sse" if request.get("stream") else "generateContent"
    return WireRequest(path_of(target, method), body, dropped=spelled(dropped))


def resource_of(target: Target) -> str:
    """The model's full name; one with a slash is a whole resource's already."""
    return target.model if "/" in target.model else f"models/{target.model}"


def path_of(target: Target, method: str) -> str:
    """Where that method of the model is: the model is in the address, quoted."""
    prefix = target.quirks.paths.get(NAME, VERSION_PATH)
    return f"{prefix}/{quote(resource_of(target), safe='/')}:{method}"


def _anthropics_effort(own: object, dropped: list[str]) -> Any:
    """The effort that a request in Anthropic's format asks for; what else it alone has is named."""
    if not isinstance(own, dict):
        return None
    dropped += [name for name in own if name != "output_config"]
    config = own.get("output_config")
    return config.get("effort") if isinstance(config, dict) else None


def _sampling(request: JSONDict, generation: Generation, dropped: list[str]) -> JSONDict:
    said: JSONDict = {}
    for name, theirs in _SAMPLING.items():
        value = request.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise InvalidRequest(f"{name} must be a number", param=name)
        if value is None or (value == 0 and name.endswith("penalty")):
            continue
        if generation.takes_sampling:
            said[theirs] = value
        elif value != 1 or name not in ("temperature", "top_p"):  # 1 is what these are anyway
            dropped.append(name)
    seed = request.get("seed")
    if seed is not None:
        if type(seed) is not int:
            raise InvalidRequest("seed must be a whole number", param="seed")
        said["seed"] = seed % _SEEDS
    return said


def _stops(stop: object) -> list[str]:
    found = stop_texts(stop)
    if len(found) > _MOST_STOPS:
        raise UnsupportedParameter(
            f"this model takes at most {_MOST_STOPS} stop sequences, not {len(found)}", param="stop"
        )
    return found
