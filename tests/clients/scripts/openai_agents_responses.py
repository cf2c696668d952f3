"""OpenAI's Agents SDK at responses, as it is without settings."""

from openai_agents_common import run
from scenario import MODEL

run(MODEL)
