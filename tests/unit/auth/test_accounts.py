"""Signing in, on a real database: by password, by token, first start, what is refused."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from xoproxy.auth import (
    ADMINISTRATOR,
    Accounts,
    BrowserSessions,
    Directory,
    Identity,
    Passwords,
    Throttled,
    Tokens,
)
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized


@pytest.fixture
def directory():
    return Directory()


@pytest.fixture
async def accounts(directory, storage, tokens, now):
    passwords = Passwords()
    sessions = BrowserSessions(storage.sessions, directory, tokens, now=now)
    subject = Accounts(directory, storage.directory, tokens, sessions, passwords, now=now)
    assert await subject.ensure_administrator("hunter2") is None
    yield subject
    passwords.close()


async def test_first_start_makes_one_administrator_and_later_ones_change_nothing(
    accounts, directory, storage
):
    assert await accounts.ensure_administrator("other") is None
    assert await accounts.ensure_administrator(None) is None
    assert [account.name for account in directory.accounts.values()] == ["admin"]
    assert (await storage.directory.contents()).accounts == tuple(directory.accounts.values())
    assert isinstance(await accounts.login_password("admin", "hunter2", "p"), Identity)


async def test_without_a_password_a_random_one_is_made_and_works(storage, tokens):
    passwords = Passwords()
    directory = Directory()
    sessions = BrowserSessions(storage.sessions, directory, tokens)
    accounts = Accounts(directory, storage.directory, tokens, sessions, passwords)
    made = await accounts.ensure_administrator(None)
    assert made is not None
    assert (await accounts.login_password("admin", made, "p")).name == "admin"
    passwords.close()


async def test_password_login_yields_an_identity(accounts):
    identity = await accounts.login_password("admin", "hunter2", "p")
    assert (identity.name, identity.role) == ("admin", ADMINISTRATOR)
    assert identity.credential == f"password:{identity.account_id}"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("admin", "hunter3"),
        ("admin", ""),
        ("Admin", "hunter2"),
        ("nobody", "hunter2"),
        ("", ""),
        ("a" * 300, "x"),
        ("ad\x00min", "x"),
        ("\ud800", "\ud800"),
        ("' or 1=1 --", "x"),
    ],
)
async def test_wrong_sign_ins_all_answer_alike(accounts, name, password):
    with pytest.raises(Unauthorized, match=r"^wrong user name or password$") as caught:
        await accounts.login_password(name, password, "p")
    assert caught.value.code is ErrorCode.UNAUTHORISED


async def test_guessing_is_throttled_even_with_the_right_password_then(accounts):
    for _ in range(5):
        with pytest.raises(Unauthorized, match="wrong"):
            await accounts.login_password("admin", "wrong", "p")
    with pytest.raises(Throttled):
        await accounts.login_password("admin", "hunter2", "p")
    assert (await accounts.login_password("admin", "hunter2", "q")).name == "admin"
    assert accounts.logins == {
        ("password", "refused"): 5,
        ("password", "throttled"): 1,
        ("password", "accepted"): 1,
    }


async def test_a_hash_with_old_parameters_is_renewed_at_sign_in(accounts, directory, storage):
    from argon2 import PasswordHasher  # noqa: PLC0415 - for this one test

    account = directory.account_named("admin")
    weak = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("old")
    account = replace(account, password_hash=weak)
    await storage.directory.put_account(account)
    directory.put_account(account)
    await accounts.login_password("admin", "old", "p")
    renewed = directory.account_named("admin").password_hash
    assert renewed != weak
    assert (await storage.directory.contents()).accounts[0].password_hash == renewed
    assert (await accounts.login_password("admin", "old", "p")).name == "admin"


async def test_token_login_yields_an_identity_of_the_owner(accounts, tokens, now):
    owner = await accounts.login_password("admin", "hunter2", "p")
    token, text = await tokens.issue(owner.account_id, "script", timedelta(days=1))
    assert text.startswith(f"xop_{token.id}_")
    identity = accounts.login_token(text)
    assert identity.account_id == owner.account_id
    assert identity.credential == f"token:{token.id}"
    assert identity.expires_at_s == (now.value + timedelta(days=1)).timestamp()


async def test_the_secret_is_nowhere_in_the_database(accounts, tokens, tmp_path):
    owner = await accounts.login_password("admin", "hunter2", "p")
    token, text = await tokens.issue(owner.account_id, "script")
    secret = text.rpartition("_")[2]
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.id.encode() in stored  # the search does find what is there
    assert secret.encode() not in stored
    assert b"hunter2" not in stored
    assert secret not in repr(token)


async def test_forged_tokens_are_unknown(accounts, tokens):
    owner = await accounts.login_password("admin", "hunter2", "p")
    token, text = await tokens.issue(owner.account_id, "script")
    other, _ = await tokens.issue(owner.account_id, "other")
    secret = text.rpartition("_")[2]
    last = "a" if text[-1] != "a" else "b"
    for forged in (
        "",
        "xop_",
        text[:-1],
        text[:-1] + last,
        text + "a",
        text.upper(),
        f"xop_{other.id}_{secret}",
        f"xop_{'a' * 10}_{secret}",
        f"xop_{token.id}_{'a' * 52}",
        f" {text}",
        f"{text}\n",
    ):
        with pytest.raises(Unauthorized, match="unknown"):
            accounts.login_token(forged)


async def test_revoked_and_expired_tokens_say_so(accounts, tokens, now):
    owner = await accounts.login_password("admin", "hunter2", "p")
    token, text = await tokens.issue(owner.account_id, "script")
    assert await tokens.revoke(token.id) == f"token:{token.id}"
    with pytest.raises(Unauthorized, match="revoked"):
        accounts.login_token(text)
    with pytest.raises(RequestRefused) as caught:
        await tokens.revoke(token.id)
    assert caught.value.code is ErrorCode.NOT_FOUND

    _, text = await tokens.issue(owner.account_id, "brief", timedelta(hours=1))
    now.value += timedelta(hours=1)
    with pytest.raises(Unauthorized, match="expired"):
        accounts.login_token(text)
    assert [token.name for token in tokens.list()] == ["brief"]


async def test_last_use_is_noted_once_a_minute_and_kept_when_asked(accounts, tokens, storage, now):
    owner = await accounts.login_password("admin", "hunter2", "p")
    _, text = await tokens.issue(owner.account_id, "script")
    seen = []
    for seconds in (10, 30, 60):
        now.value += timedelta(seconds=seconds)
        accounts.login_token(text)
        seen.append(tokens.list()[0].last_used_at)
    assert seen[0] == seen[1] == now.value - timedelta(seconds=90)
    assert seen[2] == now.value
    assert (await storage.tokens.tokens())[0].last_used_at is None
    await tokens.note_uses()
    assert (await storage.tokens.tokens())[0].last_used_at == now.value
    assert Tokens(storage.tokens, await storage.tokens.tokens()).verify(text).name == "script"


async def test_nobody_signs_in_who_was_disabled_while_his_password_was_verified(
    accounts, directory
):
    account = directory.account_named("admin")
    async with asyncio.TaskGroup() as group:
        signing_in = group.create_task(_refused(accounts))
        await asyncio.sleep(0)
        directory.put_account(replace(account, enabled=False))
    assert signing_in.result()


async def _refused(accounts):
    try:
        await accounts.login_password("admin", "hunter2", "p")
    except Unauthorized:
        return True
    return False
