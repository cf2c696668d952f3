"""The sandbox's embeddings: the same vector for the same text, on every machine, for ever.

Directions are drawn by SHAKE-256 from the text, so different texts are nearly at right angles: that
is enough to test storage and retrieval of exact matches, and no model of meaning.
"""

import hashlib
import math

from modelbridge import jsonio
from modelbridge.dialects.openai_embeddings import encode
from modelbridge.errors import InvalidRequest
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.upstream.sandbox import refuse_if_scenario, tokens_of
from modelbridge.wire.embedding import EmbeddingRequest, each_input

# https://platform.openai.com/docs/guides/embeddings; other models' are as long as the small one's.
_DIMENSIONS = {"text-embedding-3-large": 3_072}
_USUAL_DIMENSIONS = 1_536
MOST_DIMENSIONS = 4_096
_MIDDLE = 127.5


def answer_embeddings(request: EmbeddingRequest) -> tuple[JSONDict, Usage]:
    """The body of the answer and its usage; vectors have length 1.

    Raises the BridgeError of a scenario that fails, and InvalidRequest for too many dimensions.
    """
    inputs = each_input(request)
    for given in inputs:
        refuse_if_scenario(request["model"], given if isinstance(given, str) else "")
    size = request.get("dimensions") or _DIMENSIONS.get(request["model"], _USUAL_DIMENSIONS)
    if size > MOST_DIMENSIONS:
        raise InvalidRequest(
            f"'dimensions' is {size}; the sandbox makes at most {MOST_DIMENSIONS}.",
            param="dimensions",
        )
    vectors = [_vector(given, size) for given in inputs]
    as_text = request.get("encoding_format") == "base64"
    usage = Usage(input=sum(_tokens(given) for given in inputs))
    body: JSONDict = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": encode(vector) if as_text else vector,
            }
            for index, vector in enumerate(vectors)
        ],
        "model": request["model"],
        "usage": {"prompt_tokens": usage.input, "total_tokens": usage.input},
    }
    return body, usage


def _vector(given: str | list[int], size: int) -> list[float]:
    text = given if isinstance(given, str) else jsonio.dumps(given).decode()
    drawn = [byte - _MIDDLE for byte in hashlib.shake_256(text.encode()).digest(size)]
    length = math.sqrt(sum(value * value for value in drawn))
    return [round(value / length, 9) for value in drawn]


def _tokens(given: str | list[int]) -> int:
    return tokens_of(given) if isinstance(given, str) else len(given)
