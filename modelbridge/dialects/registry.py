"""Every wire format by its name. A new one is a module beside this one, and a line here."""

from modelbridge.dialects import anthropic_messages, openai_chat
from modelbridge.dialects.base import Front, UpstreamDialect

FRONTS: dict[str, Front] = {
    openai_chat.NAME: openai_chat,
    anthropic_messages.NAME: anthropic_messages,
}
UPSTREAM_DIALECTS: dict[str, UpstreamDialect] = {
    openai_chat.NAME: openai_chat,
    anthropic_messages.NAME: anthropic_messages,
}
