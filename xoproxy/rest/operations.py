"""What an operation of the API is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints

from xoproxy.auth import Identity


class Body(BaseModel):
    """What a request carries; unknown members are refused, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Answer(BaseModel):
    """What a response carries."""

    model_config = ConfigDict(frozen=True)


def without_nul(text: str) -> str:
    """Refuse the one character that not every database can keep."""
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters or line breaks")
    return text


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_printable),
]
Moment = AwareDatetime


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has passed all checks.

    Args:
        identity: who asks.
        administers: whether he may do everything everywhere.
        peer: the address that asks.
        path: the variable parts of the path.
        query: an instance of the operation's `query`, or None.
        body: an instance of the operation's `body`, or None.
        user_agent: what the program that asks calls itself.
    """

    identity: Identity
    administers: bool
    peer: str
    path: Mapping[str, str]
    query: Any
    body: Any
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class WithCookie:
    """An answer that gives a browser the cookie of its session, or takes it away.

    Args:
        answer: what the operation's `answer` describes.
        secret: "" to take it away.
        ends_at: when the session is over in any case.
    """

    answer: Any
    secret: str = field(repr=False)
    ends_at: datetime


class Who(StrEnum):
    """Who may ask for an operation."""

    ADMINISTRATORS = "For administrators."
    EVERYBODY = "For everybody who has signed in."
    NEWCOMERS = "Also for who has to choose another password before anything else."


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: a method on a path.

    Args:
        id: its name for generated clients.
        path: below /api/v1, with {variables}.
        run: carries it out; returns what `answer` describes.
        who: may ask for it; for others it is forbidden, whatever they ask.
        query: the parameters behind the "?"; None: none are looked at.
        body: what the request carries; None: nothing.
        answer: what a success returns, as a pydantic model or a list of one (`run` may return
            an iterator then); None: nothing.
        refusals: statuses of its own that it may answer with, beside those that all share.
        sign_in: finds out who asks by what the body says, given the address, if no header says
            it; cookies do not count then. None: the body says nothing about that.
    """

    id: str
    method: str
    path: str
    summary: str
    run: Callable[[Request], Awaitable[Any]]
    who: Who = Who.ADMINISTRATORS
    query: type[Body] | None = None
    body: type[Body] | None = None
    answer: Any = None
    status: HTTPStatus = HTTPStatus.OK
    refusals: tuple[HTTPStatus, ...] = ()
    sign_in: Callable[[Any, str], Awaitable[Identity]] | None = None
