"""Which address each host of a pool gets on this machine."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, ip_address

LOOPBACK = IPv4Address("127.0.0.1")


def allotted(listen: str, coordinator: str, known: Mapping[str, str]) -> dict[str, str | None]:
    """Choose where hosts listen: {reference: address, or None for nowhere}.

    Args:
        listen: where the pool is to listen; the coordinator's.
        coordinator: its reference.
        known: the addresses that the hosts have in their records.
    """
    chosen: dict[str, str | None] = dict.fromkeys(known)
    base = loopback(listen)
    if base is not None:
        taken = {str(base)}
        free = _next_to(base)
        for ref, address in known.items():
            own = loopback(address)
            if ref != coordinator and own is not None and address not in taken:
                chosen[ref] = address
                taken.add(address)
        for ref in known:
            if ref != coordinator and chosen[ref] is None:
                chosen[ref] = next(address for address in free if address not in taken)
                taken.add(str(chosen[ref]))
    chosen[coordinator] = listen
    return chosen


def named(listen: str) -> str | None:
    """Return the address that records and other hosts name; None for a wildcard or a host name."""
    try:
        return None if ip_address(listen).is_unspecified else listen
    except ValueError:
        return str(LOOPBACK) if listen == "localhost" else None


def loopback(address: str) -> IPv4Address | None:
    """Return an IPv4 loopback address, None for every other."""
    try:
        found = LOOPBACK if address == "localhost" else ip_address(address)
    except ValueError:
        return None
    return found if isinstance(found, IPv4Address) and found.is_loopback else None


def _next_to(base: IPv4Address) -> Iterator[str]:
    """Count up from an address, and begin again where the loopback network ends."""
    first, size = int(IPv4Address("127.0.0.0")), 1 << 24
    for step in range(1, size):
        offset = (int(base) - first + step) % size
        if 0 < offset < size - 1:  # neither the network nor its broadcast address
            yield str(IPv4Address(first + offset))
