"""What can go wrong for a client, cut by what the catcher can do.

    client.Error
    ├── Unreachable        nobody answers there, or somebody else does
    ├── NotSignedIn        the credentials are not good, or no longer
    ├── Disconnected       the connection ended; what was under way may have happened, or not
    ├── ProtocolFault      the proxy broke the protocol; recovered by a fresh subscription
    └── Refused            one request was refused: `code`, `data`, `retry`
        ├── BadQuery       the query cannot be understood: `position`, `hint`
        ├── Forbidden      not for this user
        ├── NotFound       not there, or not to be seen
        ├── Conflict       the object has changed since it was read
        └── XapiFailure    XAPI refused: `xapi_code`, `params`

A lost connection is no error of a view: it reconnects by itself, and resumes. Codes of XAPI stay
data (`failure.xapi_code == "VM_BAD_POWER_STATE"`), not hundreds of classes.
"""

from typing import Any


class Error(Exception):
    """Root of everything that this library raises itself; the text is for a person."""


class Unreachable(Error):  # noqa: N818 - reads as what happened, as all of these do
    """Nobody answers at the address, or something that is no xoproxy.

    Args:
        reason: one line, for a person.
        retry_after_s: after how many seconds to come again, if the answer said so.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class NotSignedIn(Error):  # noqa: N818
    """The proxy does not take the credentials, or no longer.

    Args:
        reason: one line, for a person.
        code: UNAUTHORISED, or OTP_REQUIRED when a one-time password is asked for.
    """

    def __init__(self, reason: str, code: str = "UNAUTHORISED") -> None:
        super().__init__(reason)
        self.code = code


class Disconnected(Error):  # noqa: N818
    """The connection ended.

    Args:
        reason: one line, for a person.
        code: the close code; None when it broke without one.
    """

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


class ProtocolFault(Error):  # noqa: N818
    """A message does not fit what came before: going on would make a document wrong."""


class Refused(Error):  # noqa: N818
    """One request was refused; the connection stays.

    Args:
        code: of the protocol: BUSY, LIMIT, TIMEOUT, ...
        message: one sentence for a person.
        data: detail, as docs/protocol.md names it for the code.
        retry: whether the same request may succeed later.
    """

    def __init__(self, code: str, message: str, data: Any = None, *, retry: bool = False) -> None:  # noqa: ANN401
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.retry = retry

    def _member(self, name: str) -> Any:  # noqa: ANN401 - JSON
        return self.data.get(name) if isinstance(self.data, dict) else None


class BadQuery(Refused):
    """The query cannot be understood."""

    @property
    def position(self) -> int | None:
        """Where in the filter, counted from 0."""
        position = self._member("position")
        return position if isinstance(position, int) else None

    @property
    def hint(self) -> str | None:
        """What to write instead."""
        hint = self._member("hint")
        return hint if isinstance(hint, str) else None

    def __str__(self) -> str:
        place = "" if self.position is None else f" (at character {self.position + 1})"
        return self.message + place + (f": {self.hint}" if self.hint else "")


class Forbidden(Refused):
    """Not for this user."""


class NotFound(Refused):
    """Not there; the same for what one may not see."""


class Conflict(Refused):
    """The object has changed since it was read."""


class XapiFailure(Refused):
    """XAPI refused."""

    @property
    def xapi_code(self) -> str:
        """XAPI's error code, for example "VM_BAD_POWER_STATE"."""
        return str(self.data[0]) if isinstance(self.data, list) and self.data else ""

    @property
    def params(self) -> tuple[str, ...]:
        """Its parameters, in XAPI's order."""
        return tuple(map(str, self.data[1:])) if isinstance(self.data, list) else ()

    def __str__(self) -> str:
        return f"{self.message} ({', '.join([self.xapi_code, *self.params])})"


_KINDS: dict[str, type[Refused]] = {
    "BAD_QUERY": BadQuery,
    "FORBIDDEN": Forbidden,
    "NOT_FOUND": NotFound,
    "CONFLICT": Conflict,
    "XAPI_FAILURE": XapiFailure,
}


def refused(code: str, message: str, data: Any = None, *, retry: bool = False) -> Refused:  # noqa: ANN401
    """Make the error of a code."""
    return _KINDS.get(code, Refused)(code, message, data, retry=retry)
