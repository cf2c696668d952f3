"""A provider is data: a made-up one is called through a running bridge, and so is Azure."""

from pathlib import Path

import pytest
import requests
from hostile import HostileUpstream, reply, stream
from people import HELLO, Key, TestBridge

from modelbridge.catalog import admin, routes
from modelbridge.catalog.providers import PROVIDERS, read_providers

ACME = """
[acme]
# https://docs.acme.example/api
title = "Acme"
dialect = "openai_chat"
endpoints = ["chat", "completions", "embeddings"]
auth = "api-key"
rename = { max_completion_tokens = "max_tokens" }
drop = ["logit_bias", "encoding_format"]
force = { safe = true }
developer_role = "system"
stream_usage = "always"

[acme.paths]
openai_chat = "/talk"
openai_completions = "/legacy/completions"
openai_embeddings = "/legacy/embeddings"
"""
ASKED_FOR = {
    "openai", "azure", "anthropic", "gemini", "mistral", "groq", "deepseek", "xai", "together",
    "fireworks", "cerebras", "perplexity", "openrouter", "moonshot", "qwen", "zhipu", "nvidia",
    "ollama", "vllm", "lmstudio", "llamacpp",
}  # fmt: skip


def call(key: Key, path: str, **fields: object) -> requests.Response:
    url = f"{key.bridge.url}/v1/{path}"
    return requests.post(url, json=fields, headers=key.headers, timeout=30)


def test_every_provider_that_teams_use_has_a_row_with_a_source() -> None:
    assert set(PROVIDERS) >= ASKED_FOR
    text = (Path(routes.__file__).parent / "providers.toml").read_text(encoding="utf-8")
    rows = text.split("\n[")[1:]
    unsourced = [
        row.partition("]")[0]
        for row in rows
        if "." not in row.partition("]")[0] and "https://" not in row.partition("title =")[0]
    ]
    assert unsourced == ["openai_compatible"]


def test_a_provider_that_nobody_heard_of_is_called_after_one_row_of_data(
    bridge: TestBridge,
    key: Key,
    upstream: HostileUpstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(ACME, encoding="utf-8")
    rows = {**PROVIDERS, **read_providers(file)}
    for module in (admin, routes):
        monkeypatch.setattr(module, "PROVIDERS", rows)
    bridge.upstream("acme", upstream.anthropic_base_url, "acme", credential="acme-secret")
    bridge.model("acme-1", "acme", upstream_model="theirs")
    bridge.model("acme-embed", "acme", prices={"input": "1", "output": "0"})
    upstream.will(reply("Hi"))

    told = call(
        key,
        "chat/completions",
        model="acme-1",
        messages=[{"role": "developer", "content": "Be brief"}, *HELLO],
        max_completion_tokens=9,
        logit_bias={"1": 1},
    )
    assert told.json()["choices"][0]["message"]["content"] == "Hi"
    assert told.headers["x-modelbridge-dropped"] == "logit_bias"
    text = call(key, "completions", model="acme-1", prompt="Hello", max_tokens=9)
    assert text.json()["choices"][0]["text"] == "Hi"
    vectors = call(key, "embeddings", model="acme-embed", input="Hello", encoding_format="base64")
    assert isinstance(vectors.json()["data"][0]["embedding"], str)

    chat, legacy, embed = upstream.seen()
    assert [seen["path"] for seen in (chat, legacy, embed)] == [
        "/talk",
        "/legacy/completions",
        "/legacy/embeddings",
    ]
    assert all(seen["headers"]["api-key"] == "acme-secret" for seen in (chat, legacy, embed))
    assert chat["body"] == {
        "model": "theirs",
        "messages": [{"role": "system", "content": "Be brief"}, *HELLO],
        "max_tokens": 9,
        "safe": True,
    }
    assert "encoding_format" not in embed["body"]


def test_perplexity_is_asked_for_an_answer_and_for_none_of_its_own_tools(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    """Its chat completions are gone, and what its presets bring along was in no price."""
    assert PROVIDERS["perplexity"].base_url == "https://api.perplexity.ai/v1"
    bridge.upstream("perplexity", upstream.base_url, "perplexity")
    bridge.model("sonar", "perplexity", upstream_model="perplexity/sonar")
    upstream.will(reply("Warm"))
    assert key.chat("sonar").json()["choices"][0]["message"]["content"] == "Warm"
    told = call(key, "responses", model="sonar", input="Hello", preset="high", max_steps=9)
    assert told.headers["x-modelbridge-dropped"] == "max_steps, preset"
    assert call(key, "chat/completions", model="sonar-pro", messages=HELLO).status_code == 404
    assert [seen["path"] for seen in upstream.seen()] == ["/v1/responses"] * 2
    assert not {"preset", "max_steps", "tools"} & upstream.seen()[1]["body"].keys()


@pytest.mark.parametrize("path", ["/openai/v1", ""])
def test_azure_is_called_at_both_kinds_of_its_addresses(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, path: str
) -> None:
    bridge.upstream("azure", upstream.anthropic_base_url + path, "azure", credential="azure-key")
    bridge.model("gpt-azure", "azure", upstream_model="my-gpt/4o")
    bridge.model("azure-embedding", "azure", upstream_model="vectors-embed")
    upstream.will(stream(2))
    assert key.stream("gpt-azure").text.endswith("data: [DONE]\n\n")
    upstream.will(reply())
    assert call(key, "embeddings", model="azure-embedding", input="a").status_code == 200
    assert call(key, "completions", model="gpt-azure", prompt="a").status_code == 200
    old = "/openai/deployments/{}?api-version=2024-10-21"
    if path:
        paths = [f"{path}/chat/completions", f"{path}/embeddings", f"{path}/completions"]
    else:
        paths = [
            old.format("my-gpt%2F4o/chat/completions"),
            old.format("vectors-embed/embeddings"),
            old.format("my-gpt%2F4o/completions"),
        ]
    assert [seen["path"] for seen in upstream.seen()] == paths
    for seen in upstream.seen():
        assert seen["headers"]["api-key"] == "azure-key"
        assert "authorization" not in seen["headers"]
        assert "service_tier" not in seen["body"]
    assert upstream.seen()[0]["body"]["model"] == "my-gpt/4o"
