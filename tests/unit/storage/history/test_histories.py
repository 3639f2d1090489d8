"""All pools' histories: restored at the start, checked in the background, ended in order."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from tests.unit.storage.history.pools import KEY, VM, look, upsert
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import Store
from xoproxy.errors import ConfigError
from xoproxy.model import PoolId
from xoproxy.storage.history import Histories, HistoryOptions, open_histories

POOLS = [PoolId("p1"), PoolId("p2")]


class Life:
    """One life of a proxy."""

    def __init__(self, histories: Histories, stores: dict[PoolId, Store]) -> None:
        self.histories = histories
        self.stores = stores

    def load(self, pool: PoolId, **records) -> Store:
        store = self.stores[pool] = Store(pool, f"epoch of {pool}")
        store.classes = frozenset({VM})
        self._commit(store, [upsert(name, **record) for name, record in records.items()])
        self.histories.loaded(store)
        return store

    def change(self, pool: PoolId, name: str, **record) -> None:
        self.histories.committed(self._commit(self.stores[pool], [upsert(name, **record)]))

    async def until_saved(self, count: int = 1) -> None:
        async with asyncio.timeout(5):
            while True:
                saved = [h.checkpoint_seq for h in self.histories.pools.values()]
                if sum(seq is not None for seq in saved) >= count:
                    return
                await asyncio.sleep(0.01)

    @staticmethod
    def _commit(store, events):
        prepared = store.prepare(events)
        while prepared.step():
            pass
        return store.commit(prepared, 0.0)


@asynccontextmanager
async def life(directory, *, clean=True, pools=POOLS, **options):
    async with open_histories(directory, KEY, HistoryOptions(**options)) as histories:
        restored = await histories.restore(pools, JournalBudget())
        async with asyncio.TaskGroup() as group:
            running = group.create_task(histories.run(lambda: pools))
            yield Life(histories, restored)
            running.cancel()
        if clean:
            await histories.close(lambda: pools)


@pytest.mark.parametrize("clean", [True, False])
async def test_pools_come_back(tmp_path, clean):
    async with life(tmp_path / "h", clean=clean) as first:
        for pool in POOLS:
            first.load(pool, a={"n": 1})
        await first.until_saved(2)
        for pool in POOLS:
            first.change(pool, "a", n=2)
    async with life(tmp_path / "h") as second:
        assert second.histories.restored_count == 2
        for pool in POOLS:
            assert look(second.stores[pool]) == look(first.stores[pool])


async def test_another_boot_is_believed_after_a_clean_end_only(tmp_path):
    async with life(tmp_path / "h") as first:
        first.load(POOLS[0], a={"n": 1})
        await first.until_saved()
    async with life(tmp_path / "h", clean=False) as second:
        assert second.histories.restored_count == 1
    (tmp_path / "h" / "running").write_text("another boot")
    async with life(tmp_path / "h") as third:
        assert third.stores == {}
        assert third.histories.discarded_count == 1
        assert {path.name for path in (tmp_path / "h").iterdir()} == {"lock", "running"}


async def test_a_start_that_dies_early_does_not_make_files_trusted(tmp_path, monkeypatch):
    async with life(tmp_path / "h", clean=False) as first:
        first.load(POOLS[0], a={"n": 1})
        await first.until_saved()
    marker = tmp_path / "h" / "running"
    marker.write_text("another boot")

    def dies(_path):
        raise OSError(5, "as if killed")

    with monkeypatch.context() as patched:
        patched.setattr("xoproxy.storage.history.histories.remove_files", dies)
        with pytest.raises(ConfigError):
            async with life(tmp_path / "h"):
                pass
    assert marker.read_text() == "another boot"


async def test_one_damaged_history_does_not_touch_another(tmp_path):
    async with life(tmp_path / "h") as first:
        for pool in POOLS:
            first.load(pool, a={"n": 1})
        await first.until_saved(2)
    (tmp_path / "h" / "p1" / "checkpoint").write_bytes(b"x" * 100)
    async with life(tmp_path / "h") as second:
        assert set(second.stores) == {"p2"}
        assert second.histories.discarded_count == 1
        assert not (tmp_path / "h" / "p1").exists()


async def test_pools_that_are_not_configured_any_more_are_deleted(tmp_path):
    async with life(tmp_path / "h") as first:
        for pool in POOLS:
            first.load(pool, a={"n": 1})
        await first.until_saved(2)
    async with life(tmp_path / "h", pools=POOLS[:1]) as second:
        assert set(second.stores) == {"p1"}
        assert not (tmp_path / "h" / "p2").exists()
        await second.histories.discard(POOLS[0])
        assert not (tmp_path / "h" / "p1").exists()
        second.change(POOLS[0], "a", n=2)  # on its way while the pool was removed
        assert not (tmp_path / "h" / "p1").exists()


async def test_a_long_log_gets_a_checkpoint_and_is_cut(tmp_path):
    async with life(tmp_path / "h", checkpoint_bytes=2000) as first:
        store = first.load(POOLS[0], a={"n": 0})
        store.journal.clear(store.seq)
        await first.until_saved()
        history = first.histories.pools[POOLS[0]]
        seen = {history.checkpoint_seq}
        for number in range(1, 200):
            first.change(POOLS[0], "a", n=number)
            await asyncio.sleep(0.002)
            seen.add(history.checkpoint_seq)
        assert len(seen) > 3
        assert look(store)["seq"] == 200
    async with life(tmp_path / "h") as second:
        assert look(second.stores[POOLS[0]]) == look(store)


async def test_the_oldest_log_of_whichever_pool_goes_first_when_room_is_short(tmp_path):
    async with life(tmp_path / "h", total_bytes=40_000, checkpoint_bytes=1_000) as first:
        for pool in POOLS:
            first.load(pool, a={"n": 0})
        await first.until_saved(2)
        for number in range(1, 50):
            first.change(POOLS[0], "a", n=number)
            await asyncio.sleep(0.002)
        quiet = first.histories.pools[POOLS[0]]
        before = len(quiet.segments)
        assert before > 2
        for number in range(1, 400):
            first.change(POOLS[1], "a", n=number)
            await asyncio.sleep(0.001)
            assert first.histories.disk.used_bytes <= 40_000
        assert quiet.writing
        assert len(quiet.segments) < before
    async with life(tmp_path / "h") as second:
        for pool in POOLS:
            mine, theirs = look(second.stores[pool]), look(first.stores[pool])
            assert mine["entries"] == theirs["entries"]
            assert mine["seq"] == theirs["seq"]
            assert mine["tail"] >= theirs["tail"]


async def test_without_a_directory_nothing_is_kept():
    async with life(None) as first:
        first.load(POOLS[0], a={"n": 1})
        first.change(POOLS[0], "a", n=2)
        assert first.histories.pools == {}


async def test_live_pools_are_marked(tmp_path):
    async with life(tmp_path / "h", clean=False, mark_interval_s=0) as first:
        first.load(POOLS[0], a={})
        await first.until_saved()
        asked_s = time.time()
        await asyncio.sleep(1.2)  # it looks every second
    async with life(tmp_path / "h") as second:
        assert second.stores[POOLS[0]].known_at_s > asked_s


async def test_what_was_not_believed_is_told_in_the_log(tmp_path):
    async with life(tmp_path / "h") as first:
        first.load(POOLS[0], a={"n": 1})
        await first.until_saved()
    (tmp_path / "h" / "p1" / "checkpoint").write_bytes(b"")
    with capture_logs() as logged:
        async with life(tmp_path / "h"):
            pass
    warning, told = logged
    assert (warning["event"], warning["log_level"]) == ("history_discarded", "warning")
    assert (told["event"], told["pools"]) == ("histories_restored", 0)
    assert (warning["pool"], warning["reason"]) == ("p1", "the checkpoint is not whole")


async def test_what_was_lost_begins_again_after_a_pause(tmp_path):
    async with life(tmp_path / "h", retry_s=0) as first:
        store = first.load(POOLS[0], a={"n": 1})
        await first.until_saved()
        history = first.histories.pools[POOLS[0]]
        history.segments[-1].path.parent.rename(tmp_path / "away")
        with capture_logs():
            history.pin()  # has no place for a new segment
        assert not history.writing
        await first.until_saved()
        first.change(POOLS[0], "a", n=2)
    async with life(tmp_path / "h") as second:
        found = second.stores[POOLS[0]]
        assert look(found)["entries"] == look(store)["entries"]
        assert found.epoch == store.epoch
        assert found.journal.tail == 1
