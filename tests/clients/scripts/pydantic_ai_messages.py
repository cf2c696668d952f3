"""Pydantic AI at Anthropic's messages."""

from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai_common import run
from scenario import MODEL

run(AnthropicModel(MODEL))
