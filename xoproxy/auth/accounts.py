"""Accounts and signing in.

Every way of signing in ends in an `Identity` or an `Unauthorized` that does not tell whether the
account exists: neither by its words nor by its duration.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from xoproxy.auth.browser_sessions import BrowserSessions
from xoproxy.auth.directory import Account, Directory
from xoproxy.auth.identity import (
    ADMINISTRATOR,
    Identity,
    password_credential,
    token_credential,
)
from xoproxy.auth.passwords import Passwords, random_password
from xoproxy.auth.throttle import Throttle, Throttled
from xoproxy.auth.tokens import Tokens
from xoproxy.errors import ErrorCode, Unauthorized

FIRST_ACCOUNT = "admin"
_NAME_LENGTH = 255
_WRONG = "wrong user name or password"


class AccountStore(Protocol):
    """Where accounts last."""

    async def put_account(self, account: Account) -> None: ...

    async def set_password_hash(self, account_id: str, old: str, new: str) -> None:
        """Replace a hash if it is still the old one."""


class Accounts:
    """Signs people and programs in."""

    def __init__(
        self,
        directory: Directory,
        store: AccountStore,
        tokens: Tokens,
        sessions: BrowserSessions,
        passwords: Passwords,
        throttle: Throttle | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._directory = directory
        self._store = store
        self._tokens = tokens
        self._sessions = sessions
        self._passwords = passwords
        self._throttle = throttle or Throttle()
        self._now = now
        self.logins: Counter[tuple[str, str]] = Counter()
        """Sign-ins so far by (way, outcome), for the metrics."""

    async def login_password(self, name: str, password: str, peer: str) -> Identity:
        """Sign in by user name and password.

        Args:
            name: exactly as the account is called.
            password: in clear.
            peer: the address that asks, to count its failures.

        Raises:
            Unauthorized: they do not fit; Throttled: too many did not before; with code BUSY: too
                many sign in just now.
        """
        with self._counted("password"):
            return await self._check_password(name, password, peer)

    def login_token(self, text: str) -> Identity:
        """Sign in by API token.

        Raises:
            Unauthorized: it is none of ours, expired, revoked, or its account is disabled.
        """
        with self._counted("token"):
            token = self._tokens.verify(text)
            account = self._directory.accounts.get(token.account_id)
            if account is None or not account.enabled:
                raise Unauthorized("the account of this API token is disabled")
        expires_at_s = token.expires_at.timestamp() if token.expires_at else None
        credential = token_credential(token.id)
        return Identity(
            account.id, account.name, account.role, credential, expires_at_s, within=token.role
        )

    async def ensure_administrator(self, password: str | None) -> str | None:
        """Create the account `admin` if there is no account at all.

        Args:
            password: for it; None: make a random one.

        Returns:
            The random password, to be shown once; None if none was made.
        """
        if self._directory.accounts:
            return None
        made = None if password else random_password()
        account = Account(
            id=secrets.token_hex(8),
            name=FIRST_ACCOUNT,
            role=ADMINISTRATOR,
            password_hash=await self._passwords.hash(password or made or ""),
            enabled=True,
            created_at=self._now(),
        )
        await self._store.put_account(account)
        self._directory.put_account(account)
        return made

    def login_session(self, text: str) -> Identity:
        """Sign in by what the cookie of a browser session holds.

        Raises:
            Unauthorized: there is no such session, or it is over.
        """
        with self._counted("session"):
            return self._sessions.verify(text)[1]

    def unlock(self, name: str) -> None:
        """Forget what failed for a name."""
        self._throttle.unlock(name)

    def is_locked(self, name: str) -> bool:
        """Tell whether a name has to wait where it never signed in before (auth/throttle.py)."""
        return self._throttle.is_locked(name)

    @contextmanager
    def _counted(self, way: str) -> Iterator[None]:
        outcome = "failed"  # cancelled, or storage is in trouble
        try:
            yield
            outcome = "accepted"
        except Throttled:
            outcome = "throttled"
            raise
        except Unauthorized as error:
            outcome = "busy" if error.code is ErrorCode.BUSY else "refused"
            raise
        finally:
            self.logins[way, outcome] += 1

    async def _check_password(self, name: str, password: str, peer: str) -> Identity:
        if len(name) > _NAME_LENGTH or not name.isprintable():  # no such account can be
            name = ""
        self._throttle.check(peer, name)
        account = self._directory.account_named(name)
        password_hash = account.password_hash if account else None
        right = await self._passwords.verify(
            password, password_hash, lambda: self._throttle.check(peer, name)
        )
        # as it is by now: it may have been disabled, or its password changed, meanwhile
        account = self._directory.account_named(name)
        if account is None or not account.enabled or account.password_hash != password_hash:
            right = False
        if account is None or password_hash is None or not right:
            self._throttle.failed(peer, name)
            raise Unauthorized(_WRONG)
        self._throttle.succeeded(peer, name)
        if self._passwords.is_outdated(password_hash):
            before = account
            await self._hash_anew(account.id, password, password_hash)
            account = self._directory.accounts.get(account.id)
            if account is None or not account.enabled or account.generation != before.generation:
                raise Unauthorized(_WRONG)
        return Identity(account.id, account.name, account.role, password_credential(account.id))

    async def _hash_anew(self, account_id: str, password: str, old: str) -> None:
        new = await self._passwords.hash(password)
        await self._store.set_password_hash(account_id, old, new)
        account = self._directory.accounts.get(account_id)
        if account is not None and account.password_hash == old:
            self._directory.put_account(replace(account, password_hash=new))
