"""Where another pool puts a VM: PUT /services/SM for its disks, /services/xenops for the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from xoproxy.simulator.database import Database, RowMissingError
from xoproxy.simulator.failures import XapiError, as_xapi
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.http import Connection, Handler, Head, PageError, Reply
from xoproxy.simulator.http_auth import HttpAuth
from xoproxy.simulator.transfer.incoming import Incoming
from xoproxy.simulator.transfer.parcel import Parcel

BYTES_MAX: Final = 64 << 20

_PARCEL = msgspec.json.Decoder(Parcel)


@dataclass(frozen=True, slots=True)
class TransferHandlers:
    """Receives VMs for one pool; who asks needs a session of it."""

    db: Database
    auth: HttpAuth

    def of(self, _host: Host) -> Mapping[tuple[str, str], Handler]:
        return {
            ("PUT", "/services/SM"): self._storage,
            ("PUT", "/services/xenops"): self._machine,
        }

    async def _storage(self, connection: Connection, head: Head) -> Reply:
        return await self._receive(connection, head, "put_services_sm")

    async def _machine(self, connection: Connection, head: Head) -> Reply:
        return await self._receive(connection, head, "put_services_xenops")

    async def _receive(self, connection: Connection, head: Head, realm: str) -> Reply:
        async with self.auth.admit(head, realm):
            body = await connection.read_body(_length(head))
            try:
                parcel = _PARCEL.decode(body)
            except msgspec.DecodeError:
                raise PageError(500) from None
            try:
                answer: dict[str, object] = Incoming(self.db).receive(parcel)
            except (XapiError, RowMissingError) as error:
                answer = {"error": as_xapi(error).description}
        return Reply(msgspec.json.encode(answer), "application/json")


def _length(head: Head) -> int:
    """Return Content-Length, which may be larger than that of a call: snapshots add up."""
    text = head.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit() or int(text) > BYTES_MAX:
        raise PageError(500)
    return int(text)
