"""What we ourselves need to know of a pool's and its hosts' records.

A pool that tells nonsense must not end anything: what cannot be read is as if nothing was told.
"""

from typing import TypeVar

import msgspec


class PoolRow(msgspec.Struct):
    uuid: str = ""
    name_label: str = ""
    master: str = ""


class HostRow(msgspec.Struct):
    name_label: str = ""
    address: str = ""
    API_version_major: int = 0
    API_version_minor: int = 0
    software_version: dict[str, str] = {}


_Row = TypeVar("_Row", PoolRow, HostRow)
_pool = msgspec.json.Decoder(PoolRow)
_host = msgspec.json.Decoder(HostRow)


def pool_row(raw: bytes | msgspec.Raw) -> PoolRow:
    return _read(_pool, raw, PoolRow())


def host_row(raw: bytes | msgspec.Raw) -> HostRow:
    return _read(_host, raw, HostRow())


def _read(decoder: msgspec.json.Decoder[_Row], raw: bytes | msgspec.Raw, nothing: _Row) -> _Row:
    try:
        return decoder.decode(raw)
    except msgspec.MsgspecError:
        return nothing
