"""Accounts and signing in.

Every way of signing in ends in an `Identity` or an `Unauthorized` that does not tell whether the
account exists: neither by its words nor by its duration.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in."""

    id: str
    name: str
    role: str
    password_hash: str = field(repr=False)
    enabled: bool
    created_at: datetime


class AccountStore(Protocol):
    """Where accounts last."""

    async def account(self, account_id: str) -> Account | None: ...

    async def account_named(self, name: str) -> Account | None: ...

    async def account_names(self) -> Mapping[str, str]:
        """Return all accounts' names by id."""
        ...

    async def add_account(self, account: Account) -> None: ...

    async def set_password_hash(self, account_id: str, password_hash: str) -> None: ...


class Accounts:
    """Signs people and programs in."""

    def __init__(
        self,
        store: AccountStore,
        tokens: Tokens,
        passwords: Passwords,
        throttle: Throttle | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._tokens = tokens
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

    async def login_token(self, text: str) -> Identity:
        """Sign in by API token.

        Raises:
            Unauthorized: it is none of ours, expired, revoked, or its account is disabled.
        """
        with self._counted("token"):
            token = await self._tokens.verify(text)
            account = await self._store.account(token.account_id)
            if account is None or not account.enabled:
                raise Unauthorized("the account of this API token is disabled")
        expires_at_s = token.expires_at.timestamp() if token.expires_at else None
        credential = token_credential(token.id)
        return Identity(account.id, account.name, account.role, credential, expires_at_s)

    async def names(self) -> Mapping[str, str]:
        """Return all accounts' names by id."""
        return await self._store.account_names()

    async def ensure_administrator(self, password: str | None) -> str | None:
        """Create the account `admin` if there is no account at all.

        Args:
            password: for it; None: make a random one.

        Returns:
            The random password, to be shown once; None if none was made.
        """
        if await self._store.account_names():
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
        await self._store.add_account(account)
        return made

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
        account = await self._store.account_named(name)
        password_hash = account.password_hash if account else None
        right = await self._passwords.verify(password, password_hash)
        if account is None or not right or not account.enabled:
            self._throttle.failed(peer, name)
            raise Unauthorized(_WRONG)
        self._throttle.succeeded(peer, name)
        if self._passwords.is_outdated(account.password_hash):
            await self._store.set_password_hash(account.id, await self._passwords.hash(password))
        return Identity(account.id, account.name, account.role, password_credential(account.id))
