"""A live view: what a query finds on all pools, kept up to date."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from xoproxy.client.changes import Changes, Signal
from xoproxy.client.document import Delta
from xoproxy.client.errors import Error
from xoproxy.client.objects import Object, changes_of
from xoproxy.client.subscription import Slot, Subscription

if TYPE_CHECKING:
    from xoproxy.client.client import Client

Found = TypeVar("Found")


class Live:
    """What all that is followed has in common: it changes, can be awaited, and ends.

    Args:
        client: follows it.
        subscription: the core's part of it.
    """

    def __init__(self, client: "Client", subscription: Subscription) -> None:
        self._client = client
        self._subscription = subscription
        self._signal = Signal()
        self._listeners: WeakSet[Changes] = WeakSet()
        self._closed = False
        self._since: Changes | None = None
        if subscription.slots:  # held in another life: the first who listens is told what differs
            self._since = self.changes()

    @property
    def id(self) -> int | str:
        """By which the proxy's log names the subscription."""
        return self._subscription.id

    @property
    def query(self) -> Mapping[str, Any]:
        return self._subscription.query

    @property
    def is_current(self) -> bool:
        """Whether the proxy has told all that there is; if not, older content is shown.

        False while there is no connection, and while a snapshot comes.
        """
        return self._subscription.complete

    def changes(self) -> Changes:
        """Listen to changes from now on; the first time, from the state that was handed in."""
        if self._since is not None:
            since, self._since = self._since, None
            return since
        changes = Changes(self._signal)
        if self._closed:
            changes.end()
        self._listeners.add(changes)
        return changes

    async def updated(self) -> None:
        """Wait for the next time that something happens to it.

        Raises:
            Error: nothing will happen any more.
        """
        await self._signal.wait()

    async def close(self) -> None:
        """End it: what it shows stays as it is, and its `changes` come to an end."""
        if self._closed:
            return
        self._closed = True
        for listener in self._listeners:
            listener.end()
        self._signal.notify()
        with suppress(Error):  # then there is nothing left to end
            await self._client.unsubscribe(self._subscription)

    # --- for the client --------------------------------------------------------------------------

    def happened(self, slot: Slot, deltas: list[Delta]) -> None:
        """Take what the core tells of a pool."""
        if deltas:
            for listener in self._listeners:
                listener.note(changes_of(slot, deltas))
        self._signal.notify()

    def woken(self) -> None:
        """Something else than the content is different now."""
        self._signal.notify()

    def refused(self, error: Error) -> None:
        """The proxy refused a request about it."""
        self._signal.fail(error)

    def fail(self, error: Error) -> None:
        """Nothing will happen any more."""
        self._signal.fail(error)


class PoolView(Mapping[str, Object]):
    """What a view shows of one pool: reference -> object."""

    __slots__ = ("_slot",)

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    @property
    def pool(self) -> str:
        """The pool's id."""
        return self._slot.pool or ""

    @property
    def position(self) -> int:
        """Where in the pool's history the view stands; means nothing before `is_current`."""
        return self._slot.replica.position

    @property
    def is_current(self) -> bool:
        """Whether this is all that there is; if not, a snapshot is on its way."""
        return self._slot.replica.complete

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the query that the pool has."""
        return self._slot.replica.classes

    def objects(self, cls: str | None = None) -> Iterator[Object]:
        """Iterate over the objects, or those of one class, as they are now.

        What changes while you iterate changes nothing here, even if you await in between.
        """
        shown = self._slot.shown.classes
        taken = [(c, list(shown.get(c, {}).items())) for c in ([cls] if cls else shown)]
        for found, objects in taken:
            for key, members in objects:
                yield Object(self._slot, found, key, members)

    def __getitem__(self, ref: str) -> Object:
        place = self._slot.shown.find(ref)
        if place is None:
            raise KeyError(ref)
        cls, key = place
        return Object(self._slot, cls, key, self._slot.shown.classes[cls][key])

    def __iter__(self) -> Iterator[str]:
        return (found.ref for found in self.objects())

    def __len__(self) -> int:
        return len(self._slot.shown)

    def __repr__(self) -> str:
        return f"<PoolView of {self.pool}: {len(self)} objects at {self.position}>"


class View(Live, Mapping[str, Object]):
    """What a query finds on all pools: reference -> object, always up to date.

    A view never goes back to a half-loaded state: until a new snapshot is whole it shows what it
    showed before. When a pool goes, its objects go; a pool whose link is down keeps them (`stale`).

    Two pools that were restored from one backup share references: then `view[ref]` raises a
    `KeyError` that says so; `view.pools[pool][ref]` is exact always.
    """

    @property
    def pools(self) -> Mapping[str, PoolView]:
        """The view by pool."""
        return {pool: PoolView(slot) for pool, slot in self._slots()}

    @property
    def positions(self) -> Mapping[str, int]:
        """Where in each pool's history the view stands."""
        return {pool: slot.replica.position for pool, slot in self._slots()}

    @property
    def stale(self) -> Mapping[str, Object]:
        """The `pool_link` of each pool whose data may be old, since its link is not live."""
        links = self._client.pools
        return {
            pool: links[pool]
            for pool, _ in self._slots()
            if pool in links and links[pool]["state"] != "live"
        }

    def objects(self, cls: str | None = None) -> Iterator[Object]:
        """Iterate over the objects of all pools, or those of one class, as they are now."""
        taken = [PoolView(slot).objects(cls) for _, slot in self._slots()]
        for objects in taken:
            yield from objects

    async def until(self, predicate: "Callable[[View], Found]") -> Found:
        """Wait until a predicate of the view is true, and return what it returned.

        It is asked now, and after each time that something happened; states that did not last may
        be skipped. Use `asyncio.timeout` to bound the wait.

        Raises:
            Error: nothing will happen any more.
        """
        while not (found := predicate(self)):
            await self.updated()
        return found

    def __getitem__(self, ref: str) -> Object:
        found = [PoolView(slot)[ref] for _, slot in self._slots() if slot.shown.find(ref)]
        if len(found) > 1:
            named = ", ".join(sorted(obj.pool for obj in found))
            raise KeyError(f"{ref} stands in several pools ({named}): use view.pools[pool][ref]")
        if not found:
            raise KeyError(ref)
        return found[0]

    def __iter__(self) -> Iterator[str]:
        return (found.ref for found in self.objects())

    def __len__(self) -> int:
        return sum(len(slot.shown) for _, slot in self._slots())

    def __repr__(self) -> str:
        return f"<View {self.id}: {len(self)} objects of {len(self._subscription.slots)} pools>"

    def _slots(self) -> list[tuple[str, Slot]]:
        return [(pool, slot) for pool, slot in self._subscription.slots.items() if pool is not None]
