"""Recorded exchanges with real providers, if they lie beside the repository."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "recordings"
available = FOLDER.is_dir()


@dataclass(frozen=True)
class Recording:
    """One exchange: the request's body (None if it was not kept) and the answer."""

    request: dict[str, Any] | None
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


def recording(name: str) -> Recording:
    """The exchange of that name, such as "openai-chat-text"."""
    meta = json.loads((FOLDER / f"{name}.meta.json").read_text(encoding="utf-8"))
    response = meta["response"]
    return Recording(
        request=meta["request"].get("body"),
        status=response["status"],
        headers=response["headers"],
        body=(FOLDER / response["file"]).read_bytes(),
    )
