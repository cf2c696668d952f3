"""Which addresses an upstream may have: a base URL is checked when it is set, and the address that
is really connected to is checked again every time, so that a name cannot point elsewhere later.

Link-local addresses and the metadata services of clouds are never connected to: whoever may set a
base URL must not be able to read a machine's credentials with it (OWASP, "Server-Side Request
Forgery Prevention"). Private and loopback addresses are a choice of the operator's.
"""

import re
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

# 169.254.169.254, the metadata service of most clouds, is link-local; these are the others' own.
_METADATA = [
    ip_network("100.100.100.200/32"),  # Alibaba
    ip_network("168.63.129.16/32"),  # Azure's WireServer
    ip_network("192.0.0.192/32"),  # Oracle
    ip_network("fd00:ec2::/32"),  # AWS over IPv6
    ip_network("fd20:ce::254/128"),  # Google over IPv6
]
_METADATA_NAMES = {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
# The last 32 bits of these are an IPv4 address, which a gateway or the machine itself may go to.
_LOCAL_CARRIERS = [
    IPv6Network("64:ff9b:1::/48"),  # NAT64 of a network's own (RFC 8215)
    IPv6Network("::/96"),  # IPv4-compatible (RFC 4291)
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 7915)
]
_CARRIERS = [IPv6Network("64:ff9b::/96"), *_LOCAL_CARRIERS]
# Not global either, although Python takes some of them for it.
_LOCAL = [*_LOCAL_CARRIERS, IPv6Network("fec0::/10")]

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[^/:@?#\[\]\\\s]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~%!$&'()*+,;=:@-]*)*)",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)


def is_forbidden(address: str) -> bool:
    """Whether nobody may ever connect to this IP address, whatever the settings say.

    Looks through addresses that carry another one (mapped, compatible, translated, NAT64, 6to4,
    Teredo).
    """
    return any(_is_forbidden(one) for one in _carried(_parse(address)))


def is_public(address: str) -> bool:
    """Whether anybody on the internet has this IP address, and none that it carries is private."""
    return all(
        one.is_global and not any(one in network for network in _LOCAL)
        for one in _carried(_parse(address))
    )


def check_base_url(url: str, *, allow_private: bool) -> str:
    """The URL in its normal form: lower-case scheme and host, no default port, no slash at its end.

    Raises ValueError, naming the base URL and what to do, for anything that is not a plain http or
    https URL of a host; for http and for private and loopback hosts unless `allow_private`; for
    link-local and metadata hosts always. Names are not looked up: `dial` asks the same about the
    address of every connection.
    """
    found = _URL.fullmatch(url.strip())
    if found is None:
        raise ValueError(
            "base URL must look like https://api.example.com/v1, "
            "without user name, password, query or spaces"
        )
    scheme, host = found["scheme"].lower(), _normal_host(found["host"])
    _check_host(scheme, host, allow_private=allow_private)
    return f"{scheme}://{host}{_port(found['port'], scheme)}{_path(found['path'])}"


def _check_host(scheme: str, host: str, *, allow_private: bool) -> None:
    address = _literal(host)
    if host in _METADATA_NAMES or (address is not None and is_forbidden(str(address))):
        raise ValueError(
            "base URL names a link-local address or a cloud's metadata service, "
            "which is never allowed"
        )
    if allow_private:
        return
    if scheme == "http":
        raise ValueError("base URL must begin with https:// unless private addresses are allowed")
    if (
        is_public(str(address))
        if address is not None
        else "." in host and not host.endswith(_PRIVATE_SUFFIXES)
    ):
        return
    raise ValueError("base URL names a private or loopback host, which is not allowed here")


def _normal_host(host: str) -> str:
    host = host.lower().removesuffix(".")
    if host.startswith("["):
        try:
            return f"[{IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            raise ValueError("base URL has an IPv6 address that is not one") from None
    try:
        host = host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("base URL has a host name that is not one") from None
    if _NAME.fullmatch(host) is None or len(host) > 253:
        raise ValueError("base URL has a host name that is not one")
    if _literal(host) is None and _looks_numeric(host):
        raise ValueError("base URL must write an IPv4 address as four decimal numbers")
    return host


def _looks_numeric(host: str) -> bool:
    """Whether the C library would read it as an IPv4 address (`127.1`, `0x7f000001`, `017…`)."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def _port(text: str | None, scheme: str) -> str:
    if text is None:
        return ""
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError("base URL has a port that is not between 1 and 65535")
    return "" if port == {"http": 80, "https": 443}[scheme] else f":{port}"


def _path(path: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", path):
        raise ValueError("base URL has a % in its path that is not followed by two digits")
    if any(segment in (".", "..") for segment in path.split("/")):
        raise ValueError("base URL must not have . or .. in its path")
    return path.rstrip("/")


def _parse(address: str) -> Address:
    return ip_address(address.partition("%")[0])


def _carried(address: Address) -> Iterator[Address]:
    """The address itself, and the IPv4 addresses that it stands for."""
    yield address
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if any(address in network for network in _CARRIERS):
            yield IPv4Address(int(address) & 0xFFFFFFFF)


def _is_forbidden(address: Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address == IPv4Address("255.255.255.255")
        or any(address in network for network in _METADATA)
    )
