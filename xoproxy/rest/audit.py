"""The audit log: how requests get into it, and the operations that read it.

Whatever may change something is recorded, and answered when its record is stored. Of what only
reads, refusals are noted. Parameters are told by their names; values only of `_TOLD`, and only when
the request was good: what is refused may be anything.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Protocol

import msgspec
from aiohttp import hdrs, web
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from xoproxy.auth import Identity
from xoproxy.auth.audit import DONE, SIGN_IN, Action, Checked, Record
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized
from xoproxy.rest.operations import Answer, Body, Moment, Operation, Request, WithCookie

_MOST = 200
_MOST_VERIFIED = 1_000
_TOLD = frozenset(
    {
        "deny",
        "enabled",
        "expires_in_s",
        "fingerprint",
        "group",
        "groups",
        "members",
        "must_change",
        "name",
        "permissions",
        "role",
        "scope",
        "user",
    }
)
"""Members of bodies whose values are no secrets."""
_UNREADABLE = "(unreadable)"
_WAYS = {"basic": "password", "bearer": "token"}


class Audit(Protocol):
    """The audit log."""

    def ready(self) -> None:
        """Raise `RequestRefused` while nothing can be recorded."""

    def note(self, action: Action) -> None:
        """Record soon; do not block or raise."""

    async def record(self, action: Action) -> None:
        """Record, and return when that is stored; else raise `RequestRefused`."""

    async def read(self, after: int, limit: int) -> Sequence[Record]: ...

    async def number_before(self, moment: datetime) -> int:
        """Return the number before the first record of a moment or later."""
        ...

    async def check(self, after: int, limit: int) -> Checked: ...


class Trail:
    """What the audit log is told of one request.

    Args:
        audit: the log.
        operation: that is asked for.
        request: who asks comes to be known later (`identity`).
        peer: the address that asks.
    """

    def __init__(self, audit: Audit, operation: Operation, request: web.Request, peer: str) -> None:
        self.identity: Identity | None = None
        self.body: Any = None
        """What the request carries, where it says who asks."""
        self._audit = audit
        self._operation = operation
        self._credentials = request.headers.get(hdrs.AUTHORIZATION, "")
        self._has_cookie = hdrs.COOKIE in request.headers
        self._peer = peer

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Note that the request is refused before anything is done."""
        try:
            yield
        except Unauthorized as error:
            if self._credentials or self._has_cookie or self.body is not None:  # else nobody tried
                self._audit.note(self._sign_in(error.code))
            raise
        except RequestRefused as refused:
            if self.identity is not None:
                self._audit.note(self._action(refused.code))
            raise

    async def run(self, asked: Request) -> Any:  # noqa: ANN401 - what the operation answers
        """Carry the operation out; if it may change something, with a record of how it ended."""
        if self._operation.method == "GET":
            return await self._operation.run(asked)
        self._audit.ready()
        result: str = ErrorCode.INTERNAL
        parameters = _names(asked.body)
        try:
            found = await self._operation.run(asked)
            result = DONE
        except (RequestRefused, Unauthorized) as refused:
            result = refused.code
            raise
        finally:
            if result != DONE:
                self._audit.note(replace(self._action(result), parameters=parameters))
        about = self._operation.path.format_map(dict(asked.path))
        if self._operation.status == HTTPStatus.CREATED:
            answer = found.answer if isinstance(found, WithCookie) else found
            about = f"{about}/{answer.id}"
        done = self._action(DONE)
        await self._audit.record(
            replace(done, about=about, parameters=parameters, details=_told(asked.body))
        )
        return found

    def _action(self, result: str) -> Action:
        action = Action(
            self._operation.id, result=result, peer=self._peer, about=self._operation.path
        )
        return action if self.identity is None else action.by(self.identity)

    def _sign_in(self, result: str) -> Action:
        scheme = self._credentials.partition(" ")[0].lower()
        if not scheme and self.body is not None:
            user, way = getattr(self.body, "username", None) or "", "password"
        else:
            user = _user(self._credentials) if scheme == "basic" else ""
            way = _WAYS.get(scheme, "session" if self._has_cookie else "")
        return Action(SIGN_IN, result, user=user, credential=way, peer=self._peer)


class AuditRecord(Answer):
    """One line of the log."""

    number: int
    at: Moment
    user: str = ""
    account: str = Field("", description="Id of the user's account")
    credential: str = Field("", description="What he signed in with: its kind and id")
    peer: str = Field("", description="The address that he asked from")
    operation: str
    pool: str = ""
    object: str = ""
    parameters: list[str] = Field([], description="Their names")
    details: dict[str, Any] = Field({}, description="Values that are no secrets")
    result: str = Field(description='"done", or the code of the error')
    count: int = Field(1, description="How many alike it stands for")
    hash: str = Field(description="Of the chain up to here, in hexadecimal")


class AuditPart(Body):
    """Which records."""

    since: Annotated[str, StringConstraints(max_length=40)] = Field(
        "0", description="A record's number, to get those behind it; or a moment in ISO 8601"
    )
    limit: Annotated[int, Field(strict=False, ge=1, le=_MOST)] = 100


class AuditStretch(Body):
    """What to verify."""

    after: Annotated[int, Field(strict=False, ge=0)] = Field(
        0, description="Number of a record that was verified; 0 begins at the oldest one"
    )
    limit: Annotated[int, Field(strict=False, ge=1, le=_MOST_VERIFIED)] = _MOST_VERIFIED


class AuditFault(Answer):
    """The first place where the chain does not hold."""

    number: int
    reason: str


class AuditCheck(Answer):
    """What a look at a stretch of the log found."""

    fault: AuditFault | None
    first: int = Field(description="Number of the first record that was looked at")
    last: int = Field(description="Number of the last one; go on from there")
    head: int = Field(description="Number of the newest record")
    head_hash: str = Field(description="Its hash; kept elsewhere, it proves what the log was then")


class AuditOperations:
    """The operations on the audit log."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def operations(self) -> Sequence[Operation]:
        return (
            Operation(
                "listAudit",
                "GET",
                "/audit",
                "Read the audit log, oldest records first",
                self._list,
                query=AuditPart,
                answer=list[AuditRecord],
            ),
            Operation(
                "verifyAudit",
                "GET",
                "/audit/verify",
                "Verify a stretch of the audit log",
                self._verify,
                query=AuditStretch,
                answer=AuditCheck,
            ),
        )

    async def _list(self, request: Request) -> Sequence[AuditRecord]:
        part: AuditPart = request.query
        after = await self._after(part.since)
        return [_shown(record) for record in await self._audit.read(after, part.limit)]

    async def _after(self, since: str) -> int:
        if since.isascii() and since.isdigit():
            return min(int(since), 1 << 62)
        try:
            moment = datetime.fromisoformat(since)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            text = "since: give a record's number, or a moment like 2026-01-31T12:00:00Z"
            raise RequestRefused(ErrorCode.BAD_MESSAGE, text)
        return await self._audit.number_before(moment)

    async def _verify(self, request: Request) -> AuditCheck:
        stretch: AuditStretch = request.query
        found = await self._audit.check(stretch.after, stretch.limit)
        fault = found.fault
        return AuditCheck(
            fault=AuditFault(number=fault.number, reason=fault.reason) if fault else None,
            first=found.first + 1,
            last=found.last,
            head=found.head.number,
            head_hash=found.head.hash.hex(),
        )


def _shown(record: Record) -> AuditRecord:
    place = {"number": record.number, "at": record.at, "hash": record.hash.hex()}
    try:
        told = msgspec.json.decode(record.content, type=dict[str, Any])
        return AuditRecord.model_validate({**told, **place})
    except (msgspec.DecodeError, ValidationError):  # somebody was there: see `verify`
        return AuditRecord.model_validate({**place, "operation": _UNREADABLE, "result": ""})


def _names(body: BaseModel | None) -> tuple[str, ...]:
    return () if body is None else tuple(sorted(body.model_fields_set))


def _told(body: BaseModel | None) -> Mapping[str, object]:
    if body is None:
        return {}
    return {name: _plain(getattr(body, name)) for name in _names(body) if name in _TOLD}


def _plain(value: object) -> object:
    """Write what is made of several members, like a scope, on one line."""
    if not isinstance(value, BaseModel):
        return value
    members = (getattr(value, name) for name in type(value).model_fields)
    return " ".join(str(member) for member in members if member is not None)


def _user(credentials: str) -> str:
    """Return the user name of Basic credentials; "" if they are none."""
    try:
        text = base64.b64decode(credentials.partition(" ")[2].strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text.partition(":")[0]
