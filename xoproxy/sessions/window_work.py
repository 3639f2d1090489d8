"""What is to be done for live windows, in slices.

Theory of operation. A batch marks the listings that it may concern. In a flush, each of these reads
what is new, once, and then each of its windows takes up the news. What takes long, looking at all
objects for a new listing, is done after everything else, and given up for the moment when there are
changes.

Between the steps of any work windows may go, and with the last one their listing. Nobody tells a
listing that is gone what was committed, so from then on nothing may be cut from it: work for
windows ends with them. A fault of ours in it ends those windows that it was for.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator

from xoproxy.cache.journal import Expired
from xoproxy.cache.listing import Listing, News
from xoproxy.cache.store import Store
from xoproxy.model import Batch
from xoproxy.sessions.member import Member
from xoproxy.sessions.window_group import WindowGroup

_ROWS_PER_STEP = 400
"""Rows of windows that take up news in one step; what is looked at has steps of its own."""
_BUILT_PER_TURN = 4
"""Steps of building that are taken though there are changes."""
_END = object()


class WindowWork:
    """The work for all windows.

    Args:
        serve: has members served that are behind.
        wake: called when there is something to flush.
        fault: called with the windows whose work failed; ends them.
    """

    def __init__(
        self,
        serve: Callable[[Iterable[Member]], None],
        wake: Callable[[], None],
        fault: Callable[[Iterable[WindowGroup], Exception], None],
    ) -> None:
        self._serve = serve
        self._wake = wake
        self._fault = fault
        self._by_listing: dict[Listing, dict[WindowGroup, None]] = {}
        """The windows on each listing that there is."""
        self._dirty: dict[Listing, None] = {}
        self._unsettled: dict[Listing, None] = {}
        self._new: dict[WindowGroup, None] = {}
        """Windows that show nothing yet."""

    @property
    def is_dirty(self) -> bool:
        """Whether there are changes to be taken up."""
        return bool(self._dirty)

    @property
    def has_work(self) -> bool:
        return bool(self._dirty or self._unsettled or self._new)

    # --- what there is -------------------------------------------------------------------------

    def add_listing(self, listing: Listing) -> None:
        """Work for a listing from now on; its first window is added next."""
        self._by_listing[listing] = {}
        if not listing.settled:
            self._unsettled[listing] = None

    def add(self, group: WindowGroup) -> None:
        self._by_listing[group.listing][group] = None
        self._new[group] = None

    def remove(self, group: WindowGroup) -> bool:
        """Work for a window no more; tell whether there are others on its listing."""
        listing = group.listing
        self._new.pop(group, None)
        del self._by_listing[listing][group]
        if self._by_listing[listing]:
            return True
        del self._by_listing[listing]
        self._dirty.pop(listing, None)
        self._unsettled.pop(listing, None)
        return False

    def _windows(self, of: Listing | WindowGroup) -> Collection[WindowGroup]:
        """Return a listing's windows, or the window itself; nothing if it is gone."""
        if isinstance(of, Listing):
            return self._by_listing.get(of, ())
        return (of,) if of in self._by_listing.get(of.listing, ()) else ()

    # --- what happens --------------------------------------------------------------------------

    def committed(self, batch: Batch) -> None:
        """Note a batch: O(listings), whatever the number of windows and clients."""
        classes = {change.cls for change in batch.changes}
        for listing in self._by_listing:
            if listing.touch(batch, classes):
                self._dirty[listing] = None
        if self._dirty:
            self._wake()

    def loaded(self, store: Store) -> None:
        """Note that a pool was listed for the first time."""
        for listing in self._by_listing:
            if listing.loaded(store):
                self._unsettled[listing] = None
        if self._unsettled:
            self._wake()

    # --- steps ---------------------------------------------------------------------------------

    def advance(self, offer: Callable[[WindowGroup, int], None]) -> Iterator[None]:
        """Have the listings read what is new, and their windows take it up, in slices.

        Args:
            offer: called with a window that moved on, and the position where it was.
        """
        dirty, self._dirty = self._dirty, {}
        for listing in dirty:
            if not (yield from self._work(listing.read(), listing)):
                continue
            if listing.is_dirty:
                self._dirty[listing] = None
            if listing.settled:
                yield from self._publish(listing, offer)
            else:
                self._unsettled[listing] = None

    def _publish(
        self, listing: Listing, offer: Callable[[WindowGroup, int], None]
    ) -> Iterator[None]:
        rows = 0
        for group in list(self._by_listing[listing]):
            position = group.position
            if not (yield from self._work(group.refresh(), group)):
                if listing in self._unsettled:
                    return  # the news stay for later
                continue
            if group.position != position:
                offer(group, position)
                self._serve(group.ahead)
                group.ahead.clear()
            self._serve(group.arriving)  # who may have waited for this
            rows += group.span.count
            if rows >= _ROWS_PER_STEP:
                yield
                rows = 0
        listing.news = News()

    def begin(self, until: Callable[[], bool]) -> Iterator[None]:
        """Have new windows look for the first time, one after another, until `until` says so."""
        for group in list(self._new):
            if not group.listing.settled:
                continue
            if not (yield from self._work(group.begin(), group)):
                continue
            self._new.pop(group, None)
            for member in group.members:
                member.start(group.snapshot())
            self._serve([*group.members, *group.arriving])
            if until():
                return

    def build(self, until: Callable[[], bool]) -> Iterator[None]:
        """Build, step by step, what cannot be read, until `until` says so."""
        steps = 0
        while self._unsettled:
            listing = next(iter(self._unsettled))
            if listing.settled:
                del self._unsettled[listing]
                self._dirty[listing] = None
                return
            try:
                listing.build()
            except Exception as error:  # noqa: BLE001 - a fault of ours ends its windows only
                self._fault(self._windows(listing), error)
            yield
            steps += 1
            if steps >= _BUILT_PER_TURN and until():
                return

    def _work(
        self, steps: Iterator[None], of: Listing | WindowGroup
    ) -> Generator[None, None, bool]:
        """Take the steps of a window's or a listing's work while it is there.

        Returns:
            Whether all were taken, and it is there.
        """
        try:
            while self._windows(of):
                if next(steps, _END) is _END:
                    return True
                yield
        except Expired:  # look again at what cannot be looked back to
            listing = of if isinstance(of, Listing) else of.listing
            listing.check()
            self._unsettled[listing] = None
        except Exception as error:  # noqa: BLE001 - a fault of ours ends these windows only
            self._fault(self._windows(of), error)
        return False
