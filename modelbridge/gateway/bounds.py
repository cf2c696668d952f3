"""The most tokens that a request can be, without a tokenizer.

Byte-level BPE starts with one token per byte of the normalised text and only merges, so text is
at most max(bytes, bytes of its NFKC form) tokens; docs/bounds.md has the measurements and says for
each field what is done.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from modelbridge import jsonio
from modelbridge.errors import UnsupportedParameter
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest, Message

BYTES_PER_TOKEN = 4
TEMPLATE_TOKENS = 256
MESSAGE_TOKENS = 16
TOOL_TOKENS = 64
TOOLS_TOKENS = 2_048
TEXT_PARTS = frozenset({"text", "refusal", "thinking", "redacted_thinking"})
IMAGE_TOKENS = {"anthropic": 5_000, "openai": 16_000, "openai_responses": 16_000}
IMAGE_TOKENS_ANYWHERE = 50_000


@dataclass(frozen=True, slots=True)
class Size:
    """What was counted in a request. `unbounded`: the param of a part that bytes cannot bound.

    `texts`: how many texts have the context window for themselves, each; `longest_tokens` is the
    largest of them (None: there is one).
    """

    text_tokens: int
    text_bytes: int
    images: int = 0
    unbounded: str | None = None
    cache_writes: bool = False
    texts: int = 1
    longest_tokens: int | None = None

    def bound(self, provider: str, model: str, context_window: int | None) -> int:
        """Most input tokens at this provider: never more than the context window holds.

        Raises UnsupportedParameter if only the window bounds the request and it is not known.
        """
        if self.unbounded:
            if context_window is None:
                raise UnsupportedParameter(
                    f"{self.unbounded}: what this part costs can only be bounded by the model's "
                    "context window, which is not known here. Ask the operator to set it "
                    "(flask model add … --context-window N).",
                    param=self.unbounded,
                )
            return context_window
        each = IMAGE_TOKENS.get(provider, IMAGE_TOKENS_ANYWHERE)
        if "4o-mini" in model:
            each = IMAGE_TOKENS_ANYWHERE  # its tiles count 5,667 tokens each
        tokens = self.text_tokens + self.images * each
        return tokens if context_window is None else min(tokens, context_window * self.texts)


def measure(request: ChatRequest) -> Size:
    """Count what the input bound of a chat is made of."""
    media = _Media()
    lean = [media.taken_from(number, message) for number, message in enumerate(request["messages"])]
    text = jsonio.dumps({**request, "messages": lean}).decode()
    text_bytes = _bytes(text)
    tools = [*(request.get("tools") or []), *(cast(JSONDict, request).get("functions") or [])]
    tokens = text_bytes + TEMPLATE_TOKENS + MESSAGE_TOKENS * len(lean)
    if tools or any(message.get("tool_calls") for message in lean):
        tokens += TOOLS_TOKENS + TOOL_TOKENS * len(tools) + len(jsonio.dumps(tools)) // 4
    marked = media.marked or '"cache_control"' in text
    return Size(tokens, text_bytes, media.images, media.unbounded, marked)


def measure_texts(texts: Sequence[str | list[int]], rest: JSONDict) -> Size:
    """Count texts that are no chat, each by itself; a list of tokens is as many as it has.

    `rest` are the request's other fields, which count whole for each: a suffix is read behind every
    prompt, and some servers put an instruction before every text.
    """
    sizes = [_bytes(text) if isinstance(text, str) else len(text) for text in texts]
    around = _bytes(jsonio.dumps(rest).decode())
    # What is reckoned from bytes, an estimate of them included, takes a token for four.
    text_bytes = sum(
        size if isinstance(text, str) else size * BYTES_PER_TOKEN
        for text, size in zip(texts, sizes, strict=True)
    )
    return Size(
        text_tokens=sum(sizes) + TEMPLATE_TOKENS + (around + MESSAGE_TOKENS) * len(texts),
        text_bytes=text_bytes,
        texts=len(texts),
        longest_tokens=max(sizes) + around + TEMPLATE_TOKENS + MESSAGE_TOKENS,
    )


@dataclass(slots=True)
class _Media:
    """What does not count by its bytes. `marked`: a part of it is to be written to a cache."""

    images: int = 0
    unbounded: str | None = None
    marked: bool = False

    def taken_from(self, number: int, message: Message) -> Message:
        """The message without it: an address must not be taken off the text beside it."""
        if message.get("audio"):
            self.unbounded = f"messages[{number}].audio"  # sound that lies at the provider
        content = message.get("content")
        if not isinstance(content, list):
            return message
        kept = []
        for at, part in enumerate(content):
            kind = part.get("type")
            if kind in TEXT_PARTS:
                kept.append(part)
                continue
            self.marked = self.marked or "cache_control" in part
            if kind == "image_url":
                self.images += 1
            else:
                self.unbounded = f"messages[{number}].content[{at}]"
        return message if len(kept) == len(content) else {**message, "content": kept}


def _bytes(text: str) -> int:
    if text.isascii():
        return len(text)
    return max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode()))


def choices(request: ChatRequest) -> int:
    """How many answers were asked for."""
    return request.get("n") or 1
