"""What Pydantic AI is asked to do, whichever of its models speaks."""

import asyncio
from typing import Any

from pydantic_ai import Agent
from scenario import HELLO, QUESTION, tell, weather


def run(model: Any) -> None:
    """Ask this model everything, and tell."""
    asyncio.run(_run(Agent(model), Agent(model, tools=[weather])))


async def _run(plain: Any, able: Any) -> None:
    reply = await plain.run(HELLO)
    async with plain.run_stream(HELLO) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    told = await able.run(QUESTION)
    async with able.run_stream(QUESTION) as stream:
        again = await stream.get_output()
    tell(reply.output, pieces, told.output, again)
