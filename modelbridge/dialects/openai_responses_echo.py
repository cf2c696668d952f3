"""What a response says of the request that it answers.

Source: OpenAI's OpenAPI document, Response; the values of what was not asked are those that OpenAI
was recorded to send. Nothing is stored, whatever was asked.
"""

from typing import Any

from modelbridge.dialects.openai_responses_tools import ADDED, joined_name
from modelbridge.jsonio import JSONDict
from modelbridge.wire.reply import ReplyHead

_ECHOED: JSONDict = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}


def response_object(
    head: ReplyHead,
    *,
    status: str,
    output: list[JSONDict],
    incomplete_details: JSONDict | None = None,
    usage: JSONDict | None = None,
) -> JSONDict:
    """The response of that status; without a usage until it is known."""
    asked = head.asked
    echoed = {
        name: default if asked.get(name) is None else asked[name]
        for name, default in _ECHOED.items()
    }
    if asked.get("user"):
        echoed["user"] = asked["user"]
    if usage is not None:
        echoed["usage"] = usage
    return {
        "id": "resp_" + head.id.removeprefix("chatcmpl-"),
        "object": "response",
        "created_at": head.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": incomplete_details,
        "model": head.model,
        "output": output,
        "previous_response_id": None,
        "service_tier": "default",
        "store": False,
        **echoed,
        "reasoning": {"effort": None, "summary": None} | _object(asked.get("reasoning")),
        "text": {"format": {"type": "text"}} | _object(asked.get("text")),
        "tools": [_tool(tool) for tool in _objects(asked.get("tools"))],
    }


def names_of(head: ReplyHead) -> dict[str, tuple[str, JSONDict]]:
    """How a response names what functions do not say: by their long names, kind of item and name.

    These are the tools that were offered in namespaces, and the custom ones.
    """
    added = [item for item in _objects(head.asked.get("input")) if item.get("type") == ADDED]
    found: dict[str, tuple[str, JSONDict]] = {}
    for holder in (head.asked, *added):
        for tool in _objects(holder.get("tools")):
            space = tool.get("name") if tool.get("type") == "namespace" else None
            for one in _objects(tool.get("tools")) if space else [tool]:
                kind = "custom_tool_call" if one.get("type") == "custom" else "function_call"
                name = str(one.get("name"))
                named: JSONDict = {"name": name} | ({"namespace": space} if space else {})
                found[joined_name(space, name)] = (kind, named)
    return found


def _tool(tool: JSONDict) -> JSONDict:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}


def _object(value: Any) -> JSONDict:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[JSONDict]:
    found = value if isinstance(value, list) else []
    return [one for one in found if isinstance(one, dict)]
