"""Words of the Responses format to build upstreams' answers with, and to read streams."""

import json
from typing import Any

from modelbridge.dialects import openai_responses
from modelbridge.dialects.base import Front, UpstreamDialect
from modelbridge.wire.reply import ReplyHead
from modelbridge.wire.sse import FrameReader
from modelbridge.wire.target import Quirks, Target

JSONDict = dict[str, Any]
FRONT: Front = openai_responses
UPSTREAM: UpstreamDialect = openai_responses
HEAD = ReplyHead("chatcmpl-1", "gpt-test", 1_760_000_000)
USAGE: JSONDict = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 15,
}
WEATHER: JSONDict = {
    "type": "function",
    "name": "weather",
    "description": "The weather somewhere",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def target(model: str = "gpt-test", **quirks: Any) -> Target:
    return Target(
        upstream_id="up_1",
        upstream="acme",
        provider="openai_responses",
        dialect="openai_responses",
        base_url="https://api.acme.test/v1",
        auth="bearer",
        model=model,
        quirks=Quirks(**quirks),
    )


def message(text: str, id_: str = "msg_1") -> JSONDict:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def function_call(arguments: str = '{"city":"Perth"}', **more: Any) -> JSONDict:
    return {
        "id": "fc_1",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "weather",
        "arguments": arguments,
        **more,
    }


def reasoning(thought: str = "Hm.", sealed: str = "gAAAA") -> JSONDict:
    summary = [{"type": "summary_text", "text": thought}] if thought else []
    return {"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": sealed}


def response(*output: JSONDict, **more: Any) -> JSONDict:
    """A complete response with these items."""
    return {
        "id": "resp_theirs",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-theirs",
        "output": list(output),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "store": False,
        "usage": USAGE,
        **more,
    }


def events_of(told: JSONDict) -> list[JSONDict]:
    """The stream that would have told this response, as OpenAI's API does it."""
    begun = {**told, "status": "in_progress", "output": []}
    begun.pop("usage", None)
    events: list[JSONDict] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for place, item in enumerate(told["output"]):
        events += _item_events(item, {"item_id": item["id"], "output_index": place})
    events.append({"type": f"response.{told['status']}", "response": told})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _item_events(item: JSONDict, at: JSONDict) -> list[JSONDict]:
    place, kind = at["output_index"], item["type"]
    empty: JSONDict = {"message": {"content": []}, "reasoning": {"summary": []}}.get(
        kind, {"arguments": ""}
    )
    begun = {**item, **empty} | ({"status": "in_progress"} if "status" in item else {})
    if kind == "reasoning":
        begun.pop("encrypted_content", None)
        inner = [one for nth, part in enumerate(item["summary"]) for one in _summary(nth, part, at)]
    elif kind == "message":
        inner = [one for nth, part in enumerate(item["content"]) for one in _part(nth, part, at)]
    else:
        name = "response.function_call_arguments"
        inner = [
            {"type": f"{name}.delta", **at, "delta": half} for half in _halves(item, "arguments")
        ]
        inner.append({"type": f"{name}.done", **at, "arguments": item["arguments"]})
    return [
        {"type": "response.output_item.added", "output_index": place, "item": begun},
        *inner,
        {"type": "response.output_item.done", "output_index": place, "item": item},
    ]


def _summary(nth: int, part: JSONDict, at: JSONDict) -> list[JSONDict]:
    at = {**at, "summary_index": nth}
    name = "response.reasoning_summary"
    return [
        {"type": f"{name}_part.added", **at, "part": {**part, "text": ""}},
        *({"type": f"{name}_text.delta", **at, "delta": half} for half in _halves(part, "text")),
        {"type": f"{name}_text.done", **at, "text": part["text"]},
        {"type": f"{name}_part.done", **at, "part": part},
    ]


def _part(nth: int, part: JSONDict, at: JSONDict) -> list[JSONDict]:
    at, field = {**at, "content_index": nth}, "text" if "text" in part else "refusal"
    name = "response.output_text" if field == "text" else "response.refusal"
    more: JSONDict = {"logprobs": []} if field == "text" else {}
    return [
        {"type": "response.content_part.added", **at, "part": {**part, field: ""}},
        *({"type": f"{name}.delta", **at, "delta": half, **more} for half in _halves(part, field)),
        {"type": f"{name}.done", **at, field: part[field], **more},
        {"type": "response.content_part.done", **at, "part": part},
    ]


def _halves(holder: JSONDict, field: str) -> list[str]:
    text = holder[field]
    return [half for half in (text[: len(text) // 2], text[len(text) // 2 :]) if half]


def as_stream(events: list[JSONDict]) -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


def events_in(body: bytes) -> list[JSONDict]:
    """The JSON of every event; each has its own type as its name."""
    found = []
    for frame in FrameReader().feed(body):
        if frame.data:
            found.append(json.loads(frame.data))
            assert frame.event == found[-1]["type"]
    return found
