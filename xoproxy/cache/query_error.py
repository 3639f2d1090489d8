"""How a query is refused: what is wrong, where, and what to write instead."""

from xoproxy.errors import ClientError

_QUOTED_CHARACTERS = 60


class QueryError(ClientError):
    """The query cannot be understood; all of it may be shown to the client.

    Args:
        message: one sentence.
        position: where in the text at `at`, in characters; None when no text is at fault.
        hint: what to write instead, if we have an idea.
        at: which member of the query, as a JSON Pointer (`/fields/VM/0`); None for all of it.
    """

    def __init__(
        self,
        message: str,
        position: int | None = None,
        hint: str | None = None,
        at: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.hint = hint
        self.at = at

    @property
    def data(self) -> dict[str, object]:
        """What stands beside the message on the wire."""
        return {"at": self.at, "position": self.position, "hint": self.hint}


def quoted(value: object) -> str:
    """Quote what a client wrote, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}..."
