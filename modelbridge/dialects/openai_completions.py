"""OpenAI's legacy completions: a text goes on. Both halves, gathered from the files beside this.

Where an upstream has them, they are passed on; where it only chats, one prompt becomes one user
message, and what no chat can say (`as_chat` names it) is refused.
"""

from modelbridge.dialects.openai_chat_pass import find_usage, mend_stream, write_usage_frame
from modelbridge.dialects.openai_completions_request import (
    NAME,
    as_chat,
    build_request,
    read_request,
)
from modelbridge.dialects.openai_completions_write import (
    inspect,
    read_reply,
    write_reply,
    write_stream,
)
from modelbridge.dialects.openai_errors import write_error, write_stream_error

__all__ = [
    "NAME",
    "as_chat",
    "build_request",
    "find_usage",
    "inspect",
    "mend_stream",
    "read_reply",
    "read_request",
    "write_error",
    "write_reply",
    "write_stream",
    "write_stream_error",
    "write_usage_frame",
]
