"""The histories of all pools: one bound on the disk, one thread for what takes time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import Store
from xoproxy.errors import ConfigError
from xoproxy.model import Batch, PoolId
from xoproxy.storage.history.checkpoints import write_draft
from xoproxy.storage.history.lock import (
    RunMarker,
    boot_id,
    sole_user,
    sync_directory,
    sync_files,
)
from xoproxy.storage.history.pool_history import DiskBudget, PoolHistory
from xoproxy.storage.history.restoring import Restored, restore
from xoproxy.storage.history.sealed import Damaged
from xoproxy.storage.history.segments import remove_files, removed
from xoproxy.telemetry import Sample

_log = structlog.get_logger(__name__)
_LOOK_S = 1.0
P = ParamSpec("P")
T = TypeVar("T")

Live = Callable[[], Iterable[PoolId]]
"""Names the pools whose stores are what the pools have."""


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """How histories are kept.

    Args:
        total_bytes: of all files; one checkpoint in the making aside.
        checkpoint_bytes: logged since the last checkpoint that make a new one due.
        checkpoint_interval_s: likewise, when anything was logged.
        mark_interval_s: between notes that a live pool is as was logged.
        retry_s: before a history that was lost to an error is begun again.
    """

    total_bytes: int = 4 << 30
    checkpoint_bytes: int = 16 << 20
    checkpoint_interval_s: float = 3600.0
    mark_interval_s: float = 30.0
    retry_s: float = 60.0


class Histories:
    """Keeps the histories of all pools; or of none, when there is no directory.

    Args:
        directory: for these files alone; None keeps nothing.
        key: of the storage.
        options: bounds and times.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        directory: Path | None,
        key: bytes,
        options: HistoryOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pools: dict[PoolId, PoolHistory] = {}
        self.disk = DiskBudget(options.total_bytes, self._reclaim)
        self.restored_count = 0
        self.discarded_count = 0
        """Histories that were found and not believed."""
        self.checkpoint_s = 0.0
        """How long the last checkpoint took."""
        self._directory = directory
        self._key = key
        self._options = options
        self._clock = clock
        self._due = asyncio.Event()
        self._executor = ThreadPoolExecutor(1, "history")

    # --- at the start ---

    async def restore(
        self, pools: Collection[PoolId], budget: JournalBudget
    ) -> dict[PoolId, Store]:
        """Read back what there is of these pools, and delete what there is of others.

        Raises:
            ConfigError: what is there cannot be read or removed.
        """
        if self._directory is None:
            return {}
        began_s = self._clock()
        try:
            found = await self._in_thread(self._restore, self._directory, pools, budget)
        except OSError as error:
            raise ConfigError(
                f"storage: cannot use the history in {self._directory}: {error.strerror}; mend "
                "that, or set storage.history_directory to another place, or storage.history to "
                "false"
            ) from None
        for restored in found.values():
            self._history(restored.store).go_on(restored)
        self.restored_count = len(found)
        _log.info("histories_restored", pools=len(found), seconds=round(self._clock() - began_s, 3))
        return {pool: restored.store for pool, restored in found.items()}

    def _restore(
        self, directory: Path, pools: Collection[PoolId], budget: JournalBudget
    ) -> dict[PoolId, Restored]:
        marker, boot = RunMarker(directory), boot_id()
        ended, trusted = marker.clean, marker.trusted(boot)
        found = {}
        for path in [p for p in directory.iterdir() if p.is_dir()]:
            pool = PoolId(path.name)
            restored = None
            if pool in pools:
                restored = self._restore_one(path, budget, trusted=trusted, ended=ended)
            if restored is not None:
                found[pool] = restored
            else:
                remove_files(path)
        # Not before: if we died in between, what was not trusted would be.
        marker.set(boot)
        return found

    def _restore_one(
        self, path: Path, budget: JournalBudget, *, trusted: bool, ended: bool
    ) -> Restored | None:
        reason = "the machine stopped while the proxy ran"
        if trusted:
            try:
                return restore(path, self._key, budget, ended=ended)
            except Damaged as damage:
                reason = str(damage)
        self.discarded_count += 1
        _log.warning(
            "history_discarded",
            pool=path.name,
            reason=reason,
            hint="the pool begins a new epoch; its clients load it anew",
        )
        return None

    # --- what happens to pools ---

    def loaded(self, store: Store) -> None:
        """Begin the history of a pool that was listed for the first time."""
        if self._directory is not None:
            self._history(store).begin()
            self._due.set()

    def committed(self, batch: Batch) -> None:
        """Log a batch, before any client hears of it; never raises."""
        history = self.pools.get(batch.pool)
        if history is not None:
            history.append(batch)
            if history.bytes_since >= self._options.checkpoint_bytes:
                self._due.set()

    async def discard(self, pool: PoolId) -> None:
        """Forget a pool, on the disk too: it was removed, or is another one now."""
        history = self.pools.pop(pool, None)
        if history is None:
            return
        history.give_up()
        await self._in_thread(removed, history.directory)

    # --- in the background ---

    async def run(self, live: Live) -> None:
        """Write checkpoints when they are due, one at a time; mark what is live."""
        marked_at_s = self._clock()
        while True:
            for history in list(self.pools.values()):
                if self._clock() - history.failed_at_s >= self._options.retry_s:
                    await self._look_at(history)
            if self._clock() - marked_at_s >= self._options.mark_interval_s:
                marked_at_s = self._clock()
                for pool in live():
                    if pool in self.pools:
                        self.pools[pool].mark()
            self._due.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._due.wait()

    async def close(self, live: Live) -> None:
        """Have everything on the disk, and say so: whatever happens to the machine, it counts."""
        if self._directory is None:
            return
        lived = set(live())
        for pool, history in self.pools.items():
            history.end(live=pool in lived)
        await self._in_thread(_settle, self._directory, list(self.pools.values()))

    def shut_down(self) -> None:
        """Wait for what is being written, and end the thread."""
        self._executor.shutdown()

    def samples(self) -> Iterable[Sample]:
        """Tell the numbers, for metrics."""
        for pool, history in self.pools.items():
            labels = (pool,)
            yield Sample("xoproxy_history_writing", history.writing, labels)
            yield Sample("xoproxy_history_bytes", history.used_bytes, labels)
            yield Sample("xoproxy_history_segments", len(history.segments), labels)
            yield Sample("xoproxy_history_lost_total", history.failures, labels)
            if history.checkpoint_seq is not None:
                age_s = self._clock() - history.checkpoint_at_s
                yield Sample("xoproxy_checkpoint_age_seconds", age_s, labels)
        yield Sample("xoproxy_checkpoint_seconds", self.checkpoint_s)
        yield Sample("xoproxy_histories_restored", self.restored_count)
        yield Sample("xoproxy_histories_discarded", self.discarded_count)

    # --- within ---

    def _history(self, store: Store) -> PoolHistory:
        assert self._directory is not None  # noqa: S101 - there is nothing to keep otherwise
        history = PoolHistory(self._directory / store.pool, self._key, store, self.disk)
        self.pools[store.pool] = history
        return history

    async def _look_at(self, history: PoolHistory) -> None:
        options = self._options
        if not history.writing:
            history.begin()
        age_s = self._clock() - history.checkpoint_at_s
        is_old = history.changed_since and age_s >= options.checkpoint_interval_s
        is_long = history.bytes_since >= options.checkpoint_bytes
        if is_old or is_long or history.checkpoint_seq is None:
            await self._checkpoint(history)

    async def _checkpoint(self, history: PoolHistory) -> None:
        """Write a checkpoint, and let go of the log that nobody needs any more."""
        pinned = history.pin()
        if pinned is None:
            return
        began_s = self._clock()
        try:
            draft, size = await self._in_thread(
                write_draft, pinned.saved, history.directory, self._key
            )
            history.put(pinned, draft, size)
            await self._in_thread(sync_directory, history.directory)
            self.checkpoint_s = self._clock() - began_s
            while history.forget_oldest(wanted_seq=history.store.journal.tail):
                pass
        except OSError as error:
            history.checkpoint_failed(pinned, error)

    def _reclaim(self) -> bool:
        """Delete the oldest piece of log, of whichever pool, that only resuming clients miss."""
        histories = [h for h in self.pools.values() if h.segments]
        histories.sort(key=lambda history: history.segments[0].began_at_s)
        return any(history.forget_oldest() for history in histories)

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(function, *args, **kwargs))


def _settle(directory: Path, histories: Iterable[PoolHistory]) -> None:
    """Have all files of these pools on the disk, then take the marker away."""
    for history in histories:
        try:
            if history.ended:
                sync_files(history.directory)
                continue
        except OSError as error:
            _log.error("history_lost", pool=history.directory.name, error=error.strerror)
        if not removed(history.directory):
            return
    RunMarker(directory).remove()


@asynccontextmanager
async def open_histories(
    directory: Path | None, key: bytes, options: HistoryOptions
) -> AsyncIterator[Histories]:
    """Keep histories until the block ends; see `Histories`.

    Raises:
        ConfigError: another proxy keeps its histories there, or nothing can be written.
    """
    histories = Histories(directory, key, options)
    with sole_user(directory, "storage.history_directory") if directory else nullcontext():
        try:
            yield histories
        finally:
            histories.shut_down()
