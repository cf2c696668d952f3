"""Code to copy: the first call with a key, true of this bridge and of that key."""

from collections.abc import Sequence
from dataclasses import dataclass

from modelbridge.catalog.routes import Catalog
from modelbridge.store.tables import ApiKey

# The first of these that the key may call is the example; else whatever there is.
_LIKED = ("gpt-5.4-mini", "claude-sonnet-4-6", "gpt-5.4", "gemini-2.5-flash")


@dataclass(frozen=True, slots=True)
class Example:
    """One block of code; `element_id` is unique on the page."""

    element_id: str
    title: str
    code: str


def first_calls(public_url: str, secret: str, model: str) -> list[Example]:
    """The environment variables, curl, OpenAI's SDKs, and Claude Code.

    `public_url` is the bridge's own, without `/v1`.
    """
    base_url = f"{public_url}/v1"
    return [
        Example("environment", "Environment variables", _environment(base_url, secret)),
        Example("curl", "curl", _curl(base_url, secret, model)),
        Example("python", "Python (OpenAI SDK)", _python(base_url, secret, model)),
        Example("node", "Node (OpenAI SDK)", _node(base_url, secret, model)),
        Example("claude-code", "Claude Code", _claude_code(public_url, secret, model)),
    ]


def model_for(catalog: Catalog, key: ApiKey) -> str | None:
    """A model that this key can call now, or None while the bridge offers none.

    A live key calls what the upstreams serve; a test key any model of the catalogue.
    """
    offered = catalog.known_names() if key.mode == "test" else catalog.names()
    allowed = [name for name in offered if key.models is None or name in key.models]
    return liked(allowed)


def liked(names: Sequence[str]) -> str | None:
    """The name among these that makes the best example, or None if there are none."""
    found = [name for name in _LIKED if name in names]
    return next(iter([*found, *names]), None)


def _environment(base_url: str, secret: str) -> str:
    return f'export OPENAI_API_KEY="{secret}"\nexport OPENAI_BASE_URL="{base_url}"'


def _curl(base_url: str, secret: str, model: str) -> str:
    return (
        f"curl {base_url}/chat/completions \\\n"
        f'  -H "Authorization: Bearer {secret}" \\\n'
        f'  -H "Content-Type: application/json" \\\n'
        "  -d '{\n"
        f'    "model": "{model}",\n'
        '    "messages": [{"role": "user", "content": "Hello"}]\n'
        "  }'"
    )


def _python(base_url: str, secret: str, model: str) -> str:
    return (
        "from openai import OpenAI\n"
        "\n"
        "client = OpenAI(\n"
        f'    base_url="{base_url}",\n'
        f'    api_key="{secret}",\n'
        ")\n"
        "reply = client.chat.completions.create(\n"
        f'    model="{model}",\n'
        '    messages=[{"role": "user", "content": "Hello"}],\n'
        ")\n"
        "print(reply.choices[0].message.content)"
    )


def _node(base_url: str, secret: str, model: str) -> str:
    return (
        'import OpenAI from "openai";\n'
        "\n"
        "const client = new OpenAI({\n"
        f'  baseURL: "{base_url}",\n'
        f'  apiKey: "{secret}",\n'
        "});\n"
        "const reply = await client.chat.completions.create({\n"
        f'  model: "{model}",\n'
        '  messages: [{ role: "user", content: "Hello" }],\n'
        "});\n"
        "console.log(reply.choices[0].message.content);"
    )


def _claude_code(public_url: str, secret: str, model: str) -> str:
    # Claude Code adds /v1/messages to the address by itself.
    return (
        f'export ANTHROPIC_BASE_URL="{public_url}"\n'
        f'export ANTHROPIC_AUTH_TOKEN="{secret}"\n'
        f'export ANTHROPIC_MODEL="{model}"\n'
        "claude"
    )
