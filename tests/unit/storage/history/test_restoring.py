"""Whatever happened to the files: the exact state, or none."""

import shutil

import pytest

from tests.unit.storage.history.pools import KEY, POOL, VM, Pool, look, removal, upsert
from xoproxy.cache.journal import JournalBudget
from xoproxy.model import XapiClass
from xoproxy.storage.history.checkpoints import write_draft
from xoproxy.storage.history.restoring import restore
from xoproxy.storage.history.sealed import Damaged, Sealer
from xoproxy.storage.history.segments import segment_path, segment_paths


def checkpoint(pool):
    pinned = pool.history.pin()
    assert pool.history.put(pinned, *write_draft(pinned.saved, pool.directory / POOL, KEY))


def restored(pool, *, ended=False, directory=None):
    return restore((directory or pool.directory) / POOL, KEY, JournalBudget(), ended=ended)


@pytest.fixture
def pool(tmp_path):
    """A pool with a checkpoint amid its history, and changes of every kind on both sides of it."""
    pool = Pool(tmp_path)
    pool.load(a={"n": 1, "m": {"x": 1}}, b={"n": 2}, c={"n": 3})
    checkpoint(pool)
    pool.commit(upsert("a", n=1, m={"x": 2}), removal("b"))
    pool.commit(upsert("b", n=4))
    checkpoint(pool)
    pool.commit(upsert("a", n=5, m={"x": 2}, new="é\n"), upsert("d", n=1.0))
    pool.commit(upsert("a", n=True), removal("d"), removal("c"))
    pool.commit(upsert("c", n=6), upsert("b", n=[]))
    return pool


def test_everything_comes_back(pool):
    assert look(restored(pool).store) == look(pool.store)
    assert pool.store.journal.tail == 3
    assert pool.store.journal.change_count == 10


def test_it_comes_back_again_and_again_and_goes_on(pool):
    for number in range(4):
        pool.go_on(restored(pool))
        pool.commit(upsert("a", n=number), upsert(f"new-{number}"))
        if number == 2:
            checkpoint(pool)
        assert look(restored(pool).store) == look(pool.store)


def test_a_restart_without_changes_changes_nothing(pool):
    before = look(pool.store)
    for _ in range(3):
        pool.go_on(restored(pool))
    assert look(restored(pool).store) == before


def test_past_states_come_back_too(pool):
    journal, again = pool.store.journal, restored(pool).store.journal
    for seq in range(journal.tail, journal.head + 1):
        assert list(again.since(seq)) == list(journal.since(seq))
    assert not again.reaches(journal.tail - 1)


def test_texts_are_shared_between_objects_and_their_history(pool):
    store = restored(pool).store
    (entry,) = (e for e in store.entries(VM) if e.ref == "OpaqueRef:a")
    change = [c for c in store.journal.since(store.journal.tail) if c.ref == entry.ref][-1]
    assert change.ref is entry.ref
    assert change.key is entry.key
    assert change.cls is entry.cls


def test_classes_are_those_that_the_pool_had_last(pool):
    pool.store.classes = frozenset({VM, XapiClass("host")})
    pool.commit(upsert("a", n=7))
    assert restored(pool).store.classes == {"VM", "host"}


def test_without_a_checkpoint_there_is_nothing(tmp_path):
    pool = Pool(tmp_path)
    assert restored(pool) is None
    pool.load(a={"n": 1})
    pool.commit(upsert("a", n=2))
    assert restored(pool) is None


def test_a_clean_end_is_there_or_it_is_not_clean(pool):
    with pytest.raises(Damaged, match="ends early"):
        restored(pool, ended=True)
    pool.history.end(live=False)
    assert look(restored(pool, ended=True).store) == look(pool.store)
    path = pool.history.segments[-1].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Damaged, match="ends early"):
        restored(pool, ended=True)


def test_a_record_cut_short_is_left_out_wherever_it_is_cut(tmp_path):
    """As after kill -9: the state is that of some batch, the last whole one."""
    pool = Pool(tmp_path / "whole")
    pool.directory.mkdir()
    pool.load(a={"n": 0}, b={})
    checkpoint(pool)
    path = pool.history.segments[-1].path
    looks = {path.stat().st_size: look(pool.store)}
    for number in range(1, 4):
        pool.commit(upsert("a", n=number), *([removal("b")] if number == 2 else []))
        looks[path.stat().st_size] = look(pool.store)
    content = path.read_bytes()
    for cut in range(min(looks), len(content) + 1):
        path.write_bytes(content[:cut])
        expected = looks[max(size for size in looks if size <= cut)]
        assert look(restored(pool).store) == expected, cut


def test_after_a_record_cut_short_it_goes_on_in_another_file(pool):
    path = pool.history.segments[-1].path
    path.write_bytes(path.read_bytes()[:-3])
    torn = path.read_bytes()
    again = restored(pool)
    pool.go_on(again)
    pool.commit(upsert("z", n=1))
    assert path.read_bytes() == torn
    assert look(restored(pool).store) == look(pool.store)


def test_a_segment_cut_short_at_once_gives_its_number_back(pool):
    before = look(pool.store)
    pool.go_on(restored(pool))
    path = pool.history.segments[-1].path
    for size in (0, 10, 40):
        path.write_bytes(path.read_bytes()[:size])
        pool.go_on(restored(pool))
        assert pool.history.writing
        assert pool.history.segments[-1].path == path
        assert look(restored(pool).store) == before


def test_a_flipped_bit_anywhere_is_noticed_or_does_not_matter(pool, tmp_path):
    """Never another state than the true one; in a record cut short it does not matter."""
    true = look(pool.store)
    copy = tmp_path / "copy"
    flips = 0
    for original in sorted((pool.directory / POOL).iterdir()):
        content = original.read_bytes()
        for at in range(0, len(content), 3):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(pool.directory / POOL, copy / POOL)
            flipped = bytearray(content)
            flipped[at] ^= 1 << at % 8
            (copy / POOL / original.name).write_bytes(bytes(flipped))
            flips += 1
            try:
                found = restored(pool, directory=copy)
            except Damaged:
                continue
            assert found is not None
            assert look(found.store) == true
    assert flips > 300


def test_a_missing_piece_is_noticed(pool, tmp_path):
    true = look(pool.store)
    checkpoint(pool)
    pool.commit(upsert("a", n=9))
    names = [path.name for _, path in segment_paths(pool.directory / POOL)]
    assert len(names) == 4
    for number, name in enumerate(names[:-1]):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(pool.directory / POOL, copy / POOL)
        (copy / POOL / name).unlink()
        if number == 0:  # holds no change: nobody misses it
            found = restored(pool, directory=copy)
            assert found.store.seq == true["seq"] + 1
            continue
        try:
            found = restored(pool, directory=copy)
        except Damaged:
            continue
        # the past before the gap is gone, and nothing else
        entries = look(found.store)["entries"]
        assert entries == look(pool.store)["entries"]
        assert found.store.journal.tail > pool.store.journal.tail


def test_a_log_without_its_end_is_not_taken_for_one_that_reaches_the_checkpoint(pool):
    checkpoint(pool)
    for number in (3, 4):
        segment_path(pool.directory / POOL, number).unlink()
    with pytest.raises(Damaged, match="does not reach"):
        restored(pool)


def test_files_of_another_version_are_not_read(pool, monkeypatch):
    monkeypatch.setattr("xoproxy.storage.history.sealed._VERSION", 2)
    with pytest.raises(Damaged, match="version 1, not 2"):
        restored(pool)


def test_files_of_another_pool_are_not_read(pool):
    (pool.directory / POOL).rename(pool.directory / "p2")
    with pytest.raises(Damaged, match="does not open"):
        restore(pool.directory / "p2", KEY, JournalBudget(), ended=False)


def test_a_record_that_is_sealed_but_is_none_of_ours_is_damage(pool):
    path = pool.directory / POOL / "checkpoint"
    sealer = Sealer(KEY, f"checkpoint/{POOL}")
    path.write_bytes(sealer.header + sealer.seal(b"\xc1"))
    with pytest.raises(Damaged):
        restored(pool)


def test_when_it_was_last_true_is_known(pool, monkeypatch):
    assert restored(pool).store.known_at_s == pytest.approx(pool.history._known_at_s)
    monkeypatch.setattr(pool.history, "_now", lambda: 4e9)
    pool.history.mark()
    assert restored(pool).store.known_at_s == 4e9
    pool.go_on(restored(pool))
    assert restored(pool).store.known_at_s == 4e9  # a restart makes nothing true


def test_ages_go_on_over_a_restart(tmp_path, monkeypatch):
    pool = Pool(tmp_path)
    pool.load(a={})
    checkpoint(pool)
    monkeypatch.setattr("time.time", lambda: 1000.0)
    monkeypatch.setattr(pool.history, "_now", lambda: 1000.0)
    pool.commit(upsert("a", n=1))
    monkeypatch.setattr(pool.history, "_now", lambda: 1100.0)
    pool.commit(upsert("a", n=2))
    monkeypatch.setattr("time.time", lambda: 1700.0)
    monkeypatch.setattr("time.monotonic", lambda: 50.0)
    journal = restored(pool).store.journal
    assert journal.oldest_at_s == 50.0 - 700.0
    budget = JournalBudget(age_s=60)
    found = restore(tmp_path / POOL, KEY, budget, ended=False)
    assert found is not None
    assert found.store.journal.change_count == 1
