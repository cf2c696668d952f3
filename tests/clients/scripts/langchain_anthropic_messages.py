"""langchain-anthropic at messages."""

from langchain_anthropic import ChatAnthropic
from langchain_common import run
from scenario import MODEL

run(ChatAnthropic(model=MODEL, max_retries=0, max_tokens=100))
