"""What both of LangChain's packages are asked to do."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from scenario import HELLO, QUESTION, tell, weather


def run(model: Any) -> None:
    """Ask this chat model everything, and tell."""
    ask = HumanMessage(QUESTION)
    able = model.bind_tools([tool(weather)])

    def history(message: Any) -> Sequence[Any]:
        (call,) = message.tool_calls
        return [ask, message, ToolMessage(weather(**call["args"]), tool_call_id=call["id"])]

    def streamed(messages: Any) -> Any:
        first, *rest = able.stream(messages)
        return sum(rest, first)

    reply = model.invoke(HELLO)
    pieces = [chunk.text for chunk in model.stream(HELLO)]
    told = able.invoke(history(able.invoke([ask])))
    again = streamed(history(streamed([ask])))
    tell(reply.text, pieces, told.text, again.text)
