"""A request to an upstream, without requests' Session: nothing in it is from the environment."""

import logging
from collections.abc import Callable

from requests import PreparedRequest

from modelbridge import jsonio
from modelbridge.errors import UpstreamAuthFailed, UpstreamError
from modelbridge.upstream.credentials import CredentialError
from modelbridge.wire.target import Target, WireRequest

logger = logging.getLogger("modelbridge.upstream")

_AUTH = {
    "bearer": ("authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "x-goog-api-key": ("x-goog-api-key", ""),
    "api-key": ("api-key", ""),
}


def prepare(
    target: Target,
    request: WireRequest,
    credential_of: Callable[[Target], str | None],
    *,
    stream: bool,
) -> PreparedRequest:
    """The request, ready to send. `stream` only says what is asked to be accepted.

    Raises UpstreamError (`refused`) for what cannot be sent, UpstreamAuthFailed for a credential
    that cannot be used.
    """
    body = jsonio.dumps(request.body) if request.method == "POST" else None
    headers = {name.lower(): value for name, value in request.headers.items()}
    if body is not None:
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
    headers |= {
        "accept": "text/event-stream" if stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "ModelBridge",
    }
    if not is_sendable("".join(headers.values())):
        raise UpstreamError("A header for the upstream cannot be sent.", refused=True)
    if target.auth != "none" and (credential := _credential(target, credential_of)):
        name, prefix = _AUTH[target.auth]
        headers[name] = prefix + credential
    prepared = PreparedRequest()
    prepared.method = request.method
    prepared.url = target.base_url + request.path
    prepared.headers = headers  # type: ignore[assignment]  # as good a mapping, and faster
    prepared.body = body
    return prepared


def is_sendable(value: str) -> bool:
    """Whether it can stand in a header: printable ASCII."""
    return value.isascii() and value.isprintable()


def _credential(target: Target, credential_of: Callable[[Target], str | None]) -> str | None:
    name = target.upstream
    try:
        credential = credential_of(target)
    except CredentialError as error:
        logger.error("upstream %s: %s", name, error)
        raise UpstreamAuthFailed(
            f"The credential of the upstream {name!r} cannot be used.", refused=True
        ) from None
    if credential is not None and not is_sendable(credential):
        logger.error("upstream %s: the credential has characters that no header can", name)
        raise UpstreamAuthFailed(
            f"The credential of the upstream {name!r} cannot be used.", refused=True
        )
    return credential
