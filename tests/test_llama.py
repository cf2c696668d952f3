"""The model server that other tests stand on does what they need of it."""

from llama import WEATHER_QUESTION, WEATHER_TOOL, LlamaServer
from openai import OpenAI


def test_a_real_model_answers_the_same_question_alike(llama: LlamaServer) -> None:
    with OpenAI(base_url=llama.base_url, api_key=llama.api_key) as client:
        first, second = (
            client.chat.completions.create(
                model=llama.model,
                messages=[{"role": "user", "content": "What is the capital of France?"}],
                max_tokens=8,
            )
            for _ in range(2)
        )
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.usage is not None
    assert first.usage.completion_tokens <= 8


def test_it_calls_a_tool_when_it_was_shown_how(llama: LlamaServer) -> None:
    with OpenAI(base_url=llama.base_url, api_key=llama.api_key) as client:
        reply = client.chat.completions.create(
            model=llama.model,
            messages=WEATHER_QUESTION,  # type: ignore[arg-type]
            tools=[WEATHER_TOOL],  # type: ignore[list-item]
            max_tokens=60,
        )
    assert reply.choices[0].finish_reason == "tool_calls"
    assert "Paris" in reply.choices[0].message.model_dump_json()
