"""Every wire format by its name. A new one is a module beside this one, and a line here."""

from collections.abc import Callable

from modelbridge.dialects import (
    anthropic_messages,
    gemini,
    gemini_embeddings,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_responses,
)
from modelbridge.dialects.base import Front, Plain, PlainUpstream, UpstreamDialect
from modelbridge.jsonio import JSONDict
from modelbridge.wire.reply import Reply

FRONTS: dict[str, Front] = {
    openai_chat.NAME: openai_chat,
    anthropic_messages.NAME: anthropic_messages,
    openai_responses.NAME: openai_responses,
    openai_completions.NAME: openai_completions,
}
PLAINS: dict[str, Plain] = {openai_embeddings.NAME: openai_embeddings}
# Upstreams that have embeddings in a format of their own, by their dialect.
EMBEDDINGS: dict[str, PlainUpstream] = {gemini.NAME: gemini_embeddings}
UPSTREAM_DIALECTS: dict[str, UpstreamDialect] = {
    openai_chat.NAME: openai_chat,
    anthropic_messages.NAME: anthropic_messages,
    gemini.NAME: gemini,
    openai_responses.NAME: openai_responses,
}
# What reads a whole reply of each format.
READERS: dict[str, Callable[[JSONDict], Reply]] = {
    **{name: dialect.read_reply for name, dialect in UPSTREAM_DIALECTS.items()},
    openai_completions.NAME: openai_completions.read_reply,
}
