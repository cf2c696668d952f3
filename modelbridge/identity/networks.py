"""From where a key may be used: a list of networks, kept as JSON, asked on every call."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from modelbridge import jsonio

MAX_NETWORKS = 100

_Network = IPv4Network | IPv6Network


def read_networks(parts: Sequence[str]) -> list[str] | None:
    """The networks in their shortest form, without doubles; None for none: from everywhere.

    A single address is a network of one. Raises ValueError naming the field.
    """
    found = dict.fromkeys(str(_network(part.strip())) for part in parts if part.strip())
    if len(found) > MAX_NETWORKS:
        raise ValueError(f"addresses: at most {MAX_NETWORKS} networks")
    return list(found) or None


def contains(stored: str, address: str) -> bool:
    """Whether one of the stored networks has that address; False for what is no address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    plain = _plain(found)
    return any(plain in network for network in _networks(stored))


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that an IPv6 socket writes as ::ffff:192.0.2.1 is that IPv4 address."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=1024)
def _networks(stored: str) -> tuple[_Network, ...]:
    return tuple(ip_network(text) for text in jsonio.loads(stored))


def _network(text: str) -> _Network:
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"addresses: {text!r} is not an address or a network; write it like 203.0.113.7 or "
            "203.0.113.0/24"
        ) from None
    raise ValueError(
        f"addresses: {text} has bits beyond its /{meant.prefixlen}; if you mean the whole network, "
        f"write {meant}"
    )
