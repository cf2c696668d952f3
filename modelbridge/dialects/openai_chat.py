"""OpenAI's chat completions: what most clients and most upstreams speak.

Both halves of the dialect, gathered from the files beside this one: `_messages` and `_request`
read the client's body, `_build` makes the upstream's, `_read` and `_write` translate replies and
streams, `_pass` watches what goes through untouched, `_calls` tells streamed tool calls apart.
"""

from modelbridge.dialects.openai_chat_build import NAME, build_request
from modelbridge.dialects.openai_chat_pass import (
    find_usage,
    inspect,
    mend_stream,
    write_usage_frame,
)
from modelbridge.dialects.openai_chat_read import read_reply, read_stream
from modelbridge.dialects.openai_chat_request import read_request
from modelbridge.dialects.openai_chat_write import write_reply, write_stream
from modelbridge.dialects.openai_errors import read_error, write_error, write_stream_error

__all__ = [
    "NAME",
    "build_request",
    "find_usage",
    "inspect",
    "mend_stream",
    "read_error",
    "read_reply",
    "read_request",
    "read_stream",
    "write_error",
    "write_reply",
    "write_stream",
    "write_stream_error",
    "write_usage_frame",
]
