import pytest

from xoproxy.cache.journal import Expired, Journal, JournalBudget
from xoproxy.model import Batch, Change, Key, PoolId, Ref, XapiClass


def batch(from_seq: int, count: int, *, at_s: float = 0, size: int = 10) -> Batch:
    """Make a batch of `count` changes, each with `size` bytes of new values."""
    changes = tuple(
        Change(seq, Key("k"), Ref("OpaqueRef:k"), XapiClass("VM"), None, b"x" * size)
        for seq in range(from_seq + 1, from_seq + count + 1)
    )
    return Batch(PoolId("p"), "e", from_seq, from_seq + count, "", changes, at_s, 0)


def numbers(journal: Journal, seq: int, until: int | None = None) -> list[int]:
    return [change.seq for change in journal.since(seq, until)]


@pytest.fixture
def journal():
    journal = Journal(JournalBudget(), seq=100)
    for from_seq, count in ((100, 3), (103, 1), (104, 6)):
        journal.append(batch(from_seq, count))
    return journal


def test_every_change_after_a_position_comes_in_order(journal):
    for seq in range(100, 111):
        assert list(range(seq + 1, 111)) == numbers(journal, seq)


def test_reading_stops_where_asked(journal):
    for seq in range(100, 111):
        for until in range(seq, 111):
            assert list(range(seq + 1, until + 1)) == numbers(journal, seq, until)


def test_a_position_in_the_future_is_expired(journal):
    assert not journal.reaches(111)
    with pytest.raises(Expired):
        journal.since(111)


def test_a_position_before_the_tail_is_expired(journal):
    journal.drop_oldest()

    assert journal.tail == 103
    assert journal.reaches(103)
    with pytest.raises(Expired):
        journal.since(102)
    assert list(range(104, 111)) == numbers(journal, 103)


def test_an_empty_journal_knows_its_position_only():
    journal = Journal(JournalBudget(), seq=7)

    assert numbers(journal, 7) == []
    for seq in (6, 8):
        with pytest.raises(Expired):
            journal.since(seq)


def test_batches_grow_too_old():
    journal = Journal(JournalBudget(age_s=60))
    journal.append(batch(0, 2, at_s=1000))
    journal.append(batch(2, 1, at_s=1060))
    assert journal.tail == 0

    journal.append(batch(3, 1, at_s=1061))

    assert journal.tail == 2
    assert numbers(journal, 2) == [3, 4]


def test_a_journal_keeps_within_its_own_bytes():
    budget = JournalBudget(pool_bytes=10_000)
    journal = Journal(budget)
    for number in range(100):
        journal.append(batch(number, 1, size=1000))
        assert journal.used_bytes <= 10_000
        assert budget.used_bytes == journal.used_bytes

    assert journal.head == 100
    assert list(range(journal.tail + 1, 101)) == numbers(journal, journal.tail)
    assert journal.change_count == journal.batch_count == 100 - journal.tail > 1


def test_a_batch_larger_than_the_bound_leaves_an_empty_journal():
    journal = Journal(JournalBudget(pool_bytes=1000))
    journal.append(batch(0, 2, size=1000))

    assert (journal.head, journal.tail, journal.used_bytes, journal.batch_count) == (2, 2, 0, 0)
    assert numbers(journal, 2) == []


def test_the_oldest_batch_of_all_pools_goes_first():
    budget = JournalBudget(total_bytes=5000)
    quiet, busy = Journal(budget), Journal(budget)
    busy.append(batch(0, 1, at_s=1, size=1000))
    quiet.append(batch(0, 1, at_s=2, size=1000))
    for number in range(1, 4):
        busy.append(batch(number, 1, at_s=2 + number, size=1000))

    assert (busy.tail, quiet.tail) == (1, 0)
    assert budget.used_bytes <= 5000

    busy.append(batch(4, 1, at_s=6, size=1000))

    assert (busy.tail, quiet.tail) == (1, 1)


def test_the_bound_of_all_holds_however_many_pools_there_are():
    budget = JournalBudget(total_bytes=20_000)
    journals = [Journal(budget) for _ in range(10)]
    for number in range(50):
        for journal in journals:
            journal.append(batch(number, 1, at_s=number, size=500))
            assert budget.used_bytes == sum(j.used_bytes for j in journals) <= 20_000


def test_a_released_journal_gives_back_its_bytes():
    budget = JournalBudget()
    kept, gone = Journal(budget), Journal(budget)
    kept.append(batch(0, 1))
    gone.append(batch(0, 5))

    budget.release(gone)

    assert budget.used_bytes == kept.used_bytes > 0
    assert (gone.tail, gone.head) == (5, 5)


def test_clearing_starts_history_at_a_new_position(journal):
    journal.clear(500)

    assert (
        journal.head,
        journal.tail,
        journal.used_bytes,
        journal.change_count,
    ) == (500, 500, 0, 0)
    with pytest.raises(Expired):
        journal.since(110)
