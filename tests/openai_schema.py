"""OpenAI's published interface document, if it lies beside the repository, and what it says."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema_rs

yaml: Any = import_module("yaml")  # which has no types
FILE = Path(__file__).resolve().parent.parent.parent / "shared" / "specs" / "openai-openapi.yaml"
available = FILE.is_file()
# YAML as JSON has it: dates stay texts.
_RESOLVERS = {
    first: [(tag, regexp) for tag, regexp in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_LOADER: Any = type("_Loader", (yaml.CSafeLoader,), {"yaml_implicit_resolvers": _RESOLVERS})


@cache
def _validator(name: str) -> Any:
    schema = {"$ref": f"#/components/schemas/{name}", "components": _components()}
    return jsonschema_rs.Draft202012Validator(schema)


@cache
def _components() -> Any:
    return yaml.load(FILE.read_bytes(), Loader=_LOADER)["components"]


def faults(name: str, value: object) -> list[str]:
    """What of the value is not as the schema of that name says, each with its place."""
    found = _validator(name).iter_errors(value)
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in found]
