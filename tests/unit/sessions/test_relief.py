"""What is on its way to clients together stays under its bound, and everybody gets through."""

from typing import Any

import pytest

from tests.unit.sessions.wire import Desk, upsert
from xoproxy.cache.journal import JournalBudget
from xoproxy.sessions import group

SIZES: dict[str, Any] = {"chunk_bytes": 1024, "frame_bytes": 4096}
ALL = {"classes": ["VM"]}


@pytest.fixture(autouse=True)
def copies(monkeypatch):
    """Have each new position encoded anew, as after many changes."""
    monkeypatch.setattr(group, "_NEAR", -1)


def full(desk: Desk, note: str = "") -> None:
    """Have 60 objects of a hundred bytes each."""
    desk.commit(*(upsert(f"vm{n:02}", name_label=note + "x" * 100) for n in range(60)))


def weight(desk: Desk) -> int:
    return desk.framing.ledger.used_bytes


def stalled_readers(desk: Desk, count: int) -> list:
    """Have clients ask at different moments and stop after a few frames."""
    readers = []
    for number in range(count):
        talker = desk.connect()
        talker.line.room = 2000
        talker.says("subscribe", id=1, query=ALL)
        desk.flush()
        readers.append(talker)
        desk.commit(upsert("vm00", name_label=f"{number}" * 50))
        desk.flush()
    return readers


def documents(talker) -> list[str]:
    return [m["type"] for m in talker.hears_of("snapshot", "reset", "patch")]


def test_copies_for_slow_readers_are_given_up_over_the_bound():
    desk = Desk(frames_total_bytes=40_000, **SIZES)
    full(desk)
    readers = stalled_readers(desk, 30)

    assert weight(desk) < 40_000
    assert desk.hub.counters.given_up > 20
    for reader in readers:
        reader.drains()
    desk.flush()
    begun_again = 0
    for reader in readers:
        told = reader.hears_of("reset", "snapshot")
        resets = [number for number, m in enumerate(told) if m["type"] == "reset"]
        if resets:
            assert told[resets[-1]]["reason"] == "overload"
            told = told[resets[-1] + 1 :]
            begun_again += 1
        assert sum(len(m["rows"]) for m in told) == 60
        assert told[-1]["last"]
    assert begun_again > 20


def test_under_the_bound_nobody_has_to_begin_again():
    desk = Desk(frames_total_bytes=1 << 20, **SIZES)
    full(desk)
    readers = stalled_readers(desk, 30)
    for reader in readers:
        reader.drains()
    desk.flush()
    assert desk.hub.counters.given_up == 0
    assert all("reset" not in documents(reader) for reader in readers)


def test_a_view_larger_than_the_bound_gets_through():
    desk = Desk(frames_total_bytes=1, **SIZES)
    full(desk)
    talker = desk.connect()
    talker.says("subscribe", id=1, query=ALL)
    desk.flush()
    told = talker.hears_of("snapshot", "reset")
    assert told[-1]["last"]
    assert sum(len(m["rows"]) for m in told if m["type"] == "snapshot") == 60


def test_what_nobody_waits_for_weighs_nothing_in_the_end():
    desk = Desk(frames_total_bytes=1 << 20, **SIZES)
    full(desk)
    before = weight(desk)
    readers = stalled_readers(desk, 5)
    assert weight(desk) > before + 20_000
    for reader in readers:
        reader.leaves()
    desk.bookmarks()
    assert weight(desk) < before + 2_000


def test_a_patch_that_everybody_has_is_not_kept():
    desk = Desk(**SIZES)
    full(desk)
    reader = desk.connect()
    reader.says("subscribe", id=1, query=ALL)
    desk.flush()
    desk.bookmarks()
    before = weight(desk)
    full(desk, "changed")
    desk.flush()
    assert weight(desk) > before + 5_000
    desk.bookmarks()
    assert weight(desk) < before + 1_000
    assert documents(reader)[-1] == "patch"


def test_a_past_that_history_no_longer_holds_is_not_kept_for_who_takes_nothing():
    desk = Desk(JournalBudget(20_000, 20_000), frames_total_bytes=1 << 20, **SIZES)
    full(desk)
    desk.commit(upsert("vm00", name_label="loaded"))
    (reader,) = stalled_readers(desk, 1)
    desk.bookmarks()
    assert weight(desk) > 2_000  # what it has not taken yet
    for number in range(200):
        desk.commit(upsert("vm00", name_label=f"{number}" * 100))
        desk.flush()
    desk.bookmarks()
    assert weight(desk) < 2_000
    reader.drains()
    desk.flush()
    told = reader.hears_of("reset", "snapshot")
    assert [m["reason"] for m in told if m["type"] == "reset"] == ["journal_expired"]
    assert told[-1]["last"]
