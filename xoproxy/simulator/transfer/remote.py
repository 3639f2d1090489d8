"""The other pool, as the one that sends a VM reaches it."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.transfer.parcel import Parcel

PATIENCE_S: Final = 60.0
_KEYS: Final = ("SM", "host", "xenops", "session_id", "master")


class Remote:
    """Puts parcels to a pool.

    Args:
        destination: what `host.migrate_receive` returned there; XapiError when it is not that.
    """

    def __init__(self, destination: Mapping[str, str]) -> None:
        if not all(key in destination for key in _KEYS):
            raise XapiError("INTERNAL_ERROR", "Not_found")
        self.host = destination["host"]
        self._storage = destination["SM"]
        self._xenops = destination["xenops"]

    async def put(self, parcel: Parcel) -> dict[str, Any]:
        """Put a parcel and return what the pool says to it.

        Raises:
            XapiError: what the pool refuses it with; or nobody is there who understands.
        """
        url = self._storage if parcel.step in {"disks", "drop"} else self._xenops
        try:
            async with asyncio.timeout(PATIENCE_S):
                reply = await _put(url, msgspec.json.encode(parcel))
            answer: dict[str, Any] = msgspec.json.decode(reply, type=dict)
        except (OSError, ValueError, TimeoutError) as error:
            raise XapiError("VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED") from error
        if "error" in answer:
            raise XapiError(*answer["error"])
        return answer


async def _put(url: str, body: bytes) -> bytes:
    """Send a body and return that of the answer; raises OSError or ValueError."""
    parts = urlsplit(url)
    tls = _trusting_everybody() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    try:
        head = (
            f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    top, _, payload = answer.partition(b"\r\n\r\n")
    if top.split(b" ", 2)[1:2] != [b"200"]:
        raise ValueError(f"the other pool answers {top[:40]!r}")
    return payload


def _trusting_everybody() -> ssl.SSLContext:
    """Pools know nothing of each other's certificates, on real ones neither."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
