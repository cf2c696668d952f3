"""OpenAI's Responses API: what Codex and the Agents SDK speak to us, and we to who has it.

Both halves of the format, gathered from the files beside this one: `_request` and `_items` read the
client's body, `_build` makes the upstream's, `_read` and `_write` translate replies and streams,
`_echo` says again what was asked, `_pass` watches what goes through untouched, `_reasoning` keeps
thoughts with who sealed them.
"""

from modelbridge.dialects.openai_responses_build import NAME, build_request
from modelbridge.dialects.openai_responses_errors import (
    read_error,
    write_error,
    write_stream_error,
)
from modelbridge.dialects.openai_responses_pass import (
    find_usage,
    inspect,
    mend_stream,
    write_usage_frame,
)
from modelbridge.dialects.openai_responses_read import read_reply, read_stream
from modelbridge.dialects.openai_responses_request import read_request
from modelbridge.dialects.openai_responses_write import write_reply, write_stream

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
