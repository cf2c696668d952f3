"""Pydantic AI at responses."""

from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai_common import run
from scenario import MODEL

run(OpenAIResponsesModel(MODEL))
