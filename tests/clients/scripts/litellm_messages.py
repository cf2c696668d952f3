"""LiteLLM as a client of Anthropic's messages."""

from litellm_common import run

run("anthropic")
