"""What OpenAI's Agents SDK is asked to do, whichever of its models speaks."""

import asyncio
from typing import Any

from agents import Agent, Runner, function_tool, set_tracing_disabled
from scenario import HELLO, QUESTION, tell, weather


def run(model: Any) -> None:
    """Ask this model everything, and tell."""
    set_tracing_disabled(True)
    plain = Agent(name="plain", model=model)
    asyncio.run(_run(plain, Agent(name="able", model=model, tools=[function_tool(weather)])))


async def _run(plain: Any, able: Any) -> None:
    reply = await Runner.run(plain, HELLO)
    stream = Runner.run_streamed(plain, HELLO)
    pieces = [
        event.data.delta
        async for event in stream.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    told = await Runner.run(able, QUESTION)
    again = Runner.run_streamed(able, QUESTION)
    async for _ in again.stream_events():
        pass
    tell(reply.final_output, pieces, told.final_output, again.final_output)
