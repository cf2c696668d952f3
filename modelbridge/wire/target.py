"""One place that can answer, the request made for it, and what may be said about both.

`Target.dialect` is a name: this floor knows no dialect.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modelbridge.jsonio import JSONDict

Auth = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key", "none"]
# What is asked of a model, whatever the format it is asked in.
KindName = Literal["chat", "completions", "embeddings"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """How an OpenAI-compatible server differs: a closed list. Everything else is a dialect.

    `rename`: request fields under another name. `drop`: fields to leave out (hints only).
    `force`: fields set whatever the client says. `developer_role`: the role that stands for
    `developer`. `stream_usage`: `include_usage` when it must be asked for, `always` when it comes
    by itself, `never` when the server refuses `stream_options`. `speaks`: dialects beside its own,
    for clients that speak them, too. `thoughts_apart`: the most tokens of thought that come beside
    the maximum where that bounds the answer alone; 0: it bounds both.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    force: Mapping[str, object] = field(default_factory=dict)
    developer_role: str = "developer"
    stream_usage: Literal["include_usage", "always", "never"] = "include_usage"
    paths: Mapping[str, str] = field(default_factory=dict)
    speaks: tuple[str, ...] = ()
    thoughts_apart: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream, and the name under which it knows the model.

    `base_url` has no slash at its end. `credential` is sealed, and opened only where it is used.
    `cancel_stops_billing`: closing the connection stops the meter. `endpoints`: what the upstream
    itself takes for this model. `allow_private`: it may be at an address of this machine or a
    private network.
    """

    upstream_id: str
    upstream: str
    provider: str
    dialect: str
    base_url: str
    auth: Auth
    model: str
    quirks: Quirks = field(default_factory=Quirks)
    cancel_stops_billing: bool = False
    endpoints: tuple[KindName, ...] = ("chat",)
    credential: str | None = field(default=None, repr=False)
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request in an upstream's own format: where, with what headers, and the body.

    `dropped` names the client's fields that the format could not say (mere hints; a change of
    meaning raises UnsupportedParameter instead). A GET sends no body.
    """

    path: str
    body: JSONDict
    headers: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    method: Literal["POST", "GET"] = "POST"
