"""langchain-openai at responses."""

from langchain_common import run
from langchain_openai import ChatOpenAI
from scenario import MODEL

run(ChatOpenAI(model=MODEL, max_retries=0, use_responses_api=True))
