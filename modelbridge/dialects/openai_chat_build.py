"""The chat request as an OpenAI-compatible upstream wants it: a copy, the cap, and its quirks."""

from typing import Any

from modelbridge.dialects.openai_chat_foreign import without_foreign
from modelbridge.dialects.openai_paths import path_at
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest
from modelbridge.wire.target import Quirks, Target, WireRequest

NAME = "openai_chat"
_PATH = "/chat/completions"
_IN_MESSAGES = "messages."


def build_request(request: ChatRequest, target: Target, max_output: int) -> WireRequest:
    """The body for this upstream, with `max_output` as its cap under the client's word for it.

    A quirk's `drop` of "messages.reasoning_content" leaves that key out of every message: Groq and
    Cerebras answer 400 to it, DeepSeek wants it back. `dropped` names what the client had sent.
    """
    body, dropped = without_foreign(dict(request))
    quirks = target.quirks
    body["model"] = target.model
    _set_cap(body, max_output)
    _set_service_tier(body)
    set_stream_options(body, quirks, dropped)
    body["messages"] = _messages(body["messages"], quirks, dropped)
    for theirs, ours in quirks.rename.items():
        if theirs in body:
            body.setdefault(ours, body.pop(theirs))
    for name in quirks.drop:
        if body.pop(name, None) is not None:
            dropped.append(name)
    for name, value in quirks.force.items():
        if body.get(name, value) != value:
            dropped.append(name)
        body[name] = value
    return WireRequest(path_at(target, NAME, _PATH), body, dropped=tuple(dropped))


def _set_cap(body: JSONDict, max_output: int) -> None:
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is None:
        body.pop("max_completion_tokens", None)
        body["max_tokens"] = max_output
    else:
        body.pop("max_tokens", None)
        body["max_completion_tokens"] = max_output


def _set_service_tier(body: JSONDict) -> None:
    """`auto` is what OpenAI assumes anyway, `standard_only` is Anthropic's word for `default`."""
    tier = body.get("service_tier")
    if tier == "auto":
        del body["service_tier"]
    elif tier == "standard_only":
        body["service_tier"] = "default"


def set_stream_options(body: JSONDict, quirks: Quirks, dropped: list[str]) -> None:
    """The usage is always asked of the upstream, whether or not the client wants to see it."""
    options = body.pop("stream_options", None) or {}
    if not body.get("stream"):
        return
    if quirks.stream_usage == "include_usage":
        body["stream_options"] = {**options, "include_usage": True}
    elif set(options) - {"include_usage"}:
        dropped.append("stream_options")


def _messages(
    messages: list[dict[str, Any]], quirks: Quirks, dropped: list[str]
) -> list[dict[str, Any]]:
    """The messages without what only other wire formats know; none of the given ones is changed.

    `thinking_blocks` are sealed by who made them and mean nothing elsewhere.
    """
    unwanted = [
        name.removeprefix(_IN_MESSAGES) for name in quirks.drop if name.startswith(_IN_MESSAGES)
    ]
    for name in unwanted:
        if any(message.get(name) is not None for message in messages):
            dropped.append(_IN_MESSAGES + name)
    if any(message.get("thinking_blocks") for message in messages):
        dropped.append("thinking_blocks")
    unwanted.append("thinking_blocks")
    return [_message(message, quirks.developer_role, unwanted) for message in messages]


def _message(message: dict[str, Any], developer_role: str, unwanted: list[str]) -> dict[str, Any]:
    if any(name in message for name in unwanted):
        message = {name: value for name, value in message.items() if name not in unwanted}
    if message.get("role") == "developer" and developer_role != "developer":
        message = {**message, "role": developer_role}
    return message
