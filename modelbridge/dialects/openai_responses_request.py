"""The body of `/v1/responses`, read into the canonical chat request.

Source: OpenAI's OpenAPI document, CreateResponse, and what its SDK (openai 3.54.0) and Codex
(0.169.0) send. Nothing is stored here: a call is answered as with `store: false`, and what would
store a response, or need a stored one, is refused. What only this format can say stands under
`responses_fields`: its own half of the way upstream says it again, every other half names it as
dropped. The key is always there, so that its presence tells where a request came from.
"""

from typing import Any, NoReturn, cast

from modelbridge.dialects.openai_chat_messages import (
    optional_object,
    optional_text,
    refuse,
    required_text,
)
from modelbridge.dialects.openai_chat_request import read_model
from modelbridge.dialects.openai_responses_items import read_input
from modelbridge.dialects.openai_responses_tools import flag, read_tools
from modelbridge.errors import UnsupportedParameter
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest

FIELDS = "responses_fields"
ENCRYPTED = "reasoning.encrypted_content"
# Chat completions have these, too, but of their servers only OpenAI's take them all.
OPENAIS = ("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier")
_TRANSLATED = {
    "model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p",
    "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "user", "service_tier",
}  # fmt: skip
# What needs something that is stored elsewhere, or has costs without a bound.
_REFUSED = {
    "store": "no response is stored; leave it out, or send false",
    "previous_response_id": "no response is stored; send the earlier items in 'input'",
    "conversation": "no conversation is stored; send the earlier items in 'input'",
    "background": "a call is answered while you wait; leave it out",
    "background_options": "a call is answered while you wait; leave it out",
    "access_programs": "what such a program costs is not in the price; leave it out",
    "prompt": "what a prompt at the provider holds cannot be priced; send its text in 'input'",
    "context_management": "compaction is billed beside the answer; shorten 'input' yourself",
    "prompt_cache_options": "other ways of caching have other prices; leave it out",
    "moderation": "moderation is not offered here; leave it out",
    "plugins": "plugins are billed beside the tokens; leave it out",
    "models": "name one model in 'model'; fallbacks are configured in ModelBridge",
    "route": "name one model in 'model'; fallbacks are configured in ModelBridge",
    "provider": "the upstream is chosen by ModelBridge; leave it out",
    "n": "a response has one answer; leave it out",
    "best_of": "a response has one answer; leave it out",
}
_OTHER_MAXIMA = (
    "max_tokens", "max_completion_tokens", "max_new_tokens", "n_predict", "num_predict",
    "max_tokens_to_sample",
)  # fmt: skip
# Fields whose value may ask for nothing that is not done anyway.
_SAYS_NOTHING: dict[str, tuple[object, ...]] = {
    "truncation": ("disabled",),
    "top_logprobs": (0,),
    "include": ([],),
    "metadata": ({},),
}


def read_request(body: JSONDict) -> ChatRequest:
    """The canonical request.

    Raises InvalidRequest or UnsupportedParameter naming the parameter, such as `input[2].content`.
    """
    name = read_model(body)
    _refuse_fields(body)
    fields: JSONDict = {
        name: value
        for name, value in body.items()
        if name not in _TRANSLATED
        and name not in _REFUSED
        and value is not None
        and value not in _SAYS_NOTHING.get(name, ())
    }
    request: JSONDict = {
        "model": name,
        "messages": [*_instructions(body), *read_input(body.get("input"))],
        FIELDS: fields,
    }
    if flag(body, "stream"):
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    request |= _numbers(body) | _plain(body) | read_tools(body, fields)
    request |= _text(body, fields) | _reasoning(body, fields)
    return cast(ChatRequest, request)


def unsaid_fields(request: JSONDict) -> list[str]:
    """The names of what only this format can say, for formats that cannot."""
    fields = request.get(FIELDS)
    if not isinstance(fields, dict):
        return []
    done = {"metadata": fields.get("metadata"), "include": [ENCRYPTED]}  # here, for every model
    return [name for name, value in fields.items() if name not in done or value != done[name]]


def _refuse_fields(body: JSONDict) -> None:
    for name, advice in _REFUSED.items():
        if body.get(name) not in (None, False, []):
            _unsupported(name, advice)
    for name in _OTHER_MAXIMA:
        if body.get(name) is not None:
            _unsupported(name, "use 'max_output_tokens' instead")
    optional_object(body, "stream_options", "stream_options")
    _texts(body.get("include"), "include")


def _instructions(body: JSONDict) -> list[JSONDict]:
    optional_text(body, "instructions", "instructions")
    text = body.get("instructions")
    return [{"role": "system", "content": text}] if text else []


def _numbers(body: JSONDict) -> JSONDict:
    found: JSONDict = {}
    maximum = body.get("max_output_tokens")
    if maximum is not None:
        if type(maximum) is not int or maximum < 1:
            refuse("max_output_tokens", "must be a whole number, 1 or more")
        found["max_completion_tokens"] = maximum
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            refuse(name, f"must be a number between 0 and {most}")
        found[name] = value
    return found


def _plain(body: JSONDict) -> JSONDict:
    """Fields that are the same in both formats; a tier with another price is refused."""
    optional_text(body, "user", "user")
    optional_object(body, "metadata", "metadata")
    if body.get("service_tier") not in (None, "auto", "default"):
        _unsupported("service_tier", "only the default tier has a known price; leave it out")
    found = {"user": body["user"]} if body.get("user") else {}
    if body.get("parallel_tool_calls") is not None and not flag(body, "parallel_tool_calls"):
        found["parallel_tool_calls"] = False
    return found


# The answer's form, and the thought before it


def _text(body: JSONDict, fields: JSONDict) -> JSONDict:
    optional_object(body, "text", "text", 'an object such as {"format": {"type": "text"}}')
    text: JSONDict = dict(body.get("text") or {})
    optional_object(text, "format", "text.format")
    optional_text(text, "verbosity", "text.verbosity")
    wanted, verbosity = text.pop("format", None), text.pop("verbosity", None)
    found = {"verbosity": verbosity} if verbosity else {}
    if text:
        fields["text"] = text
    if wanted is None or wanted.get("type") == "text":
        return found
    if wanted.get("type") == "json_object":
        return {**found, "response_format": {"type": "json_object"}}
    if wanted.get("type") != "json_schema":
        refuse("text.format.type", "must be 'text', 'json_object' or 'json_schema'")
    required_text(wanted, "name", "text.format.name")
    if not isinstance(wanted.get("schema"), dict):
        refuse("text.format.schema", "must be a JSON schema")
    described = {name: wanted[name] for name in wanted if name != "type"}
    return {**found, "response_format": {"type": "json_schema", "json_schema": described}}


def _reasoning(body: JSONDict, fields: JSONDict) -> JSONDict:
    optional_object(body, "reasoning", "reasoning", 'an object such as {"effort": "low"}')
    reasoning = {k: v for k, v in (body.get("reasoning") or {}).items() if v is not None}
    optional_text(reasoning, "effort", "reasoning.effort")
    effort, mode = reasoning.pop("effort", None), reasoning.pop("mode", "standard")
    if mode != "standard":
        _unsupported("reasoning.mode", "only the standard mode has a known price; leave it out")
    if reasoning:
        fields["reasoning"] = reasoning
    return {"reasoning_effort": effort} if effort else {}


def _texts(value: Any, place: str) -> None:
    if value is not None and not (
        isinstance(value, list) and all(isinstance(one, str) for one in value)
    ):
        refuse(place, "must be a list of strings")


def _unsupported(name: str, advice: str) -> NoReturn:
    raise UnsupportedParameter(f"'{name}' is not supported here: {advice}.", param=name)
