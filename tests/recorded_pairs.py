"""Every recorded answer, whole and streamed; and what the official SDKs make of an answer.

A recorded whole answer is told as the stream that would have told it, too, so that both can be
compared. `Told` is what a client sees, in words that all formats share.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import anthropic
from openai import OpenAI
from recordings import FOLDER, Recording, available, recording
from replay import as_message_stream
from responses_words import as_stream, events_of

from modelbridge.catalog.providers import PROVIDERS
from modelbridge.dialects.registry import UPSTREAM_DIALECTS
from modelbridge.wire.reply import Reply, fold
from modelbridge.wire.sse import FrameReader

JSONDict = dict[str, Any]
# In which format a recording is, by the beginning of its name, and the row of providers.toml to
# call it by. All others speak chat completions, as rows that only requests differ for.
ROWS = {
    "aisdk-anthropic": "anthropic",
    "anthropic": "anthropic",
    "aisdk-gemini": "gemini",
    "gemini": "gemini",
    "gemini-openai-compat": "openai_compatible",
    "openai-responses": "openai_responses",
}
MODELS = {"anthropic": "claude-sonnet-4-6", "gemini": "gemini-2.5-flash"}
DIALECTS = {"anthropic": "anthropic_messages", "gemini": "gemini"}
FRONTS = {
    "chat": "openai_chat",
    "messages": "anthropic_messages",
    "responses": "openai_responses",
    "completions": "openai_completions",
}
CHATS_ALONE = "deepseek"
# Recordings that are no answer of a model to a conversation.
OTHERS = ("error", "count-tokens", "embeddings", "openai-completion")
HELLO: Any = [{"role": "user", "content": "Hello"}]


@dataclass
class Told:
    """What a client was told. `calls`: names and arguments as values; `finish` in chat's words."""

    text: str
    reasoning: str
    calls: list[tuple[str, Any]]
    finish: str | None
    usage: tuple[int, int] | None


def row_of(name: str, front: str = "") -> str:
    """The provider's row, by the longest beginning that fits.

    An upstream that has legacy completions itself is asked for these, and not for a chat: what was
    recorded of a chat is then the answer of a row that chats alone.
    """
    begun = max((begin for begin in ROWS if name.startswith(begin)), key=len, default="")
    row = ROWS.get(begun, "openai_compatible")
    completes = "completions" in PROVIDERS[row].endpoints
    return CHATS_ALONE if front == "completions" and completes else row


def dialect_of(name: str) -> str:
    """The wire format that it is in."""
    row = row_of(name)
    return DIALECTS.get(row, row if row == "openai_responses" else "openai_chat")


def answers() -> list[str]:
    """The names of all recorded answers of models."""
    found = sorted(path.name.removesuffix(".meta.json") for path in FOLDER.glob("*.meta.json"))
    return [name for name in found if not any(other in name for other in OTHERS)]


def cases() -> Iterator[tuple[str, str, bool]]:
    """Recording, front, and whether it is streamed: every one that makes sense.

    A stream has no whole counterpart; a legacy completion says no calls of tools.
    """
    for name in answers() if available else ():
        is_stream = "event-stream" in recording(name).headers["content-type"]
        for front in FRONTS:
            if front == "completions" and canonical(name).tool_calls:
                continue
            for streamed in (True,) if is_stream else (False, True):
                yield name, front, streamed


def played(name: str, *, streamed: bool) -> Recording:
    """The answer as the upstream gives it."""
    found = recording(name)
    if not streamed or "event-stream" in found.headers["content-type"]:
        return found
    match dialect_of(name):
        case "anthropic_messages":
            return as_message_stream(found)
        case "openai_responses":
            body = as_stream(events_of(found.json()))
        case "gemini":
            body = b"data: " + json.dumps(found.json()).encode() + b"\r\n\r\n"
        case _:
            body = _chunks(found.json())
    return replace(found, headers={"content-type": "text/event-stream"}, body=body)


def _chunks(whole: JSONDict) -> bytes:
    """A chat completion in one chunk, its usage in another."""
    (choice,) = whole["choices"]
    delta = dict(choice["message"])
    if delta.get("tool_calls"):
        delta["tool_calls"] = [{"index": n, **c} for n, c in enumerate(delta["tool_calls"])]
    head = {**whole, "object": "chat.completion.chunk", "usage": None}
    told = {"index": 0, "delta": delta, "logprobs": None}
    chunks = [
        {**head, "choices": [{**told, "finish_reason": None}]},
        {**head, "choices": [{**told, "delta": {}, "finish_reason": choice["finish_reason"]}]},
        {**head, "choices": [], "usage": whole["usage"]},
    ]
    return b"".join(f"data: {json.dumps(c)}\n\n".encode() for c in chunks) + b"data: [DONE]\n\n"


def canonical(name: str, *, streamed: bool = False) -> Reply:
    """What our reader makes of the recorded answer."""
    dialect, answer = UPSTREAM_DIALECTS[dialect_of(name)], played(name, streamed=streamed)
    if "event-stream" not in answer.headers["content-type"]:
        return dialect.read_reply(answer.json())
    frames, reader = FrameReader(), dialect.read_stream()
    events = [event for frame in frames.feed(answer.body) for event in reader.feed(frame)]
    assert frames.rest() is None
    return fold([*events, *reader.end()])


def expected(reply: Reply) -> Told:
    """The reply as a client is to be told."""
    calls = [(call.name, json.loads(call.arguments or "{}")) for call in reply.tool_calls]
    counted = reply.usage
    usage = None if counted is None else (counted.total_input, counted.total_output)
    return Told(reply.said, reply.reasoning, calls, reply.finish_reason, usage)


# What the SDKs read; each gives the raw bodies as well, for whoever judges their form


def read_chat(client: OpenAI, model: str, *, streamed: bool) -> Told:
    """Chat completions."""
    if not streamed:
        whole: Any = client.chat.completions.create(model=model, messages=HELLO)
        (choice,) = whole.choices
        message = choice.message
        calls = [
            (c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or ()
        ]
        text = (message.content or "") + (message.refusal or "")
        usage = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
        return Told(text, _thought(message), calls, choice.finish_reason, usage)
    chunks: Any = client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    told, made = Told("", "", [], None, None), dict[int, list[str]]()
    for chunk in chunks:
        if chunk.usage:
            told.usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices:
            told.text += choice.delta.content or ""
            told.reasoning += _thought(choice.delta)
            told.finish = choice.finish_reason or told.finish
            for call in choice.delta.tool_calls or ():
                piece = made.setdefault(call.index, ["", ""])
                piece[0] += call.function.name or ""
                piece[1] += call.function.arguments or ""
    told.calls = [(name, json.loads(arguments)) for name, arguments in made.values()]
    return told


def _thought(message: Any) -> str:
    found = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return found or ""


def read_messages(client: anthropic.Anthropic, model: str, *, streamed: bool) -> Told:
    """Messages."""
    asked: Any = {"model": model, "max_tokens": 500, "messages": HELLO}
    if streamed:
        with client.messages.stream(**asked) as stream:
            message: Any = stream.get_final_message()
    else:
        message = client.messages.create(**asked)
    blocks = message.content
    reasons = {
        "end_turn": "stop",
        "max_tokens": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
    }
    usage = message.usage
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return Told(
        "".join(block.text for block in blocks if block.type == "text"),
        "".join(block.thinking for block in blocks if block.type == "thinking"),
        [(block.name, block.input) for block in blocks if block.type == "tool_use"],
        reasons[message.stop_reason],
        (usage.input_tokens + cached, usage.output_tokens),
    )


def read_responses(client: OpenAI, model: str, *, streamed: bool) -> Told:
    """Responses; of a stream the pieces must add up to what its last event says."""
    if not streamed:
        return _response(client.responses.create(model=model, input="Hello"))
    text = arguments = ""
    last: Any = None
    for event in client.responses.create(model=model, input="Hello", stream=True):
        if event.type in ("response.output_text.delta", "response.refusal.delta"):
            text += event.delta
        if event.type == "response.function_call_arguments.delta":
            arguments += event.delta
        last = event
    told = _response(last.response)
    assert text == told.text
    assert bool(arguments) <= bool(told.calls)
    return told


def _response(response: Any) -> Told:
    items = response.output
    calls = [
        (item.name, json.loads(item.arguments)) for item in items if item.type == "function_call"
    ]
    thoughts = [item for item in items if item.type == "reasoning"]
    parts = [part for item in items if item.type == "message" for part in item.content]
    refused = any(part.type == "refusal" for part in parts)
    why = response.incomplete_details and response.incomplete_details.reason
    finish = {"max_output_tokens": "length", "content_filter": "content_filter"}.get(why or "")
    return Told(
        "".join(part.refusal if part.type == "refusal" else part.text for part in parts),
        "".join(s.text for item in thoughts for s in item.summary),
        calls,
        finish or ("content_filter" if refused else "tool_calls" if calls else "stop"),
        (response.usage.input_tokens, response.usage.output_tokens),
    )


def read_completions(client: OpenAI, model: str, *, streamed: bool) -> Told:
    """Legacy completions: the text alone."""
    if not streamed:
        whole: Any = client.completions.create(model=model, prompt="Hello", max_tokens=500)
        usage = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
        return Told(whole.choices[0].text, "", [], whole.choices[0].finish_reason, usage)
    told = Told("", "", [], None, None)
    chunks: Any = client.completions.create(
        model=model,
        prompt="Hello",
        max_tokens=500,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in chunks:
        if chunk.usage:
            told.usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices:
            told.text += choice.text
            told.finish = choice.finish_reason or told.finish
    return told
