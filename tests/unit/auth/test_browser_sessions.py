"""Browser sessions on a real database: what they last for, and what ends them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from xoproxy.auth import (
    Account,
    BrowserSessions,
    Contents,
    Directory,
    Identity,
    Lifetime,
)
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized

LIFETIME = Lifetime(timedelta(hours=1), timedelta(hours=8))
BOB = Identity("b1", "bob", "viewer", "password:b1")


@pytest.fixture
async def directory(storage, now):
    account = Account("b1", "bob", "viewer", "$h", enabled=True, created_at=now())
    await storage.directory.put_account(account)
    return Directory(Contents(accounts=(account,)))


@pytest.fixture
def ended():
    return []


@pytest.fixture
def sessions(storage, directory, tokens, now, ended):
    subject = BrowserSessions(storage.sessions, directory, tokens, LIFETIME, now=now)
    subject.when_ended(ended.append)
    return subject


async def opened(sessions, identity=BOB):
    return await sessions.open(identity, "203.0.113.1", "Firefox")


def is_good(sessions, secret):
    try:
        sessions.verify(secret)
    except Unauthorized:
        return False
    return True


async def test_who_has_the_secret_is_whoever_signed_in(sessions):
    session, secret = await opened(sessions)
    _, identity = sessions.verify(secret)
    assert identity == Identity(
        "b1",
        "bob",
        "viewer",
        f"session:{session.id}",
        datetime(2026, 1, 1, 8, tzinfo=UTC).timestamp(),
        origin="password:b1",
    )
    assert secret not in repr(session)
    assert repr(session.secret_digest) not in repr(session)


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: secret[:-1],
        lambda secret: secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        lambda secret: secret.replace("xos_", "xop_"),
        lambda secret: secret.upper(),
        lambda secret: secret + "\n",
        lambda _: "",
        lambda _: "xos_",
        lambda secret: secret[:15] + "a" * 10**6,
    ],
)
async def test_nothing_else_is_a_secret(sessions, change):
    _, secret = await opened(sessions)
    with pytest.raises(Unauthorized, match="there is no such browser session"):
        sessions.verify(change(secret))


async def test_an_unused_one_is_over_and_a_used_one_goes_on_but_not_for_ever(sessions, now):
    _, unused = await opened(sessions)
    _, used = await opened(sessions)
    for _ in range(15):
        now.value += timedelta(minutes=31)
        assert is_good(sessions, used)
    assert not is_good(sessions, unused)
    now.value += timedelta(minutes=31)
    assert not is_good(sessions, used)


async def test_an_open_page_uses_its_session(sessions, now, ended):
    session, secret = await opened(sessions)
    for _ in range(4):
        now.value += timedelta(minutes=31)
        await sessions.tidy({f"session:{session.id}"})
    assert is_good(sessions, secret)
    now.value += timedelta(minutes=61)
    await sessions.tidy({f"session:{session.id}"})  # too late: it was over by then
    assert ended == [f"session:{session.id}"]


async def test_all_of_it_survives_a_restart(sessions, storage, directory, tokens, now):
    session, secret = await opened(sessions)
    now.value += timedelta(minutes=59)
    assert is_good(sessions, secret)
    await sessions.tidy()
    kept = await storage.sessions.sessions()
    assert kept == [replace(session, last_used_at=now.value)]
    again = BrowserSessions(storage.sessions, directory, tokens, LIFETIME, kept, now)
    now.value += timedelta(minutes=59)
    assert is_good(again, secret)


async def test_what_is_over_is_forgotten(sessions, storage, now, ended):
    first, _ = await opened(sessions)
    now.value += timedelta(minutes=59)
    second, _ = await opened(sessions)
    now.value += timedelta(minutes=2)
    await sessions.tidy()
    assert [one.id for one in await storage.sessions.sessions()] == [second.id]
    assert ended == [f"session:{first.id}"]
    assert [one.id for one in sessions.list()] == [second.id]


async def test_ending_one_ends_it_once(sessions, storage, ended):
    session, secret = await opened(sessions)
    _, other = await opened(sessions)
    await sessions.end(session.id)
    assert ended == [f"session:{session.id}"]
    assert not is_good(sessions, secret)
    assert is_good(sessions, other)
    assert len(await storage.sessions.sessions()) == 1
    for wrong in (session.id, "nothing"):
        with pytest.raises(RequestRefused) as caught:
            await sessions.end(wrong)
        assert caught.value.code is ErrorCode.NOT_FOUND


async def test_a_new_generation_and_a_disabled_account_end_it_at_once(sessions, directory):
    _, secret = await opened(sessions)
    bob = directory.accounts["b1"]
    for changed in (replace(bob, generation=1), replace(bob, enabled=False)):
        directory.put_account(changed)
        assert not is_good(sessions, secret)
        assert sessions.list() == []
        directory.put_account(bob)
        assert is_good(sessions, secret)


async def test_a_password_that_changes_while_it_is_opened_ends_it(sessions, storage, directory):
    adding = storage.sessions.add_session

    async def slowly(session):
        directory.put_account(replace(directory.accounts["b1"], generation=1))
        await adding(session)

    storage.sessions.add_session = slowly
    _, secret = await opened(sessions)
    assert not is_good(sessions, secret)


async def test_one_that_a_token_opened_lives_within_it(sessions, tokens, directory):
    token, _ = await tokens.issue("b1", "kiosk", timedelta(hours=2), "viewer")
    by_token = replace(BOB, credential=f"token:{token.id}")
    _, secret = await opened(sessions, by_token)
    _, identity = sessions.verify(secret)
    assert (identity.within, identity.origin) == ("viewer", f"token:{token.id}")
    assert identity.expires_at_s == token.expires_at.timestamp()
    # a new password is no concern of a token
    directory.put_account(replace(directory.accounts["b1"], generation=1))
    assert is_good(sessions, secret)
    await tokens.revoke(token.id)
    assert not is_good(sessions, secret)


async def test_a_session_opens_no_other_one(sessions):
    _, secret = await opened(sessions)
    _, identity = sessions.verify(secret)
    with pytest.raises(RequestRefused) as caught:
        await opened(sessions, identity)
    assert caught.value.code is ErrorCode.FORBIDDEN


async def test_an_account_has_so_many_and_the_least_used_ends_first(sessions, storage, now, ended):
    _, secret = await opened(sessions)
    second, _ = await opened(sessions)
    now.value += timedelta(minutes=2)
    assert is_good(sessions, secret)
    async with asyncio.TaskGroup() as group:
        for _ in range(99):
            group.create_task(opened(sessions))
    assert ended == [f"session:{second.id}"]
    assert is_good(sessions, secret)
    assert len(await storage.sessions.sessions()) == 100


async def test_what_browsers_call_themselves_is_cut_and_printable(sessions):
    session, _ = await sessions.open(BOB, "::1", "\x1b[31mred\r\n" + "x" * 9000)
    assert session.user_agent.startswith("?[31mred??xxx")
    assert len(session.user_agent) == 200
