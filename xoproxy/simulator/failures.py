"""How a simulated call fails."""

from xoproxy.simulator.database import RowMissingError
from xoproxy.simulator.wiretypes import WrongTypeError


class XapiError(Exception):
    """A failure as XAPI reports it: a code and texts."""

    def __init__(self, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = list(params)

    @property
    def description(self) -> list[str]:
        return [self.code, *self.params]


class EarlyError(XapiError):
    """A failure before a call is dispatched, which JSON-RPC answers in another form."""


def as_xapi(error: XapiError | RowMissingError | WrongTypeError) -> XapiError:
    """Translate what the database and the decoder raise into XAPI's own failures."""
    match error:
        case RowMissingError():
            return XapiError("HANDLE_INVALID", error.cls, error.ref)
        case WrongTypeError():
            return XapiError("INTERNAL_ERROR", str(error))
        case _:
            return error
