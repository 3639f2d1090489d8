"""One pool's files: when they are begun, cut into pieces, forgotten and given up."""

import resource
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from tests.unit.storage.history.pools import KEY, POOL, Pool, look, upsert
from xoproxy.cache.journal import JournalBudget
from xoproxy.storage.history.checkpoints import write_draft
from xoproxy.storage.history.restoring import restore
from xoproxy.storage.history.segments import segment_paths


def checkpoint(pool):
    pinned = pool.history.pin()
    return pool.history.put(pinned, *write_draft(pinned.saved, pool.directory / POOL, KEY))


def restored(pool):
    return restore(pool.directory / POOL, KEY, JournalBudget(), ended=False)


@contextmanager
def file_size(limit):
    """Have the kernel refuse to let any file grow beyond a size: what fits is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with capture_logs() as logged:  # or the log would not fit either
            yield logged
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def pool(tmp_path):
    pool = Pool(tmp_path)
    pool.load(a={"n": 0}, b={"n": 0})
    checkpoint(pool)
    return pool


def files(pool):
    return sorted(path.name for path in (pool.directory / POOL).iterdir())


def test_what_is_not_needed_any_more_is_deleted(pool):
    for number in range(1, 4):
        pool.commit(upsert("a", n=number))
        checkpoint(pool)
    assert len(segment_paths(pool.directory / POOL)) == 5
    # from here on, somebody may want to resume
    while pool.history.forget_oldest(wanted_seq=4):
        pass
    store = restored(pool).store
    assert store.journal.tail == 4
    while pool.history.forget_oldest():
        pass
    store = restored(pool).store
    assert store.journal.tail == store.seq == 5
    assert files(pool) == ["checkpoint", "log-00000005"]


def test_nothing_is_forgotten_that_no_checkpoint_covers(pool):
    pool.commit(upsert("a", n=1))
    pool.history.pin()
    while pool.history.forget_oldest():
        pass
    assert look(restored(pool).store) == look(pool.store)


def test_what_happens_while_a_checkpoint_is_written_is_not_lost(pool):
    pool.commit(upsert("a", n=1))
    pinned = pool.history.pin()
    pool.commit(upsert("a", n=2))
    draft = write_draft(pinned.saved, pool.directory / POOL, KEY)
    assert look(restored(pool).store) == look(pool.store)  # the old checkpoint still counts
    pool.commit(upsert("a", n=3))
    assert pool.history.put(pinned, *draft)
    while pool.history.forget_oldest():
        pass
    pool.commit(upsert("a", n=4))
    found = restored(pool).store
    assert look(found)["entries"] == look(pool.store)["entries"]
    assert found.seq == pool.store.seq
    assert found.journal.tail == pinned.saved.seq


def test_used_bytes_are_those_of_the_files(pool):
    def size():
        return sum(path.stat().st_size for path in (pool.directory / POOL).iterdir())

    for number in range(1, 30):
        pool.commit(upsert("a", n=number))
        pool.history.mark()
        if number % 7 == 0:
            checkpoint(pool)
            pool.history.forget_oldest()
        assert pool.disk.used_bytes == pool.history.used_bytes == size()
    pool.go_on(restored(pool))
    pool.disk.used_bytes -= size()  # of the history before; it shares the budget in this test
    pool.commit(upsert("a", n=0))
    assert pool.history.used_bytes == size()
    pool.history.give_up()
    assert pool.history.used_bytes == 0


@pytest.mark.parametrize("extra_bytes", [0, 1, 8, 60])
def test_a_full_disk_ends_the_history_and_nothing_else(pool, extra_bytes):
    """Also when the last record was written in part, as it is on a disk that is nearly full."""
    pool.commit(upsert("a", n=1))
    size = pool.history.segments[-1].size
    with file_size(size + extra_bytes) as logged:
        batch = pool.commit(upsert("a", n=2))
    assert [(line["event"], line["error"]) for line in logged] == [
        ("history_lost", "File too large")
    ]
    assert batch.to_seq == pool.store.seq
    assert not pool.history.writing
    assert pool.history.failures == 1
    assert not (pool.directory / POOL).exists()
    assert pool.disk.used_bytes == 0
    pool.commit(upsert("a", n=3))  # goes on without
    assert pool.history.failures == 1


def test_a_history_that_begins_again_has_the_same_epoch_and_no_past(pool):
    pool.commit(upsert("a", n=1))
    with file_size(pool.history.segments[-1].size):
        pool.commit(upsert("a", n=2))
    pool.history.begin()
    assert restored(pool) is None
    checkpoint(pool)
    pool.commit(upsert("b", n=3))
    store = restored(pool).store
    assert store.epoch == pool.store.epoch
    assert look(store)["entries"] == look(pool.store)["entries"]
    assert store.next_key == pool.store.next_key
    assert (store.journal.tail, store.seq) == (4, 5)


def test_a_checkpoint_that_was_overtaken_by_the_end_of_the_history_is_dropped(pool):
    pinned = pool.history.pin()
    draft = write_draft(pinned.saved, pool.directory / POOL, KEY)
    with file_size(pool.history.segments[-1].size):
        pool.commit(upsert("a", n=2))
    assert not pool.history.put(pinned, *draft)
    assert not (pool.directory / POOL).exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(pool):
    pool.commit(upsert("a", n=1))
    pinned = pool.history.pin()
    with file_size(10), pytest.raises(OSError, match="too large"):
        write_draft(pinned.saved, pool.directory / POOL, KEY)
    assert "checkpoint.new" not in files(pool)
    pool.commit(upsert("a", n=2))
    assert look(restored(pool).store) == look(pool.store)


def test_without_room_in_the_budget_there_is_no_history(tmp_path):
    pool = Pool(tmp_path, total_bytes=6000)
    pool.load(a={"n": 0})
    checkpoint(pool)
    count = 0
    while pool.history.writing:
        count += 1
        pool.commit(upsert("a", n=count))
        assert pool.disk.used_bytes <= 6000
    assert count > 10
    assert not (tmp_path / POOL).exists()
