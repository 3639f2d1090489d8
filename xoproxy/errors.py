"""What can go wrong, cut by what the catcher can do, and how each is said on the wire.

    XoproxyError
    ├── PoolError                    the pool's side: retry later, tell the operator
    │   ├── PoolUnreachable          no answer: name, port, TLS, time-out
    │   ├── PoolAuthFailed           the pool refuses our credentials
    │   └── XapiFailure              XAPI answered with an error: code and params are data
    ├── ClientError                  the client's side: its text may be shown to it
    │   ├── ProtocolError            the connection cannot go on: close 4502
    │   ├── Unauthorized             who are you?
    │   └── RequestRefused           one message is refused; the connection stays
    └── ConfigError                  the operator must change a setting

XAPI's hundreds of codes stay data (`failure.code == "HOST_IS_SLAVE"`), not classes.
"""

from enum import IntEnum, StrEnum
from typing import Any


class CloseCode(IntEnum):
    """WebSocket close codes of protocol v1. 43xx: reconnect; 45xx: do not, until something changes.

    | code | meaning                        | reconnect                          |
    |------|--------------------------------|------------------------------------|
    | 4301 | the proxy restarts             | yes, with jitter                   |
    | 4305 | credential expired or revoked  | with another credential            |
    | 4308 | no progress for 30 s           | yes, and resume                    |
    | 4310 | state lost                     | yes, with jitter                   |
    | 4501 | unauthorised                   | no                                 |
    | 4502 | protocol error                 | no: the client is at fault         |
    | 4503 | too many sessions              | later                              |
    """

    RESTARTING = 4301
    CREDENTIAL_REVOKED = 4305
    STALLED = 4308
    STATE_LOST = 4310
    UNAUTHORISED = 4501
    PROTOCOL_ERROR = 4502
    TOO_MANY_SESSIONS = 4503


class ErrorCode(StrEnum):
    """Codes of the `error` message; `retry` says whether the same request may succeed later.

    CERTIFICATE is of the HTTP API alone.
    """

    BAD_MESSAGE = "BAD_MESSAGE"
    BAD_QUERY = "BAD_QUERY"
    ID_IN_USE = "ID_IN_USE"
    UNAUTHORISED = "UNAUTHORISED"
    OTP_REQUIRED = "OTP_REQUIRED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    CERTIFICATE = "CERTIFICATE"
    BUSY = "BUSY"
    LIMIT = "LIMIT"
    TOO_LARGE = "TOO_LARGE"
    POOL_UNAVAILABLE = "POOL_UNAVAILABLE"
    XAPI_FAILURE = "XAPI_FAILURE"
    TIMEOUT = "TIMEOUT"
    INTERNAL = "INTERNAL"

    @property
    def retry(self) -> bool:
        return self in _RETRY


_RETRY = frozenset({ErrorCode.BUSY, ErrorCode.POOL_UNAVAILABLE, ErrorCode.TIMEOUT})


class XoproxyError(Exception):
    """Root of everything we raise ourselves."""


class ConfigError(XoproxyError):
    """A setting is missing or wrong; the text says which and what to do."""


class PoolError(XoproxyError):
    """Something on the pool's side failed."""


class PoolUnreachable(PoolError):  # noqa: N818 - reads as what happened
    """The pool gave no usable answer: name resolution, connection, TLS, time-out, not XAPI.

    Args:
        message: one sentence for a person, without addresses or credentials.
        code: UNREACHABLE, TIMEOUT, CERTIFICATE or NOT_XAPI, as `pool_link.error` shows it.
    """

    def __init__(self, message: str, code: str = "UNREACHABLE") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class PoolAuthFailed(PoolError):  # noqa: N818
    """The pool refuses our user or password."""


class XapiFailure(PoolError):  # noqa: N818
    """XAPI answered a call with an error.

    Args:
        code: XAPI's error code, for example "VM_BAD_POWER_STATE".
        params: its parameters, in XAPI's order.
    """

    def __init__(self, code: str, params: tuple[str, ...] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.params = params


class ClientError(XoproxyError):
    """Something on the client's side is wrong; the text may be shown to the client."""


class ProtocolError(ClientError):
    """The connection cannot go on (close code 4502)."""


class Unauthorized(ClientError):  # noqa: N818
    """The credentials are not good, or one more factor is needed."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.UNAUTHORISED) -> None:
        super().__init__(message)
        self.code = code


class RequestRefused(ClientError):  # noqa: N818
    """One request is refused with a code; the connection stays.

    Args:
        code: the wire code.
        message: one sentence for a person.
        data: machine-readable detail, as the protocol names it for the code.
    """

    def __init__(self, code: ErrorCode, message: str, data: Any = None) -> None:  # noqa: ANN401
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
