"""One view as this client holds it: where it stands, and what may come next.

    building ──last──> whole ──patch──> whole
       ^                 │ reset
       └─────────────────┘
    comparing ──buckets──> building         (a held document, of which parts are replaced)

Whatever does not fit the state raises `ProtocolFault`, and leaves the document as it was.
"""

from msgspec import UNSET

from xoproxy.client import digests
from xoproxy.client.document import Delta, Document
from xoproxy.client.errors import ProtocolFault
from xoproxy.client.messages import Bookmark, Message, Operation, Patch, Reset, Snapshot, ViewInfo


class Replica:
    """A query's objects on one pool, or in one window.

    Args:
        info: as `subscribed` told it.

    Attributes:
        number: by which messages name it on the present connection.
        pool: whose objects; None for a window.
        document: what it shows if it is `complete`; else what has come so far.
        position: the seq at which the document stands.
        token: the newest that belongs to the document; None: it cannot be resumed.
    """

    __slots__ = (
        "_before", "_comparing", "_parts", "_span", "classes", "complete", "document", "epoch",
        "number", "pool", "position", "token",
    )  # fmt: skip

    def __init__(self, info: ViewInfo) -> None:
        self.number = info.view
        self.pool = info.pool
        self.epoch = info.epoch
        self.classes = tuple(info.classes)
        self.position = info.seq
        self.token: str | None = None
        self.complete = False
        self._comparing = False
        self._before: Document | None = None
        """What was whole before what is coming."""
        self.document = self._empty()
        self._parts: list[Operation] = []
        self._span: tuple[int, int] | None = None
        """What the parts that were collected are of."""

    @property
    def resume_point(self) -> Message | None:
        """What is handed in to go on with this document; None when it cannot be."""
        if not self.complete or self.token is None:
            return None
        return {"token": self.token, "seq": self.position}

    def hold(self, document: Document, token: str | None) -> None:
        """Go on with a document that was whole at the position."""
        self.document, self.token = document, token
        self.complete = True

    def follow(self, document: Document) -> None:
        """Know what was whole before, to share what is the same."""
        self._before = document

    def compare(self, document: Document) -> None:
        """Take a document whose position is of no more use: parts of it will be replaced."""
        self.document = document.copy()
        self._comparing = True

    def digests(self) -> Message:
        """Say what is held; takes long for a large document."""
        buckets = digests.bucket_count(len(self.document))
        return {
            "type": "digests",
            "view": self.number,
            "buckets": buckets,
            "digests": digests.digests(self.document, buckets),
        }

    # --- what comes ------------------------------------------------------------------------------

    def add_rows(self, message: Snapshot) -> None:
        """Take a message of a snapshot."""
        if self.complete:
            raise ProtocolFault(f"a snapshot of {self} came without being announced")
        if self._comparing is (message.buckets is None):
            raise ProtocolFault(f"a snapshot of {self} tells buckets, or not, when it should not")
        if message.buckets is not None:
            count = digests.bucket_count(len(self.document))
            digests.empty_buckets(self.document, message.buckets, count)
            self._comparing = False
        self.document.put_rows(
            message.cls, message.fields, message.keys, message.rows, self._before
        )
        if message.last:
            self._finish(message)

    def _finish(self, message: Snapshot) -> None:
        if self.document.is_window:
            if message.order is UNSET or message.total is UNSET:
                raise ProtocolFault("a window came without order or total")
            self.document.window = {"order": message.order, "total": message.total}
            if message.facets is not UNSET:
                self.document.window["facets"] = message.facets
        self.position = message.seq
        self.complete = True
        self._before = None

    def patch(self, message: Patch) -> list[Delta] | None:
        """Take a patch, or a part of one, which changes nothing: None."""
        span = message.from_, message.to
        if not self.complete:
            raise ProtocolFault(f"a patch of {self} came before its snapshot's last message")
        if span[0] != self.position:
            raise ProtocolFault(
                f"a patch of {self} leads from {span[0]}, but the document is at {self.position}"
            )
        if self._span not in {None, span}:
            raise ProtocolFault(f"parts of different patches of {self} are mixed")
        self._parts += message.ops
        self._span = span
        if message.more:
            return None
        operations = self._parts
        self.drop_parts()
        deltas = self.document.patch(operations)
        self.position = message.to
        return deltas

    def bookmark(self, message: Bookmark) -> None:
        """Keep a token, if it is of the position at which we stand."""
        if self.complete and message.seq == self.position:
            self.token = message.resume

    def reset(self, message: Reset) -> None:
        """Forget the document; a snapshot follows."""
        self.epoch = message.epoch
        self._restart(message.seq)

    def move(self, number: int, position: int) -> None:
        """Go on under another number; the token names the rights of before.

        When the position is not where the last patch led, the way there is not known: a reset
        follows, and until then this document is not what the user may see.
        """
        self.number = number
        self.token = None
        if position != self.position or not self.complete or self._span is not None:
            self._restart(position)

    def drop_parts(self) -> None:
        """Discard what came of a patch so far; the document still stands at its beginning."""
        self._parts = []
        self._span = None

    def _restart(self, position: int) -> None:
        if self.complete:
            self._before = self.document
        self.document = self._empty()
        self.position = position
        self.complete = self._comparing = False
        self.token = None
        self.drop_parts()

    def _empty(self) -> Document:
        return Document(self.classes, is_window=self.pool is None)

    def __str__(self) -> str:
        return "a window" if self.pool is None else f"pool {self.pool}"
