"""OpenAI's Agents SDK at chat completions."""

from agents import OpenAIChatCompletionsModel
from openai import AsyncOpenAI
from openai_agents_common import run
from scenario import MODEL

run(OpenAIChatCompletionsModel(MODEL, AsyncOpenAI()))
