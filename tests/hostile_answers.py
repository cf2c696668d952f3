"""What the hostile upstream answers with: whole bodies and frames, in each wire format it knows."""

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hostile_gemini import gemini_body, gemini_chunks
from hostile_talk import JSONDict, Talk, asks_usage, data, dump, event

MAXIMA = ("max_completion_tokens", "max_output_tokens", "max_tokens", "maxOutputTokens")


@dataclass
class Answer:
    """A body in pieces; `produced[i]` output tokens exist once piece i is out."""

    content_type: str
    pieces: list[bytes]
    produced: list[int]
    usage: JSONDict = field(default_factory=dict)

    def resplit(self, size: int) -> None:
        """Pieces of at most `size` bytes."""
        pieces, produced = [], []
        before = 0
        for piece, tokens in zip(self.pieces, self.produced, strict=True):
            parts = [piece[at : at + size] for at in range(0, len(piece), size)]
            pieces += parts
            produced += [before] * (len(parts) - 1) + [tokens]
            before = tokens
        self.pieces, self.produced = pieces, produced


def make_answer(step: JSONDict, path: str, body: JSONDict, request_bytes: int) -> Answer:
    """The answer of an `answer` step to that request."""
    if path.partition("?")[0].endswith("/embeddings"):
        return make_vectors(step, body, request_bytes)
    prompt = step["prompt_tokens"]
    talk = Talk(
        step=step,
        model=str(body.get("model", "")),
        prompt_tokens=request_bytes // 4 if prompt is None else prompt,
        tokens=step["completion_tokens"],
        text=step["text"],
        finish=step["finish_reason"],
        usage_chunk=step["usage_chunk"] == "always"
        or (step["usage_chunk"] == "asked" and asks_usage(body)),
    )
    limits = body | body.get("generationConfig", {})
    maximum = next((limits[name] for name in MAXIMA if name in limits), None)
    if step["obey_maximum"] and isinstance(maximum, int) and maximum < talk.tokens:
        talk.tokens, talk.finish, talk.text = maximum, "length", talk.text[: 4 * maximum]
    speak, whole = _format(step["dialect"], path.partition("?")[0], body)
    if body.get("stream") or ":stream" in path:
        frames = speak(talk)
        answer = Answer("text/event-stream", [f for f, _ in frames], [t for _, t in frames])
    else:
        answer = Answer("application/json", [dump(whole(talk))], [talk.tokens])
    answer.usage = talk.truth
    return answer


def make_vectors(step: JSONDict, body: JSONDict, request_bytes: int) -> Answer:
    """OpenAI's CreateEmbeddingResponse: short vectors that tell the number of their input.

    `message` of the step may hold `embedding_format` (what it answers with, whatever was asked).
    """
    given = body.get("input")
    count = len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1
    size = body.get("dimensions") or 4
    prompt = request_bytes // 4 if step["prompt_tokens"] is None else step["prompt_tokens"]
    encoding = step["message"].get("embedding_format", body.get("encoding_format"))
    vectors = [[0.5] * (size - 1) + [float(number)] for number in range(count)]
    answer: JSONDict = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": number, "embedding": vector}
            for number, vector in enumerate(vectors)
        ],
        "model": body.get("model"),
    }
    if encoding == "base64":
        for item, vector in zip(answer["data"], vectors, strict=True):
            item["embedding"] = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
    truth = {"prompt_tokens": prompt, "completion_tokens": 0}
    if step["usage"] == "true":
        answer["usage"] = {"prompt_tokens": prompt, "total_tokens": prompt}
    elif step["usage"] is not None:
        answer["usage"] = step["usage"]
    return Answer("application/json", [dump(answer)], [0], truth)


Frames = Callable[[Talk], list[tuple[bytes, int]]]
Body = Callable[[Talk], JSONDict]


def _format(dialect: str, path: str, body: JSONDict) -> tuple[Frames, Body]:
    """How that endpoint speaks: frame by frame, and whole."""
    if dialect == "anthropic" or (dialect == "auto" and path.endswith("/messages")):
        return anthropic_frames, anthropic_body
    if dialect == "openai":
        return openai_frames, openai_body
    if "enerateContent" in path:
        return gemini_frames, gemini_body
    if path.endswith("/responses"):
        return responses_frames, responses_body
    if path.endswith("/completions") and "prompt" in body:
        return completion_frames, completion_body
    return openai_frames, openai_body


def openai_usage(talk: Talk) -> Any:
    """What is reported, which need not be the truth."""
    if talk.step["usage"] != "true":
        return talk.step["usage"]
    return {**talk.truth, "total_tokens": talk.prompt_tokens + talk.tokens}


def openai_body(talk: Talk) -> JSONDict:
    """OpenAI's CreateChatCompletionResponse."""
    message: JSONDict = {"role": "assistant", "content": talk.text}
    if calls := openai_calls(talk):
        message |= {"content": talk.text or None, "tool_calls": calls}
    message |= talk.step["message"]
    body = {
        "id": "chatcmpl-hostile",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": talk.model,
        "choices": [{"index": 0, "message": message, "finish_reason": talk.finish}],
    }
    if talk.step["usage"] is not None:
        body["usage"] = openai_usage(talk)
    return body


def openai_calls(talk: Talk) -> list[JSONDict]:
    """OpenAI's ChatCompletionMessageToolCalls."""
    return [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": "".join(halves)}}
        for id_, name, halves in talk.calls()
    ]


def openai_call_deltas(talk: Talk) -> list[JSONDict]:
    """The same as a stream tells them: a head with the name, then the arguments in pieces."""
    deltas: list[JSONDict] = []
    for index, (id_, name, halves) in enumerate(talk.calls()):
        function = {"name": name, "arguments": ""}
        deltas.append({"index": index, "id": id_, "type": "function", "function": function})
        deltas += [{"index": index, "function": {"arguments": half}} for half in halves]
    return [{"tool_calls": [delta]} for delta in deltas]


def openai_frames(talk: Talk) -> list[tuple[bytes, int]]:
    """OpenAI's CreateChatCompletionStreamResponse, frame by frame."""

    def frame(delta: JSONDict, finish: str | None = None) -> bytes:
        return data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    head = {
        "id": "chatcmpl-hostile",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": talk.model,
    }
    frames = [(frame({"role": "assistant", "content": ""}), 0)]
    frames += [(frame({"content": text}), tokens) for text, tokens in talk.chunks()]
    produced = frames[-1][1]
    if talk.step["error_after"] is not None:
        error = talk.step["error"] or {"message": "The server had an error", "type": "server_error"}
        return [*frames, (data({"error": error}), produced)]
    frames += [(frame(delta), talk.tokens) for delta in openai_call_deltas(talk)]
    frames.append((frame({}, talk.finish), talk.tokens))
    if talk.usage_chunk and talk.step["usage"] is not None:
        frames.append((data({**head, "choices": [], "usage": openai_usage(talk)}), talk.tokens))
    if talk.step["done"]:
        frames.append((b"data: [DONE]\n\n", talk.tokens))
    return frames


def completion_body(talk: Talk) -> JSONDict:
    """OpenAI's CreateCompletionResponse."""
    chat = openai_body(talk)
    choice = {"text": talk.text, "index": 0, "logprobs": None, "finish_reason": talk.finish}
    return {**chat, "id": "cmpl-hostile", "object": "text_completion", "choices": [choice]}


def completion_frames(talk: Talk) -> list[tuple[bytes, int]]:
    """The chunks of a legacy completion: a chat's, with the text where it stands there."""
    frames = []
    for raw, tokens in openai_frames(talk)[1:]:
        chunk = {} if raw.endswith(b"[DONE]\n\n") else json.loads(raw.removeprefix(b"data: "))
        for choice in chunk.get("choices", ()):
            choice["text"], choice["logprobs"] = choice.pop("delta").get("content", ""), None
        if "choices" in chunk:
            raw = data({**chunk, "id": "cmpl-hostile", "object": "text_completion"})
        frames.append((raw, tokens))
    return frames


def responses_usage(talk: Talk) -> Any:
    """What is reported, which need not be the truth."""
    if talk.step["usage"] != "true":
        return talk.step["usage"]
    return {
        "input_tokens": talk.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": talk.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": talk.prompt_tokens + talk.tokens,
        **talk.step["details"],
    }


def responses_body(talk: Talk) -> JSONDict:
    """OpenAI's Response."""
    short = talk.finish == "length"
    return {
        "id": "resp_hostile",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "incomplete" if short else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "model": talk.model,
        "output": responses_items(talk),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": responses_usage(talk),
    }


def responses_items(talk: Talk) -> list[JSONDict]:
    """Its output: a message, or calls of tools, or both."""
    part = {"type": "output_text", "text": talk.text, "annotations": [], "logprobs": []}
    message = {"id": "msg_hostile", "type": "message", "role": "assistant", "content": [part]}
    calls: list[JSONDict] = [
        {
            "id": f"fc_{id_}",
            "type": "function_call",
            "status": "completed",
            "call_id": id_,
            "name": name,
            "arguments": "".join(halves),
        }
        for id_, name, halves in talk.calls()
    ]
    if calls and not talk.text:
        return calls
    return [{**message, "status": "completed", **talk.step["message"]}, *calls]


def responses_item_events(talk: Talk, place: int, item: JSONDict) -> list[tuple[JSONDict, int]]:
    """One item of the output, from its beginning up to what ends it."""
    at = {"output_index": place, "item_id": item["id"]}
    empty: JSONDict = {"content": []} if item["type"] == "message" else {"arguments": ""}
    opened = {"output_index": place, "item": {**item, "status": "in_progress", **empty}}
    events: list[tuple[JSONDict, int]] = [({"type": "response.output_item.added", **opened}, 0)]
    if item["type"] == "message":
        name, at = "response.output_text.delta", {**at, "content_index": 0}
        part = {**item["content"][0], "text": ""}
        events.append(({"type": "response.content_part.added", **at, "part": part}, 0))
        pieces = talk.chunks()
    else:
        name = "response.function_call_arguments.delta"
        half = len(item["arguments"]) // 2
        pieces = [(item["arguments"][:half], 0), (item["arguments"][half:], talk.tokens)]
    return events + [({"type": name, **at, "delta": piece}, count) for piece, count in pieces]


def responses_frames(talk: Talk) -> list[tuple[bytes, int]]:
    """OpenAI's ResponseStreamEvent, frame by frame; the usage stands in the last."""
    whole = responses_body(talk)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[tuple[JSONDict, int]] = [({"type": "response.created", "response": begun}, 0)]
    *before, last = enumerate(whole["output"])
    for place, item in before:
        done = {"output_index": place, "item": item}
        events += responses_item_events(talk, place, item)
        events.append(({"type": "response.output_item.done", **done}, talk.tokens))
    events += responses_item_events(talk, *last)
    if talk.step["error_after"] is not None:
        error = talk.step["error"] or {"code": "server_error", "message": "The server had an error"}
        events.append(({"type": "error", **error}, events[-1][1]))
    else:
        done = {"output_index": last[0], "item": last[1]}
        events.append(({"type": "response.output_item.done", **done}, talk.tokens))
        if talk.step["done"]:
            end = {"type": f"response.{whole['status']}", "response": whole}
            events.append((end, talk.tokens))
    return [
        (event({**told, "sequence_number": number}), tokens)
        for number, (told, tokens) in enumerate(events)
    ]


ANTHROPIC_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def anthropic_usage(talk: Talk) -> Any:
    """What is reported, which need not be the truth."""
    if talk.step["usage"] != "true":
        return talk.step["usage"]
    return {
        "input_tokens": talk.prompt_tokens,
        "output_tokens": talk.tokens,
        **talk.step["details"],
    }


def anthropic_blocks(talk: Talk) -> list[JSONDict]:
    """Its content: text, or uses of tools, or both."""
    text: list[JSONDict] = [{"type": "text", "text": talk.text}]
    uses: list[JSONDict] = [
        {"type": "tool_use", "id": id_, "name": name, "input": json.loads("".join(halves))}
        for id_, name, halves in talk.calls()
    ]
    return uses if uses and not talk.text else text + uses


def anthropic_uses(talk: Talk, at: int) -> list[bytes]:
    """The frames of the tools that are used; `at`: the number of the first of these blocks."""
    frames = []
    for index, (id_, name, halves) in enumerate(talk.calls(), at):
        block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
        frames.append(
            event({"type": "content_block_start", "index": index, "content_block": block})
        )
        for half in ("", *halves):
            delta = {"type": "input_json_delta", "partial_json": half}
            frames.append(event({"type": "content_block_delta", "index": index, "delta": delta}))
        frames.append(event({"type": "content_block_stop", "index": index}))
    return frames


def anthropic_body(talk: Talk) -> JSONDict:
    """Anthropic's Message."""
    body = {
        "id": "msg_hostile",
        "type": "message",
        "role": "assistant",
        "model": talk.model,
        "content": anthropic_blocks(talk),
        "stop_reason": ANTHROPIC_REASONS.get(talk.finish, talk.finish),
        "stop_sequence": None,
        **talk.step["message"],
    }
    if talk.step["usage"] is not None:
        body["usage"] = anthropic_usage(talk)
    return body


def anthropic_frames(talk: Talk) -> list[tuple[bytes, int]]:
    """Anthropic's stream of events, frame by frame; the usage is cumulative."""
    usage = anthropic_usage(talk)
    message = anthropic_body(talk) | {"content": [], "stop_reason": None}
    if usage is not None:
        message["usage"] = {**usage, "output_tokens": 1}
    start = {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}
    frames = [(event({"type": "message_start", "message": message}), 0)]
    spoken = bool(talk.text or not talk.step["calls"])
    if spoken:
        frames.append((event({**start, "index": 0}), 0))
    for text, tokens in talk.chunks():
        delta = {"type": "text_delta", "text": text}
        frames.append((event({"type": "content_block_delta", "index": 0, "delta": delta}), tokens))
    produced = frames[-1][1]
    if talk.step["error_after"] is not None:
        error = talk.step["error"] or {"type": "overloaded_error", "message": "Overloaded"}
        return [*frames, (event({"type": "error", "error": error}), produced)]
    reason = {"stop_reason": ANTHROPIC_REASONS.get(talk.finish, talk.finish), "stop_sequence": None}
    end: JSONDict = {"type": "message_delta", "delta": reason}
    if usage is not None:
        end["usage"] = usage
    if spoken:
        frames.append((event({"type": "content_block_stop", "index": 0}), talk.tokens))
    frames += [(frame, talk.tokens) for frame in anthropic_uses(talk, int(spoken))]
    frames.append((event(end), talk.tokens))
    if talk.step["done"]:
        frames.append((event({"type": "message_stop"}), talk.tokens))
    return frames


def gemini_frames(talk: Talk) -> list[tuple[bytes, int]]:
    """Gemini's stream: every frame is a whole reply with a piece of the text."""
    return [(data(chunk), tokens) for chunk, tokens in gemini_chunks(talk)]
