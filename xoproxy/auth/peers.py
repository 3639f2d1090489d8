"""Where a request comes from, and whether by TLS, with reverse proxies in between.

Anybody can send `X-Forwarded-For`. What it says is believed only from a reverse proxy that the
settings name, and only as far back as the chain consists of such.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol

_FOR = "X-Forwarded-For"
_PROTO = "X-Forwarded-Proto"


class Headers(Protocol):
    """Headers of a request, any of which may come more than once."""

    def getall(self, key: str, default: list[str], /) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end.

    Args:
        address: of him, not of a reverse proxy; "" if it is unknown.
        secure: whether he is connected by TLS.
    """

    address: str
    secure: bool = False


class Peers:
    """Finds out who is at the other end.

    Args:
        trusted: addresses and networks ("10.0.0.0/8") of reverse proxies.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = tuple(ip_network(text, strict=False) for text in trusted)

    def peer(self, remote: str | None, headers: Headers, *, secure: bool) -> Peer:
        """Return who made a request.

        Args:
            remote: address of the other end of the connection.
            headers: of the request.
            secure: whether the connection itself is TLS.
        """
        nearest = _address(remote or "")
        if nearest is None or not self._is_trusted(nearest):
            return Peer(str(nearest) if nearest else remote or "", secure)
        protocols = ",".join(headers.getall(_PROTO, [])).split(",")
        # each proxy appends to what it was sent, so what is farther left is said by others
        hops = ",".join(headers.getall(_FOR, [])).split(",")
        found = nearest
        for text in reversed(hops):
            hop = _address(text.strip())
            if hop is None:
                break
            found = hop
            if not self._is_trusted(hop):
                break
        return Peer(str(found), secure or protocols[-1].strip().lower() == "https")

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # a socket that serves both writes IPv4 addresses as ::ffff:192.0.2.1
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
