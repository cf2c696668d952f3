"""The canonical request for vectors: OpenAI's embeddings body as a plain dict.

Source: OpenAI's OpenAPI document, CreateEmbeddingRequest.
"""

from typing import Literal, TypedDict

Encoding = Literal["float", "base64"]


class EmbeddingRequest(TypedDict, total=False):
    """The fields that money, routing and translation look at; any other key may be present.

    `input` is a text, a list of texts, or the same in tokens.
    """

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Encoding | None
    dimensions: int | None
    user: str


def each_input(request: EmbeddingRequest) -> list[str | list[int]]:
    """The inputs one by one: each gets a vector of its own."""
    return split(request["input"])


def split(given: str | list[str] | list[int] | list[list[int]]) -> list[str | list[int]]:
    """A text, texts, tokens or lists of tokens, one by one."""
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        return [[token for token in given if isinstance(token, int)]]
    return [one for one in given if not isinstance(one, int)]
