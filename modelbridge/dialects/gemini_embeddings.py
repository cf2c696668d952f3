"""Gemini's embeddings behind OpenAI's: every text is a request of one batch.

Source: https://ai.google.dev/api/embeddings (models.batchEmbedContents). Newer models tell their
usage as `generateContent` does; of those that do not, the input is estimated from its bytes.
"""

from typing import Any

from modelbridge import jsonio
from modelbridge.dialects.gemini import path_of, resource_of
from modelbridge.dialects.gemini_errors import failure_of
from modelbridge.dialects.gemini_reply import read_usage
from modelbridge.dialects.openai_embeddings import encode
from modelbridge.dialects.translating import spelled, unsaid
from modelbridge.errors import UnsupportedParameter, UpstreamError
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.wire.embedding import EmbeddingRequest, each_input
from modelbridge.wire.target import Target, WireRequest

_TRANSLATED = {"model", "input", "dimensions", "encoding_format"}
_BYTES_PER_TOKEN = 4


def build_request(request: EmbeddingRequest, target: Target, max_output: int) -> WireRequest:
    """The batch, each text with the model's full name. Raises UnsupportedParameter for tokens."""
    del max_output  # vectors are not counted in output tokens
    dropped = unsaid(dict(request), _TRANSLATED, {}, {})
    common: JSONDict = {"model": resource_of(target)}
    if request.get("dimensions") is not None:
        common["outputDimensionality"] = request["dimensions"]
    texts = [{**common, "content": {"parts": [{"text": text}]}} for text in _texts(request)]
    path = path_of(target, "batchEmbedContents")
    return WireRequest(path, {"requests": texts}, dropped=spelled(dropped))


def read_answer(payload: bytes, request: EmbeddingRequest) -> tuple[bytes, Usage | None]:
    """OpenAI's list of vectors, in the encoding that was asked for, and the usage if it was told.

    Raises UpstreamError unless there is a vector for every text.
    """
    texts = _texts(request)
    try:
        body = jsonio.loads(payload)
        if body.get("error") is not None:
            raise failure_of(body)
        vectors = [[float(value) for value in one["values"]] for one in body["embeddings"]]
        if len(vectors) != len(texts):
            raise ValueError("embeddings")
        usage = read_usage(body.get("usageMetadata"))
        data = [_item(number, vector, request) for number, vector in enumerate(vectors)]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise UpstreamError(
            "The upstream's answer is not a list of embeddings that we can read.",
            may_have_billed=True,
        ) from None
    tokens = usage.input if usage else sum(-(-len(t.encode()) // _BYTES_PER_TOKEN) for t in texts)
    told = {
        "object": "list",
        "data": data,
        "model": request["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return jsonio.dumps(told), Usage(input=usage.input) if usage and usage.input else None


def _texts(request: EmbeddingRequest) -> list[str]:
    texts = [text for text in each_input(request) if isinstance(text, str)]
    if not texts:
        raise UnsupportedParameter(
            "this model reads text: send 'input' as a string or a list of strings, not as tokens",
            param="input",
        )
    return texts


def _item(number: int, vector: list[float], request: EmbeddingRequest) -> JSONDict:
    said: Any = encode(vector) if request.get("encoding_format") == "base64" else vector
    return {"object": "embedding", "index": number, "embedding": said}
