"""langchain-openai at chat completions."""

from langchain_common import run
from langchain_openai import ChatOpenAI
from scenario import MODEL

run(ChatOpenAI(model=MODEL, max_retries=0))
