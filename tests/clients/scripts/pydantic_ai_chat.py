"""Pydantic AI at chat completions."""

from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai_common import run
from scenario import MODEL

run(OpenAIChatModel(MODEL))
