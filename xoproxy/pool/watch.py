"""List and watch: follows one pool with `event.from` and keeps its store true.

Theory of operation. `run` lists the whole pool once (`event.from` with token "") and then polls for
ever, each poll from the token that the last one gave. XAPI holds no state for us: the token alone
is the position, and `add` and `mod` alike mean "this object exists and looks like this". What a
reply says is prepared in slices and committed in one step; see cache/store.py.

The stream alone cannot be trusted, in three ways, and for each there is a remedy:

- *Removals get lost* when more than a few hundred of a class happen between two polls. Every reply
  carries XAPI's own counts; a class that disagrees twice running is listed (census.py). Lists run
  here, between two polls, which go on with the token from before: beside a poll, a list could bring
  back an object whose removal has just been applied. Messages are counted nowhere; they are listed
  every ten minutes.
- *A token can be from another history* (a pool restored from a backup): XAPI then says nothing, for
  ever, without an error. Sessions do not survive that, so after every login the whole pool is
  listed. And silence is not trusted either: after two minutes the pool's own row is touched
  (`event.inject`), and if even that shows nowhere, the pool is listed.
- *The connection can die.* `run` then raises, keeping session and token: when the session still
  works, it is the same server and the same database, and polling goes on where it was. When it
  does not, all is listed.
- *We can be wrong ourselves.* One class after the other is listed again, each about every ten
  minutes, and compared byte by byte; what had to be repaired is counted and told.

Every list is applied as a difference, so readers of the store see what changed and nothing else.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn, Protocol

import msgspec

from xoproxy.cache.store import Preparation, Store
from xoproxy.errors import XapiFailure
from xoproxy.model import Batch, Event, Ref, Removal, Upsert, XapiClass
from xoproxy.pool import methods, noise, replies
from xoproxy.pool.audits import Audits
from xoproxy.pool.census import Census
from xoproxy.pool.client import SESSION_LOST, LinkSettings, XapiClient
from xoproxy.pool.messages import MESSAGE, newest, youngest
from xoproxy.pool.slices import GREAT_EVENTS, Turns, in_slices

_POOL = XapiClass("pool")

_SLICE_S = 0.002
_STEP_EVENTS = 8
"""Events prepared between two looks at the clock: a changed VM takes some 40 us."""
_NO_SUCH_METHOD = frozenset({"MESSAGE_METHOD_UNKNOWN", "MESSAGE_REMOVED"})
_REFUSED = _NO_SUCH_METHOD | {"RBAC_PERMISSION_DENIED"}
"""What will not change by asking again."""
_APART_S = 0.02
"""Between the beginnings of two polls while a pool goes on changing: some releases of XAPI do not
gather changes themselves, and would be asked for each one by itself."""
_EARLY_S = 0.05
"""XAPI itself waits so long before it looks whether there is news."""
_EARLY_PAUSE_S = 1.0
_TOKEN_LOST = frozenset({"EVENT_FROM_TOKEN_PARSE_FAILURE", "EVENTS_LOST"})


class Observer(Protocol):
    """Who wants to know what the watch does; called synchronously, must not block."""

    def loaded(self, store: Store) -> None:
        """The pool was listed for the first time: the store means something now."""

    def committed(self, store: Store, batch: Batch) -> None:
        """A batch with at least one change was committed."""

    def caught_up(self) -> None:
        """A reply brought the store up to date; called after every one."""


@dataclass(slots=True)
class WatchCounts:
    """What the watch has done, for metrics."""

    polls: int = 0
    events: int = 0
    unchanged: int = 0
    full_lists: int = 0
    mismatches: int = 0
    """Classes whose count disagreed, over all replies."""
    relists: int = 0
    audits: int = 0
    """Classes listed only to be compared."""
    repairs: int = 0
    """Objects in which an audit found what no event had told."""
    probes: int = 0
    silent_tokens: int = 0
    """Probes that showed nowhere: the token was from another history."""


class Watch:
    """The only writer of one pool's store.

    Args:
        client: the pool, with a session whenever `run` is called.
        store: what to keep true.
        observer: who is told.
        settings: time-outs and bounds.
        held_back: operations whose coming and going is not worth a change (noise.py).
        clock: monotonic seconds.
        turns: shared with other pools.
    """

    def __init__(
        self,
        client: XapiClient,
        store: Store,
        observer: Observer,
        settings: LinkSettings,
        held_back: noise.Noise = noise.DEFAULT,
        clock: Callable[[], float] = time.monotonic,
        turns: Turns | None = None,
    ) -> None:
        self.counts = WatchCounts()
        self._client = client
        self._store = store
        self._observer = observer
        self._settings = settings
        self._held_back = held_back
        self._clock = clock
        self._turns = turns or Turns()
        self._census = Census(settings.relist_min_s, settings.relist_max_s)
        self._classes: dict[str, XapiClass] = {}
        """Lower case, as in events, to XAPI's own case: the classes that we follow."""
        self._rows: list[XapiClass] = []
        """Those that are rows of XAPI's database: all but the messages."""
        self._token = ""
        """Where the next poll starts; "" means that the pool must be listed."""
        self._heard_at_s = 0.0
        self._messages_at_s = 0.0
        """When to list the messages next."""
        self._can_probe = True
        self._early = 0
        """Answers in a row that came at once though they had nothing to tell."""
        self._audits = Audits(settings.audit_s)

    async def run(self) -> NoReturn:
        """Follow the pool until the link breaks; to be called again with a session.

        Raises:
            PoolError: the link broke; the position is kept as far as it may be good.
        """
        wait_s: float | None = 0.0  # after a break, catch up before waiting for news
        try:
            while True:
                if not self._token:
                    await self._list_pool()
                    wait_s = None
                await self._poll(wait_s)
                wait_s = None
                await self._list_doubtful()
                await self._audit()
        except XapiFailure as failure:
            if failure.code in _TOKEN_LOST:
                self._token = ""
            raise

    def distrust(self) -> None:
        """List the pool at the next attempt, whatever the position."""
        self._token = ""
        self._can_probe = True

    # --- listing ---

    async def _learn_classes(self) -> None:
        """Ask for the pool's classes, in XAPI's own case: events name them in lower case."""
        try:
            names = replies.json_value(await self._client.call("system.listMethods"))
        except XapiFailure as failure:
            if failure.code not in _NO_SUCH_METHOD:
                raise
            names = ()  # an old pool: go by what we know
        classes = methods.event_classes(n for n in names if isinstance(n, str))
        if not self._settings.messages_kept:
            classes -= {MESSAGE}
        self._classes = {cls.lower(): cls for cls in classes}
        self._rows = sorted(classes - {MESSAGE})
        self._store.classes = classes

    async def _list_pool(self) -> None:
        """List everything but the messages (XAPI reads those from disk, one by one)."""
        await self._learn_classes()
        first = not self._store.loaded
        # At first the next poll brings them all. Later it does not tell which ones went meanwhile.
        self._messages_at_s = self._clock() + (self._settings.message_relist_s if first else 0.0)
        self._audits.forget()
        reply = await self._client.events(self._rows, "", self._settings.event_timeout_s)
        self.counts.full_lists += 1
        # what an earlier session followed and this one does not know any more is gone, too
        listed = {*self._rows, *self._store.by_class.classes()} - {MESSAGE}
        events = self._events(reply.events, Counter())
        upserts = (event for event in events if isinstance(event, Upsert))
        prepared = self._store.prepare_relist(listed, upserts, replies.checked_record)
        await self._commit(prepared, reply.token)
        self._heard_at_s = self._clock()
        await self._list_messages()
        self._observer.caught_up()

    async def _list_doubtful(self) -> None:
        """List what the counts, or the time, say must be listed."""
        await self._list_messages()
        for cls in self._census.due(self._clock()):
            if await self._list_class(cls) is not None:
                self.counts.relists += 1
            self._census.listed(cls, self._clock())

    async def _list_class(self, cls: XapiClass) -> Batch | None:
        """List a class; returns what that changed, None when this pool will not list it."""
        records = await self._records(cls)
        if records is None:
            return None
        told = self._upserts(cls, records)
        return await self._commit(self._store.prepare_relist([cls], told, replies.checked_record))

    async def _audit(self) -> None:
        """List the class whose turn it is, if one's is, to see whether we hold it rightly."""
        cls = self._audits.due(self._rows, self._clock())
        if cls is None:
            return
        batch = await self._list_class(cls)
        self.counts.audits += 1
        if batch is not None:
            self._audits.corrected(change.ref for change in batch.changes)

    async def _list_messages(self) -> None:
        """List the messages if it is time to; those that are refused now, a little later."""
        settings = self._settings
        if not settings.messages_kept or self._clock() < self._messages_at_s:
            return
        records = await self._records(MESSAGE)
        if records is None:
            self._messages_at_s = self._clock() + settings.relist_max_s
            return
        self.counts.relists += 1
        records = await in_slices(youngest(records, settings.messages_kept))
        held = list(self._store.entries(MESSAGE))
        told = self._upserts(MESSAGE, records)
        events = newest(held, told, settings.messages_kept, whole=True)
        await self._commit(self._store.prepare(events, replies.checked_record))
        self._messages_at_s = self._clock() + settings.message_relist_s

    async def _records(self, cls: XapiClass) -> dict[Ref, msgspec.Raw] | None:
        """List a class; None when this pool will not (removed class, missing right), or not now."""
        try:
            return dict(await self._client.records(cls))
        except XapiFailure as failure:
            if failure.code in SESSION_LOST:
                raise
            return None

    # --- polling ---

    async def _poll(self, wait_s: float | None) -> None:
        """Ask for news once.

        Args:
            wait_s: how long XAPI may wait for some; None for as long as is due.
        """
        now_s = self._clock()
        probing = wait_s is None and now_s - self._heard_at_s >= self._settings.probe_after_s
        if probing:
            probing = await self._probe()
        if wait_s is None:
            wait_s = self._settings.probe_timeout_s if probing else self._usual_wait_s(now_s)
        reply = await self._client.events(list(self._classes.values()), self._token, wait_s)
        self.counts.polls += 1
        await self._mind_haste(reply, wait_s, self._clock() - now_s)
        news = bool(reply.events)  # which is emptied on the way
        if news:
            self._heard_at_s = self._clock()
        elif probing:
            self.counts.silent_tokens += 1
            self._token = ""  # from another history; the next round lists
            return
        self.counts.repairs += self._audits.explained(event.ref for event in reply.events)
        counts = reply.valid_ref_counts
        removals: Counter[XapiClass] = Counter()
        events = self._events(await self._without_old_messages(reply.events), removals)
        await self._commit(self._store.prepare(events, replies.checked_record), reply.token)
        self._census.compare(self._rows, counts, self._store.by_class.count, removals)
        self.counts.mismatches = self._census.mismatch_count
        self._observer.caught_up()
        if news:
            await asyncio.sleep(max(0.0, _APART_S - (self._clock() - now_s)))

    async def _mind_haste(self, reply: replies.EventReply, wait_s: float, took_s: float) -> None:
        """Pause when a pool answers at once, again and again, instead of waiting for news."""
        if reply.events or took_s >= min(wait_s, _EARLY_S):
            self._early = 0
            return
        if self._early:  # one such answer proves nothing
            await asyncio.sleep(min(_EARLY_S * self._early, _EARLY_PAUSE_S))
        self._early += 1

    def _usual_wait_s(self, now_s: float) -> float:
        usual_s = self._settings.event_timeout_s
        doubt_s = self._census.wait_s(now_s)
        return usual_s if doubt_s is None else min(usual_s, doubt_s)

    async def _probe(self) -> bool:
        """Touch the pool's row, so that the next poll has something to say."""
        pool = next(iter(self._store.entries(_POOL)), None)
        if pool is None or not self._can_probe:
            return False
        try:
            await self._client.call("event.inject", (_POOL, pool.ref))
        except XapiFailure as failure:
            if failure.code in SESSION_LOST:
                raise
            # for good when this account may not, or this pool cannot
            self._can_probe = failure.code not in _REFUSED
            return False
        self.counts.probes += 1
        return True

    # --- from what XAPI said to the store ---

    async def _without_old_messages(self, told: list[replies.Event]) -> list[replies.Event]:
        """Drop what would not be kept: the first poll with messages brings all there are."""
        records = {e.ref: e.record for e in told if e.cls == MESSAGE and e.operation != "del"}
        if len(records) <= self._settings.messages_kept:
            return told
        kept = await in_slices(youngest(records, self._settings.messages_kept))
        return [e for e in told if e.ref in kept or e.ref not in records]

    def _events(self, told: list[replies.Event], removals: Counter[XapiClass]) -> Iterator[Event]:
        """Turn XAPI's events into the store's; the list is emptied, so a big reply goes bit by bit.

        Args:
            told: XAPI's events.
            removals: filled with the number of removals by class.
        """
        self.counts.events += len(told)
        messages: list[Upsert] = []
        told.reverse()
        while told:
            event = told.pop()
            cls = self._classes.get(event.cls)
            if cls is None:
                continue
            if event.operation == "del":
                removals[cls] += 1
                yield Removal(event.ref)
            elif cls == MESSAGE:
                messages.append(self._upsert(cls, event.ref, event.record))
            else:
                yield self._upsert(cls, event.ref, event.record)
        if messages:
            held = list(self._store.entries(MESSAGE))
            yield from newest(held, messages, self._settings.messages_kept, whole=False)

    def _upserts(self, cls: XapiClass, records: dict[Ref, msgspec.Raw]) -> Iterator[Upsert]:
        while records:
            yield self._upsert(cls, *records.popitem())

    def _upsert(self, cls: XapiClass, ref: Ref, record: msgspec.Raw) -> Upsert:
        """Cut one record out of the reply; what equals what we hold, but for noise, becomes that.

        The reference and class of an object that we hold stand in for the new texts, which can go.
        """
        raw = bytes(record)
        held = self._store.get(ref)
        if held is None:
            return Upsert(cls, ref, raw)
        passing = self._held_back.get(held.cls)
        if held.raw == raw or (passing and noise.is_noise(held.raw, raw, passing)):
            raw = held.raw
        return Upsert(held.cls, held.ref, raw)

    async def _commit(self, prepared: Preparation, token: str | None = None) -> Batch:
        """Prepare in slices, commit at once, tell the observer."""
        left = await self._prepare(prepared, GREAT_EVENTS)
        async with self._turns.of(great=left):
            await self._prepare(prepared)
            await asyncio.sleep(0)  # the commit is a slice of its own
            return self._commit_now(prepared, token)

    async def _prepare(self, prepared: Preparation, most: float = math.inf) -> bool:
        """Prepare all events, or `most` of them; tells whether any are left."""
        slice_end_s = time.perf_counter() + _SLICE_S
        while prepared.step(_STEP_EVENTS):
            if prepared.event_count >= most:
                return True
            if time.perf_counter() >= slice_end_s:
                await asyncio.sleep(0)
                slice_end_s = time.perf_counter() + _SLICE_S
        return False

    def _commit_now(self, prepared: Preparation, token: str | None) -> Batch:
        self.counts.unchanged += prepared.unchanged_count
        first = not self._store.loaded
        batch = self._store.commit(prepared, at_s=self._clock(), xapi_token=token)
        if token is not None:
            self._token = token
        if first:
            self._observer.loaded(self._store)
        elif batch.changes:
            self._observer.committed(self._store, batch)
        return batch
