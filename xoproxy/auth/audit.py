"""What the audit log says, and how its records hold together. Pure: values in, values out.

Theory of operation. A record is a number, one more than that of the record before it, and its
content, a JSON text. Its hash is an HMAC-SHA256 over the hash before it and the content. So nobody
can change, insert, take out or reorder records without the key, be it that he may write to the
database. The ends of the chain are sealed with the key as well: the *head*, the newest record, so
that records are not cut off at the end unseen; and the *anchor*, the newest one that was let go
because it was old, so that what is left can still be verified.

Parameters are told by name. A value is told only where it is known to be no secret: names of users,
groups and roles, scopes of grants, objects that the proxy knows.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType

import msgspec

from xoproxy.auth.identity import Identity

DONE = "done"
SIGN_IN = "signIn"
_TEXT_LENGTH = 200
_NAMES = 40
"""Texts are cut to so many characters, lists of names to so many: a record has a bounded size."""


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody did, or tried to do.

    Args:
        operation: the API's name of it, or a method of XAPI ("VM.start").
        result: DONE, or the code of the error that he was given.
        user: his name; "" for somebody unknown.
        account_id: his account; "" for somebody unknown.
        credential: what he proved it with (`Identity.credential`), or how he tried ("password").
        peer: the address that he asked from.
        pool: id of the pool that it is about.
        about: the object.
        parameters: their names.
        details: values of those that are no secrets.
        count: how many alike it stands for.
    """

    operation: str
    result: str = DONE
    user: str = ""
    account_id: str = ""
    credential: str = ""
    peer: str = ""
    pool: str = ""
    about: str = ""
    parameters: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    count: int = 1

    def by(self, identity: Identity) -> "Action":
        """Return the action as one of somebody known."""
        return replace(
            self,
            user=identity.name,
            account_id=identity.account_id,
            credential=identity.credential,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the chain: the number of a record, and its hash."""

    number: int
    hash: bytes


BEGINNING = Place(0, bytes(hashlib.sha256().digest_size))
"""Before the first record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log.

    Args:
        number: one more than that of the record before it.
        at: when, to the millisecond.
        content: JSON; holds number and time, too.
        hash: of the chain up to here.
    """

    number: int
    at: datetime
    content: str
    hash: bytes

    @property
    def place(self) -> Place:
        return Place(self.number, self.hash)


class Ends(StrEnum):
    """The ends of the chain, which are sealed."""

    ANCHOR = "anchor"
    HEAD = "head"


def records(key: bytes, after: Place, actions: Iterable[tuple[Action, datetime]]) -> list[Record]:
    """Write actions down, in order, behind a place in the chain."""
    made = []
    for action, moment in actions:
        at = moment.astimezone(UTC)
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        text = _content(after.number + 1, at, action)
        record = Record(after.number + 1, at, text, _hash(key, after.hash, text))
        made.append(record)
        after = record.place
    return made


def seal(key: bytes, end: Ends, place: Place) -> bytes:
    """Seal an end of the chain; what seals the one does not fit the other."""
    return hmac.digest(key, f"{end} {place.number} ".encode() + place.hash, "sha256")


def is_sealed(key: bytes, end: Ends, place: Place, sealed: bytes) -> bool:
    return hmac.compare_digest(sealed, seal(key, end, place))


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place where the chain does not hold.

    Args:
        number: of the record that is wrong, or missing.
        reason: a sentence.
    """

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look at a stretch of the log found.

    Args:
        fault: the first one; None: there is none.
        first: number before the first record looked at.
        last: number of the last one.
        head: place of the newest record.
    """

    fault: Fault | None
    first: int
    last: int
    head: Place


def check(key: bytes, after: Place, found: Iterable[Record]) -> Fault | None:
    """Look whether records follow a place in the chain without a fault."""
    for record in found:
        expected = after.number + 1
        if record.number != expected:
            return Fault(expected, "the record is missing")
        if not hmac.compare_digest(record.hash, _hash(key, after.hash, record.content)):
            return Fault(expected, "the record was changed, or the one before it was")
        told = msgspec.json.decode(record.content)
        if (told["number"], told["at"]) != (record.number, _moment(record.at)):
            return Fault(expected, "the record's number or time was changed")
        after = record.place
    return None


def _content(number: int, at: datetime, action: Action) -> str:
    """Write one record's content; members without a value are left out."""
    told = {
        "user": _cut(action.user),
        "account": action.account_id,
        "credential": _cut(action.credential),
        "peer": _cut(action.peer),
        "operation": _cut(action.operation),
        "pool": _cut(action.pool),
        "object": _cut(action.about),
        "parameters": list(_cuts(action.parameters)),
        "details": {_cut(name): _plain(value) for name, value in action.details.items()},
        "result": _cut(action.result),
    }
    kept: dict[str, object] = {"number": number, "at": _moment(at)}
    kept |= {name: value for name, value in told.items() if value}
    if action.count != 1:
        kept["count"] = action.count
    return msgspec.json.encode(kept).decode()


def _plain(value: object) -> object:
    match value:
        case bool() | int():
            return value
        case list() | tuple() | set() | frozenset():
            return list(_cuts(map(str, value)))
        case _:
            return _cut(str(value))


def _cuts(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(sorted(texts)):
        if number == _NAMES:
            yield "..."
            return
        yield _cut(text)


def _cut(text: str) -> str:
    """Bound a text; what is read in a terminal one day shall not command it."""
    short = text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 3] + "..."
    if short.isprintable():
        return short
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in short)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def _hash(key: bytes, before: bytes, content: str) -> bytes:
    return hmac.digest(key, before + content.encode(), "sha256")
