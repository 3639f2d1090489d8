"""Browser sessions and what guessing has come to, in each database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from xoproxy.auth import Account, BrowserSession, Note
from xoproxy.auth.throttle import Kind

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def account(account_id):
    return Account(account_id, account_id, "viewer", "$h", enabled=True, created_at=NOW)


def session(number, account_id="a1"):
    return BrowserSession(
        id=f"s{number}",
        account_id=account_id,
        secret_digest=bytes(range(32)),
        token_id="",
        generation=7,
        address="2001:db8::1",
        user_agent="Firefox “142”",
        created_at=NOW + timedelta(seconds=number),
        last_used_at=NOW,
    )


@pytest.fixture
async def storage(place):
    async with place.open() as opened:
        for account_id in ("a1", "a2"):
            await opened.directory.put_account(account(account_id))
        yield opened


async def test_sessions_are_kept_used_and_removed(storage):
    made = [session(number) for number in range(3)]
    for one in reversed(made):
        await storage.sessions.add_session(one)
    assert await storage.sessions.sessions() == made
    later = NOW + timedelta(days=1)
    await storage.sessions.note_session_uses({"s1": later, "nothing": later})
    await storage.sessions.remove_sessions(["s0", "nothing"])
    assert await storage.sessions.sessions() == [replace(made[1], last_used_at=later), made[2]]


async def test_sessions_go_with_their_account(storage):
    await storage.sessions.add_session(session(1))
    await storage.sessions.add_session(session(2, "a2"))
    await storage.directory.remove_account("a1")
    assert [one.id for one in await storage.sessions.sessions()] == ["s2"]


async def test_what_an_account_has_to_do_is_kept(storage):
    changed = replace(account("a1"), must_change=True, generation=5)
    await storage.directory.put_account(changed)
    assert changed in (await storage.directory.contents()).accounts


async def test_notes_stand_for_those_of_before(storage):
    assert await storage.sign_ins.notes() == []
    digests = [bytes([number]) * 16 for number in range(4)]
    first = [Note(Kind.NAME, digests[0], 100, 1.7e9), Note(Kind.ADDRESS, digests[0], 50, 1.7e9)]
    await storage.sign_ins.write(first)
    assert sorted(await storage.sign_ins.notes(), key=lambda n: n.kind) == sorted(
        first, key=lambda n: n.kind
    )
    second = [Note(Kind.HOME, digests[1] + digests[2], 0, 1.7e9 + 0.25)]
    await storage.sign_ins.write(second)
    assert await storage.sign_ins.notes() == second
    await storage.sign_ins.write([])
    assert await storage.sign_ins.notes() == []
