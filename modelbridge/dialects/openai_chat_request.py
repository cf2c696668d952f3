"""The body of a chat completion, read strictly where it touches money, routing or translation.

Fields that are not named here are kept as they are; the upstream judges them. Null means absent,
as it does at OpenAI. Source: OpenAI's OpenAPI document, CreateChatCompletionRequest.
"""

from collections.abc import Callable
from typing import Any, NoReturn, cast

from modelbridge import ids
from modelbridge.dialects.openai_chat_messages import (
    check_messages,
    objects,
    optional_object,
    optional_text,
    refuse,
    required_text,
)
from modelbridge.errors import UnsupportedParameter
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest

_MOST_CHOICES = 128
_TOOL_CHOICES = ("none", "auto", "required")
_SERVICE_TIERS = ("auto", "default", "standard_only")

# What multiplies the cost beyond any bound that we can compute, and what to do instead.
_UNBOUNDED = {
    "web_search_options": "searches are billed beside the tokens; offer a function tool instead",
    "search_parameters": "searches are billed beside the tokens; offer a function tool instead",
    "background": "a call is answered while you wait; leave it out",
    "deferred": "a call is answered while you wait; leave it out",  # xAI's word for the same
    "audio": "answers in sound are not supported; ask for text",
    "prediction": "rejected prediction tokens are billed beside the output; leave it out",
    "plugins": "plugins are billed beside the tokens; leave it out",
    "models": "name one model in 'model'; fallbacks are configured in ModelBridge",
    "route": "name one model in 'model'; fallbacks are configured in ModelBridge",
    "provider": "the upstream is chosen by ModelBridge; leave it out",
    "mcp_servers": "call the MCP server yourself and offer its functions as tools",
    "moderation": "moderation is not offered here; leave it out",
    "prompt_cache_options": "other ways of caching have other prices; leave it out",
    "chat_template": "a template can say anything at any length; set it where the model is served",
    "mm_processor_kwargs": "it says how many tokens a picture is; set it where the model is served",
    "enable_search": "searches are billed beside the tokens; offer a function tool instead",
    # Our own words for what came in another format: from a client they would evade the hold.
    "responses_fields": "it is no field of this format; leave it out",
    "anthropic_fields": "it is no field of this format; leave it out",
}
# Other servers' words for what 'max_completion_tokens' and 'n' say: they would evade the hold.
_MAXIMUM = "max_completion_tokens"
_OTHER_WORDS = {
    "n_predict": _MAXIMUM,
    "num_predict": _MAXIMUM,
    "max_new_tokens": _MAXIMUM,
    "max_output_tokens": _MAXIMUM,
    "max_tokens_to_sample": _MAXIMUM,
    "best_of": "n",
    "n_cmpl": "n",
}
_SUSPECT = _UNBOUNDED.keys() | _OTHER_WORDS.keys()


def read_request(body: JSONDict) -> ChatRequest:
    """The same dict: OpenAI's chat body is the canonical request.

    Raises InvalidRequest or UnsupportedParameter naming the parameter, such as
    `messages[2].content`.
    """
    read_model(body)
    check_messages(body.get("messages"))
    for name, value in body.items():
        if value is not None and (check := CHECKS.get(name)) is not None:
            check(value, name)
    _check_maximum(body)
    _check_tools(body)
    check_stream_options(body)
    refuse_unbounded(body)
    return cast(ChatRequest, body)


def read_model(body: JSONDict) -> str:
    """The name of the model. Raises InvalidRequest."""
    if ids.hide_keys(name := required_text(body, "model", "model")) != name:
        refuse("model", "holds an API key; send a model's name, and the key in Authorization")
    return name


# One field each


def boolean(value: object, name: str) -> None:
    """Raises InvalidRequest unless it is one."""
    if not isinstance(value, bool):
        refuse(name, "must be true or false")


def whole(least: int, most: int | None = None) -> Callable[[object, str], None]:
    """A check that raises InvalidRequest for anything but whole numbers between the two."""
    bounds = f"{least} or more" if most is None else f"between {least} and {most}"

    def check(value: object, name: str) -> None:
        if type(value) is not int or value < least or (most is not None and value > most):
            refuse(name, f"must be a whole number, {bounds}")

    return check


def _number(least: float, most: float) -> Callable[[object, str], None]:
    def check(value: object, name: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(name, "must be a number")
        if not least <= value <= most:
            refuse(name, f"must be between {least:g} and {most:g}")

    return check


def text(value: object, name: str) -> None:
    """Raises InvalidRequest unless it is one."""
    if not isinstance(value, str):
        refuse(name, "must be a string")


def _object(value: object, name: str) -> None:
    if not isinstance(value, dict):
        refuse(name, "must be an object")


def _stop(value: object, name: str) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        refuse(name, "must be a string or a list of strings")


def _response_format(value: object, name: str) -> None:
    if not isinstance(value, dict):
        refuse(name, 'must be an object such as {"type": "json_object"}')
    required_text(value, "type", f"{name}.type")
    if value["type"] != "json_schema":
        return
    described = value.get("json_schema")
    if not isinstance(described, dict):
        refuse(f"{name}.json_schema", "must be an object with 'name' and 'schema'")
    optional_text(described, "name", f"{name}.json_schema.name")
    optional_object(described, "schema", f"{name}.json_schema.schema", "a JSON schema")


def _service_tier(value: object, name: str) -> None:
    if value not in _SERVICE_TIERS:
        _unsupported(name, "only the default tier has a known price; leave it out")


def _modalities(value: object, name: str) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        refuse(name, "must be a list of strings")
    if any(item != "text" for item in value):
        _unsupported(name, 'only answers in text have a known price; ask for ["text"]')


CHECKS: dict[str, Callable[[Any, str], None]] = {
    "stream": boolean,
    "stream_options": _object,
    "max_tokens": whole(1),
    "max_completion_tokens": whole(1),
    "n": whole(1, _MOST_CHOICES),
    "parallel_tool_calls": boolean,
    "response_format": _response_format,
    "stop": _stop,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "logprobs": boolean,
    "top_logprobs": whole(0, 20),
    "logit_bias": _object,
    "seed": whole(-(2**63)),
    "user": text,
    "metadata": _object,
    "reasoning_effort": text,
    "thinking": _object,
    "service_tier": _service_tier,
    "modalities": _modalities,
}


# Fields that hang together


def _check_maximum(body: JSONDict) -> None:
    old, new = body.get("max_tokens"), body.get("max_completion_tokens")
    if old is not None and new is not None and old != new:
        refuse(
            "max_tokens", f"is {old}, but 'max_completion_tokens' is {new}; send only the latter"
        )


def check_stream_options(body: JSONDict) -> None:
    """Raises InvalidRequest unless they are absent, or fit the stream that is asked for."""
    options = body.get("stream_options")
    if options is None:
        return
    if not body.get("stream"):
        refuse("stream_options", "is only allowed when 'stream' is true")
    for name, value in options.items():
        if name.startswith("include_") and value is not None:
            boolean(value, f"stream_options.{name}")


def _check_tools(body: JSONDict) -> None:
    names = set()
    for place, tool in objects(body.get("tools"), "tools"):
        kind = tool.get("type")
        if kind not in ("function", "custom"):
            _unsupported(
                f"{place}.type",
                f"is {kind!r}, but only tools of type 'function' or 'custom' can be bounded in "
                "cost; run other tools yourself",
            )
        described = tool.get(kind)
        if not isinstance(described, dict):
            refuse(f"{place}.{kind}", "must be an object with a 'name'")
        names.add(required_text(described, "name", f"{place}.{kind}.name"))
        optional_text(described, "description", f"{place}.{kind}.description")
        optional_object(described, "parameters", f"{place}.{kind}.parameters", "a JSON schema")
    for place, function in objects(body.get("functions"), "functions"):
        required_text(function, "name", f"{place}.name")
    _check_tool_choice(body.get("tool_choice"), names)


def _check_tool_choice(choice: object, names: set[str]) -> None:
    if choice is None or choice in ("none", "auto"):
        return
    if not names:
        refuse("tool_choice", "is only allowed when 'tools' has tools")
    if choice == "required":
        return
    if not isinstance(choice, dict):
        refuse("tool_choice", f"must be one of {', '.join(_TOOL_CHOICES)}, or an object")
    kind = choice.get("type")
    if kind == "allowed_tools":
        _check_allowed_tools(choice.get("allowed_tools"))
    elif kind in ("function", "custom"):
        named = choice.get(kind)
        if not isinstance(named, dict):
            refuse(f"tool_choice.{kind}", "must be an object with a 'name'")
        name = required_text(named, "name", f"tool_choice.{kind}.name")
        if name not in names:
            refuse(f"tool_choice.{kind}.name", f"is {name!r}, which is not among 'tools'")
    else:
        refuse("tool_choice.type", "must be 'function', 'custom' or 'allowed_tools'")


def _check_allowed_tools(allowed: object) -> None:
    place = "tool_choice.allowed_tools"
    if not isinstance(allowed, dict):
        refuse(place, "must be an object with 'mode' and 'tools'")
    if allowed.get("mode") not in ("auto", "required"):
        refuse(f"{place}.mode", "must be 'auto' or 'required'")
    for _ in objects(allowed.get("tools"), f"{place}.tools"):
        pass


def refuse_unbounded(
    body: JSONDict, *, maximum: str = _MAXIMUM, allowed: tuple[str, ...] = ()
) -> None:
    """Raises UnsupportedParameter for what would cost more than the hold.

    `maximum`: the format's own word for the most output tokens; `allowed`: words of the format's.
    """
    if _SUSPECT.isdisjoint(body):
        return
    for name, advice in _UNBOUNDED.items():
        if body.get(name) not in (None, False):
            _unsupported(name, advice)
    for name, ours in _OTHER_WORDS.items():
        if body.get(name) is not None and name not in allowed:
            _unsupported(name, f"use '{maximum if ours == _MAXIMUM else ours}' instead")


def _unsupported(name: str, advice: str) -> NoReturn:
    raise UnsupportedParameter(f"'{name}' is not supported here: {advice}.", param=name)
