"""Passwords: hashing, equal time for unknown names, the queue's bound, what is remembered."""

import asyncio
import contextlib
import time

import pytest

from xoproxy.auth.passwords import PASSWORD_BYTES, Passwords, random_password
from xoproxy.auth.throttle import Throttled
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized


@pytest.fixture
async def passwords():
    subject = Passwords()
    yield subject
    subject.close()


async def test_the_right_password_matches_and_others_do_not(passwords):
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$")
    assert "correct horse" not in stored
    assert await passwords.verify("correct horse", stored)
    assert not await passwords.verify("correct hors", stored)
    assert not await passwords.verify("", stored)
    assert not await passwords.verify("decoy", None)


async def test_equal_passwords_have_different_hashes(passwords):
    assert await passwords.hash("x") != await passwords.hash("x")


async def test_accents_match_however_the_keyboard_composes_them(passwords):
    assert await passwords.verify("e\u0301t\u00e9", await passwords.hash("\u00e9te\u0301"))


@pytest.mark.parametrize("password", ["", "x" * (PASSWORD_BYTES + 1)])
async def test_empty_and_endless_passwords_are_refused(passwords, password):
    with pytest.raises(RequestRefused) as caught:
        await passwords.hash(password)
    assert caught.value.code is ErrorCode.BAD_MESSAGE
    assert not await passwords.verify(password, await passwords.hash("x"))


async def test_odd_text_and_damaged_hashes_do_not_raise(passwords):
    stored = await passwords.hash("x")
    assert not await passwords.verify("\ud800", stored)
    assert not await passwords.verify("x", "not a hash")


async def test_an_unknown_account_costs_the_same_work(passwords):
    stored = await passwords.hash("x")

    async def cpu_s(password_hash):
        start = time.process_time()
        for number in range(3):
            await passwords.verify(f"wrong {number}", password_hash)
        return time.process_time() - start

    known, unknown = await cpu_s(stored), await cpu_s(None)
    assert unknown > known / 3  # a missing check would be a thousand times faster


async def test_a_right_password_is_remembered_for_a_minute_and_under_its_hash_only():
    now = [0.0]
    passwords = Passwords(clock=lambda: now[0])
    stored, changed = await passwords.hash("x"), await passwords.hash("y")
    assert await passwords.verify("x", stored)
    passwords.close()  # from here on nothing can be computed, only remembered
    assert await passwords.verify("x", stored)
    for password, password_hash in (("x", changed), ("x", None), ("z", stored)):
        with pytest.raises(RuntimeError, match="shutdown"):
            await passwords.verify(password, password_hash)
    now[0] = 60.0
    with pytest.raises(RuntimeError, match="shutdown"):
        await passwords.verify("x", stored)


async def test_hundreds_of_equal_sign_ins_cost_two_checks(passwords):
    stored = await passwords.hash("x")
    start = time.process_time()
    await passwords.verify("other", stored)
    one_s = time.process_time() - start
    start = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        checks = [tasks.create_task(passwords.verify("x", stored)) for _ in range(300)]
    assert all(check.result() for check in checks)
    assert time.process_time() - start < 30 * one_s


async def test_a_flood_is_refused_as_busy(passwords):
    stored = await passwords.hash("x")
    outcomes = []

    async def attempt(number):
        try:
            outcomes.append(await passwords.verify(f"wrong {number}", stored))
        except Unauthorized as error:
            outcomes.append(error.code)

    async def flood():
        async with asyncio.timeout(0.2), asyncio.TaskGroup() as tasks:
            for number in range(600):
                tasks.create_task(attempt(number))

    with pytest.raises(TimeoutError):
        await flood()
    assert outcomes.count(ErrorCode.BUSY) == 600 - 512
    assert await passwords.verify("x", stored)  # the cancelled ones left their places


def test_random_passwords_differ_and_can_be_typed():
    one, other = random_password(), random_password()
    assert one != other
    assert len(one.replace("-", "")) == 20
    assert one[0].isalnum()


async def test_guesses_sent_at_once_are_asked_about_when_their_turn_comes(passwords):
    """Who is refused after five failures has no more than those, however he sends them."""
    stored = await passwords.hash("a long password")
    failures = 0

    def check():
        if failures >= 5:
            raise Throttled(1)

    async def guess(number):
        nonlocal failures
        with contextlib.suppress(Throttled):
            if not await passwords.verify(f"guess {number}", stored, check):
                failures += 1

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(guess(number))
    assert 5 <= failures <= 6  # two are verified at a time
