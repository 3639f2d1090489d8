"""A live window: some rows of what a query finds on all pools, in order, and how many there are."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from xoproxy.client.document import Document
from xoproxy.client.errors import Error
from xoproxy.client.objects import Object
from xoproxy.client.replica import Replica
from xoproxy.client.subscription import Slot, Subscription
from xoproxy.client.view import Found, Live

if TYPE_CHECKING:
    from xoproxy.client.client import Client


class Window(Live):
    """The rows of a window, always up to date (docs/protocol.md, section 11)."""

    def __init__(self, client: "Client", subscription: Subscription) -> None:
        super().__init__(client, subscription)
        self._refusal: Error | None = None

    @property
    def offset(self) -> int:
        """Which row comes first, of all that the query finds."""
        offset: int = self._subscription.query["window"][0]
        return offset

    @property
    def count(self) -> int:
        """How many rows are wanted."""
        count: int = self._subscription.query["window"][1]
        return count

    @property
    def rows(self) -> list[Object]:
        """The rows, in order, as they are now."""
        slot = self._slot
        return [] if slot is None else [self._row(slot, key) for key in self._member("order", ())]

    @property
    def total(self) -> int:
        """How many objects the query finds."""
        total: int = self._member("total", 0)
        return total

    @property
    def facets(self) -> Mapping[str, Mapping[str, int]]:
        """How often each value of the fields asked for occurs among all of them."""
        facets: Mapping[str, Mapping[str, int]] = self._member("facets", {})
        return facets

    async def move(self, offset: int, count: int | None = None) -> None:
        """Show other rows; returns when they are there.

        Raises:
            Refused: the proxy does not want to.
            Error: nothing will happen any more.
        """
        wanted = offset, self.count if count is None else count
        if wanted == (self.offset, self.count):
            return
        before, self._refusal = self._view, None
        self._client.move_window(self._subscription, *wanted)
        # No answer names the request; but other rows are another view.
        while self._refusal is None and (self._view == before or not self.is_current):
            await self.updated()
        if self._refusal is not None:
            raise self._refusal

    async def until(self, predicate: "Callable[[Window], Found]") -> Found:
        """Wait until a predicate of the window is true, and return what it returned.

        Raises:
            Error: nothing will happen any more.
        """
        while not (found := predicate(self)):
            await self.updated()
        return found

    def __iter__(self) -> Iterator[Object]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self._member("order", ()))

    def __repr__(self) -> str:
        return f"<Window {self.id}: {len(self)} rows from {self.offset}, of {self.total}>"

    def refused(self, error: Error) -> None:
        """A subscription that was never answered has failed; else it was a move."""
        if self._subscription.answered:
            self._refusal = error
            self.woken()
        else:
            super().refused(error)

    @property
    def _view(self) -> tuple[Replica, int] | None:
        """Which view it is at present; numbers of different connections say nothing."""
        return None if self._slot is None else (self._slot.replica, self._slot.replica.number)

    @property
    def _slot(self) -> Slot | None:
        return self._subscription.slots.get(None)

    def _member(self, name: str, absent: Any) -> Any:  # noqa: ANN401 - JSON
        return absent if self._slot is None else self._slot.shown.window.get(name, absent)

    @staticmethod
    def _row(slot: Slot, key: str) -> Object:
        shown: Document = slot.shown
        ((cls, objects),) = shown.classes.items()
        return Object(slot, cls, key, objects[key])
