"""The `usage` of a response: chat's under other names.

Source: OpenAI's OpenAPI document, ResponseUsage.
"""

from modelbridge.dialects import openai_usage
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage

_NAMES = {
    "input_tokens": "prompt_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens": "completion_tokens",
    "output_tokens_details": "completion_tokens_details",
    "total_tokens": "total_tokens",
}


def read_usage(value: object) -> Usage | None:
    """The counts; None if there are none or any of them is absurd."""
    if not isinstance(value, dict):
        return None
    return openai_usage.read_usage({_NAMES[name]: value[name] for name in value if name in _NAMES})


def write_usage(usage: Usage) -> JSONDict:
    """The `usage` object that says these counts."""
    return {
        "input_tokens": usage.total_input,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": usage.total_output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total_input + usage.total_output,
    }
