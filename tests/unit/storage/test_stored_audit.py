"""The audit log in a database: whole, bounded, and no change of it unseen."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, update

from xoproxy.auth.audit import BEGINNING, Action
from xoproxy.storage.audit import NotStored, StoredAudit
from xoproxy.storage.schema import audit, audit_ends

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALL = 10_000


async def add(log, count, at=NOW):
    place, _ = await log.open()
    found = log.records(place, [(Action(f"op{n}"), at) for n in range(count)])
    await log.append(found)
    return found


async def fault(log):
    """Verify page by page, as the command does."""
    after = 0
    while True:
        checked = await log.check(after, 3)
        if checked.fault is not None or checked.last in (after, checked.head.number):
            return checked.fault.number if checked.fault else None
        after = checked.last


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr("xoproxy.storage.audit._CHECKED", 2)


async def execute(storage, *statements):
    async with storage.database.writing() as connection:
        for statement in statements:
            await connection.execute(statement)


async def test_a_new_log_is_empty_and_whole(place):
    async with place.open() as storage:
        log = StoredAudit(storage.database, storage.audit_key)
        assert await log.open() == (BEGINNING, "")
        assert await fault(log) is None


async def test_records_last_and_go_on_after_a_restart(place):
    async with place.open() as storage:
        log = StoredAudit(storage.database, storage.audit_key)
        first = await add(log, 5)
        assert await fault(log) is None
    async with place.open() as storage:
        log = StoredAudit(storage.database, storage.audit_key)
        assert await log.open() == (first[-1].place, "")
        second = await add(log, 2, NOW + timedelta(days=1))
        assert await log.read(0, ALL) == first + second
        assert await log.read(3, 2) == first[3:]
        assert await log.number_before(NOW + timedelta(hours=1)) == 5
        assert await log.number_before(NOW) == 0
        assert await fault(log) is None


async def test_what_was_stored_is_not_stored_again(place):
    async with place.open() as storage:
        log = StoredAudit(storage.database, storage.audit_key)
        found = await add(log, 3)
        await log.append(found)  # the answer to the first time was lost
        assert await log.read(0, ALL) == found
        assert await fault(log) is None


@pytest.mark.parametrize(
    ("statements", "number"),
    [
        ([update(audit).where(audit.c.number == 4).values(content="{}")], 4),
        ([update(audit).where(audit.c.number == 4).values(at=NOW + timedelta(days=9))], 4),
        ([update(audit).where(audit.c.number == 7).values(hash=b"x" * 32)], 7),
        ([delete(audit).where(audit.c.number == 4)], 4),
        ([delete(audit).where(audit.c.number <= 4)], 1),
        ([delete(audit).where(audit.c.number >= 6)], 6),
        ([delete(audit).where(audit.c.number >= 6), delete(audit_ends)], 5),
        ([update(audit_ends).values(number=6), delete(audit).where(audit.c.number > 6)], 6),
        ([delete(audit)], 1),
    ],
)
async def test_the_first_broken_place_is_found(place, statements, number):
    async with place.open() as storage:
        log = StoredAudit(storage.database, storage.audit_key)
        await add(log, 7)
        await execute(storage, *statements)
        assert await fault(log) == number


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        ([delete(audit).where(audit.c.number >= 6)], "the newest records are missing"),
        ([delete(audit_ends)], "the seal of the newest record does not fit"),
        ([delete(audit)], "the newest records are missing"),
    ],
)
async def test_a_start_on_a_log_that_was_cut_says_so_and_goes_on(place, statements, complaint):
    async with place.open() as storage:
        log = StoredAudit(storage.database, storage.audit_key)
        await add(log, 7)
        await execute(storage, *statements)
        went_on, said = await log.open()
        assert (went_on.number, said) == (7, complaint)


async def test_old_records_go_and_the_rest_can_still_be_verified(place):
    async with place.open() as storage:
        log = StoredAudit(storage.database, storage.audit_key)
        await add(log, 4, NOW - timedelta(days=400))
        kept = await add(log, 6)
        while await log.let_go(ALL, NOW - timedelta(days=365)):
            pass
        assert await log.read(0, ALL) == kept
        assert await fault(log) is None
        assert not await log.let_go(2, NOW - timedelta(days=365))
        assert await log.read(0, ALL) == kept[4:]
        assert await fault(log) is None
        assert not await log.let_go(1, NOW + timedelta(days=365))  # never all
        assert await log.read(0, ALL) == kept[5:]
        await add(log, 1)
        assert await fault(log) is None
        await execute(storage, delete(audit_ends).where(audit_ends.c.name == "anchor"))
        assert await fault(log) == 1


async def test_a_forger_without_the_key_is_found(place):
    async with place.open() as storage:
        log = StoredAudit(storage.database, storage.audit_key)
        await add(log, 3)
        forger = StoredAudit(storage.database, b"what the database tells")
        await add(forger, 2)
        assert await fault(log) is not None


async def test_a_database_that_cannot_be_written_is_said_so(place):
    async with place.open() as storage:
        log = StoredAudit(storage.database, storage.audit_key)
        found = log.records(BEGINNING, [(Action("one"), NOW)])
        async with storage.database.writing() as connection:
            await connection.exec_driver_sql("DROP TABLE audit_ends")
        with pytest.raises(NotStored):
            await log.append(found)
        assert await log.read(0, ALL) == []
