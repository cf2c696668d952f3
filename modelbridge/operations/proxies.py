"""Who calls, when a reverse proxy stands in front: told by it, and believed from it alone.

`X-Forwarded-For` grows to the right: each proxy adds whom it was called by. Read from that end, the
first address that is no proxy of ours is the client; what stands further left anybody may have
written. https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_FOR, _PROTO = "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"


class BehindProxies:
    """The application, which sees the client's address and scheme where a proxy of ours says them.

    From anywhere else these headers are taken away.
    """

    def __init__(self, application: "WSGIApplication", networks: Sequence[str]) -> None:
        self._application = application
        self._networks = tuple(ip_network(text) for text in networks)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Serve the request."""
        forwarded_for, scheme = environ.pop(_FOR, ""), environ.pop(_PROTO, "")
        if self._is_ours(environ.get("REMOTE_ADDR", "")):
            self._believe(environ, forwarded_for)
            if scheme.strip().lower() in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme.strip().lower()
        return self._application(environ, start_response)

    def _believe(self, environ: dict[str, Any], forwarded_for: str) -> None:
        """The rightmost address that is no proxy's of ours; what is no address ends the search."""
        for text in reversed(forwarded_for.split(",")):
            address = text.strip()
            try:
                ip_address(address)
            except ValueError:
                return
            environ["REMOTE_ADDR"] = address
            if not self._is_ours(address):
                return

    def _is_ours(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # how an IPv6 socket writes an IPv4 caller
        return any(address in network for network in self._networks)
