"""How the hosts of a pool are reached besides their addresses: what records say in URLs."""

from dataclasses import dataclass
from typing import Final

_STANDARD: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Site:
    """Scheme and port, the same for all hosts. XAPI's own are 443 and 80, and never written."""

    scheme: str = "https"
    port: int = 443

    def origin(self, address: str) -> str:
        """Return the URL of a host, without a path."""
        host = f"[{address}]" if ":" in address else address
        standard = _STANDARD[self.scheme] == self.port
        return f"{self.scheme}://{host}" if standard else f"{self.scheme}://{host}:{self.port}"

    def console(self, address: str, uuid: str) -> str:
        """Return the `location` of a console whose VM runs on the host with that address."""
        return f"{self.origin(address)}/console?uuid={uuid}"
