"""OpenAI's embeddings: vectors for texts, asked and answered in one piece.

Compatible servers speak it too, but some know only one of the two encodings: the answer is put
into the one that the client asked for, because the official SDKs ask for base64 and one of them
decodes it without looking. Source: OpenAI's OpenAPI document, CreateEmbeddingRequest and
CreateEmbeddingResponse.
"""

import struct
from base64 import b64decode, b64encode
from typing import Any, cast

from modelbridge import jsonio
from modelbridge.dialects.openai_chat_messages import refuse
from modelbridge.dialects.openai_chat_request import read_model
from modelbridge.dialects.openai_errors import find_error, write_error, write_stream_error
from modelbridge.dialects.openai_paths import path_at
from modelbridge.errors import UpstreamError
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.wire.embedding import EmbeddingRequest
from modelbridge.wire.target import Target, WireRequest

__all__ = [
    "NAME",
    "build_request",
    "encode",
    "read_answer",
    "read_request",
    "write_error",
    "write_stream_error",
]

NAME = "openai_embeddings"
_PATH = "/embeddings"
_ENCODINGS = ("float", "base64")
_MOST_INPUTS = 2_048
_MOST_TOKENS = 2**53
_FLOAT_BYTES = 4


def read_request(body: JSONDict) -> EmbeddingRequest:
    """The same dict. Raises InvalidRequest naming the parameter, such as `input[3]`."""
    read_model(body)
    check_inputs(body.get("input"), "input", empty=False)
    if body.get("encoding_format") not in (None, *_ENCODINGS):
        refuse("encoding_format", "must be 'float' or 'base64'")
    dimensions = body.get("dimensions")
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        refuse("dimensions", "must be a whole number, 1 or more")
    if not isinstance(body.get("user") or "", str):
        refuse("user", "must be a string")
    if body.get("stream"):
        refuse("stream", "is not for embeddings: they come in one piece")
    return cast(EmbeddingRequest, body)


def check_inputs(value: object, name: str, *, empty: bool) -> None:
    """Raises InvalidRequest unless it is a text, tokens, or a list of either.

    `empty`: a text may be empty.
    """
    if value is None:
        refuse(name, "is required")
    if isinstance(value, str):
        if not (value or empty):
            refuse(name, "must not be an empty string")
    elif not isinstance(value, list) or not value:
        refuse(name, "must be a string, a list of strings, or tokens as whole numbers")
    elif all(_is_token(item) for item in value):
        return
    else:
        _check_list(value, name, empty=empty)


def _check_list(items: list[Any], name: str, *, empty: bool) -> None:
    if len(items) > _MOST_INPUTS:
        refuse(name, f"has {len(items)} items, and {_MOST_INPUTS} are allowed in one call")
    kind = type(items[0])
    for number, item in enumerate(items):
        place = f"{name}[{number}]"
        if kind not in (str, list) or type(item) is not kind:
            refuse(place, "must be a string or a list of tokens, and all items of one kind")
        if not item and not (empty and kind is str):
            refuse(place, "must not be empty")
        if kind is list and not all(_is_token(token) for token in item):
            refuse(place, "must be a list of tokens, which are whole numbers from 0 on")


def _is_token(value: object) -> bool:
    return type(value) is int and value >= 0


def build_request(request: EmbeddingRequest, target: Target, max_output: int) -> WireRequest:
    """The body for this upstream. `dropped` names what it does not know.

    An encoding that it does not know is no loss: we encode the answer ourselves.
    """
    del max_output  # vectors are not counted in output tokens
    body, dropped = plain_body(dict(request), target)
    if "encoding_format" in dropped:
        dropped.remove("encoding_format")
    return WireRequest(path_at(target, NAME, _PATH), body, dropped=tuple(dropped))


def plain_body(body: JSONDict, target: Target) -> tuple[JSONDict, list[str]]:
    """The body with the upstream's name of the model, without what it does not know; and that.

    `service_tier` selects another price than the one that was quoted.
    """
    dropped = [
        name for name in ("service_tier", *target.quirks.drop) if body.pop(name, None) is not None
    ]
    return {**body, "model": target.model}, list(dict.fromkeys(dropped))


def read_answer(payload: bytes, request: EmbeddingRequest) -> tuple[bytes, Usage | None]:
    """The client's body, its vectors in the encoding that was asked for, and the usage.

    Raises UpstreamError if it is no list of vectors.
    """
    try:
        body = jsonio.loads(payload)
    except ValueError:
        raise _not_vectors() from None
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        raise (find_error(body) if isinstance(body, dict) else None) or _not_vectors()
    encoding = request.get("encoding_format") or "float"
    changed = [_mend(item, encoding) for item in body["data"]]
    return (jsonio.dumps(body) if any(changed) else payload), _read_usage(body.get("usage"))


def encode(vector: list[float]) -> str:
    """The vector as base64 of little-endian 32-bit floats."""
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _decode(text: str) -> list[float]:
    packed = b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(packed) // _FLOAT_BYTES}f", packed))


def _mend(item: object, encoding: str) -> bool:
    """Whether the item's vector had to be put into the other encoding."""
    if not isinstance(item, dict):
        raise _not_vectors()
    vector = item.get("embedding")
    try:
        if isinstance(vector, list) and encoding == "base64":
            item["embedding"] = encode(vector)
        elif isinstance(vector, str) and encoding == "float":
            item["embedding"] = _decode(vector)
        else:
            return False
    except (ValueError, OverflowError, struct.error):
        raise _not_vectors() from None
    return True


def _read_usage(value: object) -> Usage | None:
    """The input tokens; None unless they can be believed. A text has at least one."""
    if not isinstance(value, dict):
        return None
    counts = (value.get("prompt_tokens"), value.get("total_tokens"))
    told = next((count for count in counts if count), None)
    if type(told) is not int or not 0 < told <= _MOST_TOKENS:
        return None
    return Usage(input=told)


def _not_vectors() -> UpstreamError:
    return UpstreamError(
        "The upstream's answer is not a list of embeddings that we can read.", may_have_billed=True
    )
