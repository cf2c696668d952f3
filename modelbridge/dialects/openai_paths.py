"""Where below its base URL an OpenAI-compatible upstream takes a call."""

from urllib.parse import quote

from modelbridge.wire.target import Target

_MODEL = "{model}"
_NAMES_MODELS_IN_THE_BODY = "/v1"


def path_at(target: Target, dialect: str, usual: str) -> str:
    """The path for that dialect: the provider's own, or the usual one.

    A path with `{model}` in it is Azure's, which has an address for each deployment. Its newer
    addresses end in /openai/v1 and take the usual paths, with the model named in the body.
    Source: https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
    """
    path = target.quirks.paths.get(dialect, usual)
    if _MODEL not in path:
        return path
    if target.base_url.endswith(_NAMES_MODELS_IN_THE_BODY):
        return usual
    return path.replace(_MODEL, quote(target.model, safe=""))
