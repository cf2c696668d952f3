"""LiteLLM as a client of chat completions."""

from litellm_common import run

run("openai")
