"""Providers and limits as data: what the two files say, and how strictly they are read."""

import re
from pathlib import Path

import pytest

from modelbridge.catalog.limits import MODELS, Limits, ModelsFileError, read_models
from modelbridge.catalog.prices import load_package
from modelbridge.catalog.providers import PROVIDERS, ProvidersFileError, read_providers

ROW = """
[acme]
title = "Acme"
dialect = "openai_chat"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "file.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_provider_is_read_from_its_row_alone(tmp_path: Path) -> None:
    row = """
base_url = "https://acme.example/v1/"
auth = "api-key"
price_provider = "acme-ai"
rename = { max_completion_tokens = "max_tokens" }
drop = ["user"]
force = { service_tier = "default", store = false }
developer_role = "system"
stream_usage = "never"
paths = { openai_chat = "/chat" }
cancel_stops_billing = true
"""

    acme = read_providers(written(tmp_path, ROW + row))["acme"]

    assert (acme.title, acme.dialect, acme.base_url) == (
        "Acme",
        "openai_chat",
        "https://acme.example/v1",
    )
    assert (acme.auth, acme.price_provider, acme.cancel_stops_billing) == (
        "api-key",
        "acme-ai",
        True,
    )
    assert acme.quirks.rename == {"max_completion_tokens": "max_tokens"}
    assert acme.quirks.drop == ("user",)
    assert acme.quirks.force == {"service_tier": "default", "store": False}
    assert (acme.quirks.developer_role, acme.quirks.stream_usage) == ("system", "never")
    assert acme.paths == {"openai_chat": "/chat"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (ROW + 'colour = "red"', "acme: unknown key colour"),
        (ROW + 'auth = "password"', "acme: auth"),
        (ROW + 'stream_usage = "sometimes"', "acme: stream_usage"),
        (ROW + 'drop = "user"', "acme: drop"),
        (ROW + "rename = { a = 1 }", "acme: rename"),
        (ROW + 'cancel_stops_billing = "yes"', "acme: cancel_stops_billing"),
        (ROW + "thoughts_apart = true", "acme: thoughts_apart"),
        (ROW + "thoughts_apart = 0", "acme: thoughts_apart"),
        (ROW + 'base_url = ""', "acme: base_url"),
        ('[acme]\ndialect = "openai_chat"', "acme: title is missing"),
        ('[acme]\ntitle = "Acme"', "acme: dialect is missing"),
        ("acme = 1", "acme: not a table"),
        ("[acme", "file.toml"),
    ],
)
def test_a_malformed_row_is_refused_by_its_name(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ProvidersFileError, match=re.escape(complaint)):
        read_providers(written(tmp_path, text))


def test_every_row_has_a_title_and_a_dialect_that_exists() -> None:
    from modelbridge.dialects.registry import UPSTREAM_DIALECTS

    assert all(row.title and row.dialect in UPSTREAM_DIALECTS for row in PROVIDERS.values())
    endpoints = {"openai_completions", "openai_embeddings"}
    assert all(set(row.paths) <= {row.dialect, *endpoints} for row in PROVIDERS.values())


def test_every_price_provider_is_known_to_the_package() -> None:
    stated = {row.price_provider for row in PROVIDERS.values() if row.price_provider}

    assert stated <= load_package().keys()


def test_only_servers_of_the_operators_own_choosing_need_an_address() -> None:
    without = {name for name, row in PROVIDERS.items() if row.base_url is None}

    assert without == {"azure", "vllm", "openai_compatible"}


def test_the_class_of_service_is_never_the_clients_choice() -> None:
    chat = [row for row in PROVIDERS.values() if row.dialect == "openai_chat"]

    assert all("service_tier" in row.quirks.drop or row.name == "openai" for row in chat)
    assert PROVIDERS["openai"].quirks.force == {"service_tier": "default"}


def test_only_the_operators_own_machines_stop_the_meter_with_the_connection() -> None:
    stopping = {name for name, row in PROVIDERS.items() if row.cancel_stops_billing}

    assert stopping == {"ollama", "vllm", "lmstudio", "llamacpp"}


@pytest.mark.parametrize(
    ("provider", "model", "max_output"),
    [
        ("openai", "gpt-4o", 16384),
        ("openai", "gpt-4o-2024-05-13", 4096),
        ("openai", "gpt-4o-mini-2024-07-18", 16384),
        ("openai", "gpt-4.1-nano", 32768),
        ("openai", "gpt-5-mini", 128000),
        ("openai", "gpt-5-chat-latest", 16384),
        ("openai", "gpt-5.9", None),
        ("openai", "o3-2025-04-16", 100000),
        ("anthropic", "claude-sonnet-4-6", 128000),
        ("anthropic", "claude-haiku-4-5@20251001", 64000),
        ("anthropic", "claude-sonnet-4-20250514", 64000),
        ("gemini", "gemini-2.5-pro", 65536),
        ("zai", "GLM-4.6", 128000),
        ("groq", "gpt-4o", None),
        ("nobody", "gpt-4o", None),
    ],
)
def test_a_model_has_the_maximum_of_its_longest_family(
    provider: str, model: str, max_output: int | None
) -> None:
    assert MODELS.limits(provider, model).max_output == max_output


def test_an_exact_name_counts_before_a_family(tmp_path: Path) -> None:
    text = """
[limits.openai.prefix]
"m" = { max_output = 1 }
"m-large" = { max_output = 2, context_window = 20 }
[limits.openai.exact]
"m-large-2" = { max_output = 3 }
"""

    found = read_models(written(tmp_path, text))

    assert found.limits("openai", "m-small") == Limits(1)
    assert found.limits("openai", "m-large-1") == Limits(2, 20)
    assert found.limits("openai", "m-large-2") == Limits(3)
    assert found.limits("openai", "m.1") == Limits()
    assert found.limits("openai", "mm") == Limits()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[colours]", "unknown colours"),
        ("[limits.acme]", "unknown acme"),
        ("[unlisted]\nacme = []", "unknown acme"),
        ("[elsewhere]\nacme = []", "unknown acme"),
        ("[limits.openai.regex]", "unknown regex"),
        ("[limits.openai.exact]\nm = { max_outputs = 1 }", "m: unknown max_outputs"),
        ("[limits.openai.exact]\nm = { max_output = 0 }", "whole numbers"),
        ("[limits.openai.exact]\nm = { max_output = true }", "whole numbers"),
        ("[limits.openai.exact]\nm = {}", "whole numbers"),
        ("[limits.openai.exact]\nM = { max_output = 1 }", "lower case"),
    ],
)
def test_a_malformed_models_file_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ModelsFileError, match=re.escape(complaint)):
        read_models(written(tmp_path, text))


def test_a_file_without_patterns_hides_nothing(tmp_path: Path) -> None:
    empty = read_models(written(tmp_path, ""))

    assert empty.is_listed("openai", "text-embedding-3-small")


@pytest.mark.parametrize(
    "name",
    [
        "omni-moderation-latest",
        "tts-1-hd",
        "gpt-4o-mini-tts",
        "gemini-2.5-flash-preview-tts",
        "whisper-large-v3",
        "gpt-4o-transcribe",
        "gpt-realtime",
        "gemini-3.8-live",
        "gpt-image-1",
        "gpt-5-image-mini",
        "gemini-3-pro-image-preview",
        "mistral-ocr-2512",
        "o3-deep-research",
        "gpt-4o-search-preview",
        "grok-4.20-multi-agent",
        "perplexity/sonar",
        "openai/gpt-6-sol:batch",
    ],
)
def test_what_has_no_endpoint_or_no_bound_is_not_offered(name: str) -> None:
    assert not MODELS.is_offered(name)
    assert not MODELS.is_chat(name)
    assert not MODELS.is_served("openai", name)


@pytest.mark.parametrize(
    "name", ["gpt-4o", "gpt-audio", "claude-sonnet-4-6", "gemini-2.5-flash", "sonar-pro", "olive-1"]
)
def test_a_chat_model_is_offered(name: str) -> None:
    assert MODELS.is_chat(name)


@pytest.mark.parametrize(
    "name", ["grok-4", "grok-4-1-fast-reasoning", "grok-4-fast", "grok-code-fast-1", "grok-3"]
)
def test_what_xai_answers_with_a_dearer_model_is_not_served_at_the_old_price(name: str) -> None:
    assert not MODELS.is_served("xai", name)
    assert MODELS.is_served("xai", "grok-4.3")
    assert MODELS.is_served("azure", "grok-4-1-fast-reasoning")  # which has it still
