"""The file that a backup is: JSON, a value a line, the same for every database.

    {"xoproxy_backup": 1, "revision": "0004", "key_id": ..., "key": null, ...}     Head
    {"table": "accounts", "columns": {"id": "text", "enabled": "boolean", ...}}    before its rows
    ["k3f9", true, ...]                                                            a row
    {"rows": 12, "sha256": ..., "seal": ...}                                       End

Tables come in an order in which rows find what they refer to. Bytes are written as Base64, moments
as ISO 8601 in UTC. The digest, over all lines before the last, tells damage; the seal, an HMAC
of it with a key derived from the storage's, tells that a proxy wrote the file: who can change a
backup could otherwise make himself an administrator of whoever restores it.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnClause,
    DateTime,
    Integer,
    LargeBinary,
    String,
    Table,
    TableClause,
    TypeDecorator,
    column,
    table,
)
from sqlalchemy.types import TypeEngine

from xoproxy.errors import ConfigError
from xoproxy.storage.keyring import Keyring
from xoproxy.storage.schema import UtcDateTime

VERSION = 1
_LINE_BYTES = 16 << 20

_KINDS: Mapping[str, tuple[type[TypeEngine[Any]], TypeEngine[Any], Callable[[Any], Any]]] = {
    "boolean": (Boolean, Boolean(), bool),
    "integer": (Integer, BigInteger(), int),
    "moment": (DateTime, UtcDateTime(), lambda text: datetime.fromisoformat(text).astimezone(UTC)),
    "bytes": (LargeBinary, LargeBinary(), lambda text: base64.b64decode(text, validate=True)),
    "text": (String, String(), str),
}
"""Kind -> what the schema calls it, what it is written back as, how it is read from JSON."""


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup is of.

    Args:
        xoproxy_backup: version of the format.
        created_at: when.
        made_by: version of the proxy.
        revision: of the tables.
        key_id: which key opens what is sealed in it.
        key: that key in Base64, if it was asked for.
    """

    xoproxy_backup: int
    created_at: datetime
    made_by: str
    revision: str
    key_id: str
    key: str | None = None


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Says whose the following rows are."""

    table: str
    columns: dict[str, str]

    def clause(self) -> TableClause:
        """Return the table as it was then, which need not be as it is now."""
        columns: list[ColumnClause[Any]] = [
            column(name, _KINDS[kind][1]) for name, kind in self.columns.items()
        ]
        return table(self.table, *columns)


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Says that it is whole."""

    rows: int
    sha256: str
    seal: str


class Writer:
    """Writes the lines of one archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._rows = 0

    def head(self, head: Head) -> None:
        self._write(head)

    def section(self, of: Table) -> None:
        # SQLAlchemy's names are more than texts
        columns = {str(one.name): _kind(one.type) for one in of.columns}
        self._write(Section(str(of.name), columns))

    def rows(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._write(tuple(row))
            self._rows += 1

    def end(self, keyring: Keyring) -> int:
        """Finish, and return the number of rows."""
        digest = self._digest.hexdigest()
        self._write(End(self._rows, digest, _seal(keyring, digest)))
        return self._rows

    def _write(self, value: object) -> None:
        line = _line(value)
        self._digest.update(line)
        self._file.write(line)


def read_head(file: IO[bytes]) -> Head:
    """Read the first line.

    Raises:
        ConfigError: it is no backup, or of a later format.
    """
    file.seek(0)
    try:
        head = msgspec.json.decode(_next_line(file), type=Head)
    except (msgspec.MsgspecError, ValueError):
        raise ConfigError("this is no backup of xoproxy") from None
    if head.xoproxy_backup != VERSION:
        raise ConfigError(
            f"the backup has format {head.xoproxy_backup}, and this version reads {VERSION}; "
            "use the version that made it, or a newer one"
        )
    return head


def verify(file: IO[bytes], keyring: Keyring | None) -> int:
    """Read an archive to its end.

    Args:
        file: the archive.
        keyring: with the storage's key; None: nobody has it, and the seal is not looked at.

    Returns:
        The number of rows.

    Raises:
        ConfigError: it is damaged, or was changed.
    """
    file.seek(0)
    digest, rows = hashlib.sha256(), 0
    for line in iter(lambda: _next_line(file), b""):
        if line.startswith(b'{"rows":'):
            try:
                end = msgspec.json.decode(line, type=End)
            except (msgspec.MsgspecError, ValueError):  # UnicodeDecodeError is one
                break
            found = digest.hexdigest()
            if line != _line(End(rows, found, end.seal)) or file.read(1):
                break
            seal = _seal(keyring, found) if keyring is not None else end.seal
            if not hmac.compare_digest(end.seal.encode(), seal.encode()):
                raise ConfigError("the backup was changed by somebody who has no key to it")
            return rows
        rows += line.startswith(b"[")
        digest.update(line)
    raise ConfigError("the backup is damaged, or not whole; take another one")


def contents(file: IO[bytes]) -> Iterator[Section | list[Any]]:
    """Yield sections and rows of an archive that was verified.

    Raises:
        ConfigError: a line is not what we write.
    """
    file.seek(0)
    _next_line(file)
    readers: list[Callable[[Any], Any]] = []
    for line in iter(lambda: _next_line(file), b""):
        if line.startswith(b'{"rows":'):
            return
        try:
            if line.startswith(b"{"):
                section = msgspec.json.decode(line, type=Section)
                readers = [_KINDS[kind][2] for kind in section.columns.values()]
                yield section
                continue
            values = msgspec.json.decode(line, type=list[Any])
            row = [
                None if value is None else read(value)
                for value, read in zip(values, readers, strict=True)
            ]
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError):
            raise ConfigError("the backup holds what this version cannot read") from None
        yield row


def _line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _kind(of: TypeEngine[Any]) -> str:
    plain = of.impl_instance if isinstance(of, TypeDecorator) else of
    for kind, (known, _, _) in _KINDS.items():
        if isinstance(plain, known):
            return kind
    raise NotImplementedError(f"backups do not know columns of type {of!r}")


def _seal(keyring: Keyring, digest: str) -> str:
    return hmac.new(keyring.derived("backup"), digest.encode(), "sha256").hexdigest()


def _next_line(file: IO[bytes]) -> bytes:
    line = file.readline(_LINE_BYTES)
    if len(line) == _LINE_BYTES:
        raise ConfigError("the backup is damaged: a line is too long")
    return line
