"""API tokens: `xop_<id>_<secret>`, shown once, stored as a digest (auth/secret_texts.py).

A token has the rights of the account that made it, or fewer: those that a role has, too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from xoproxy.auth import secret_texts
from xoproxy.auth.identity import token_credential
from xoproxy.auth.own_objects import Follower
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized

_KIND = "xop"
_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is kept of a token.

    Args:
        role: name of the role beyond whose permissions it does not go; "" for all that its
            account may.
    """

    id: str
    account_id: str
    name: str
    secret_digest: bytes = field(repr=False)
    created_at: datetime
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    role: str = ""

    def is_good(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class TokenStore(Protocol):
    """Where tokens last."""

    async def tokens(self) -> Sequence[ApiToken]:
        """Return those that are not revoked, oldest first."""
        ...

    async def add_token(self, token: ApiToken) -> None: ...

    async def revoke_token(self, token_id: str, at: datetime) -> None: ...

    async def note_token_uses(self, uses: Mapping[str, datetime]) -> None:
        """Keep when tokens were last used."""


class Tokens:
    """Issues, verifies and revokes API tokens.

    All that are good are held in memory (about 500 bytes each), so that a thousand clients which
    come at once cost no statement; `note_uses` writes when they were used.
    """

    def __init__(
        self,
        store: TokenStore,
        tokens: Iterable[ApiToken] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._now = now
        self._tokens = {token.id: token for token in tokens}
        self._uses: dict[str, datetime] = {}
        self._followers: list[Follower] = []

    def follow(self, follower: Follower) -> None:
        """Tell somebody all that are not revoked, and each change from now on."""
        self._followers.append(follower)
        follower.changed(self.list(), ())

    async def issue(
        self, account_id: str, name: str, lifetime: timedelta | None = None, role: str = ""
    ) -> tuple[ApiToken, str]:
        """Make a token.

        Args:
            account_id: whose rights it has.
            name: what it is for.
            lifetime: after which it expires; None: it does not.
            role: that bounds its rights; "" for no bound.

        Returns:
            What is kept, and the token itself, which nobody can read again.
        """
        made = secret_texts.make(_KIND)
        now = self._now()
        token = ApiToken(
            id=made.id,
            account_id=account_id,
            name=name,
            secret_digest=made.digest,
            created_at=now,
            expires_at=now + lifetime if lifetime else None,
            role=role,
        )
        await self._store.add_token(token)
        self._tokens[token.id] = token
        self._tell(token)
        return token, made.text

    def verify(self, text: str) -> ApiToken:
        """Return what is kept of the token that somebody presents.

        Raises:
            Unauthorized: it is none of ours, expired or revoked.
        """
        shown = secret_texts.read(_KIND, text)
        token = self._tokens.get(shown.id) if shown else None
        if shown is None or token is None or not shown.fits(token.secret_digest):
            raise Unauthorized("the API token is unknown")
        now = self._now()
        if token.revoked_at:
            raise Unauthorized("the API token was revoked; create another one")
        if token.expires_at and token.expires_at <= now:
            raise Unauthorized("the API token has expired; create another one")
        # to the minute is enough for "is it still in use?"
        if token.last_used_at is None or now - token.last_used_at >= _USE_NOTED_EVERY:
            self._tokens[token.id] = replace(token, last_used_at=now)
            self._uses[token.id] = now
        return token

    def get(self, token_id: str) -> ApiToken | None:
        """Return a token that is good; None if there is none."""
        token = self._tokens.get(token_id)
        return token if token is not None and token.is_good(self._now()) else None

    def list(self) -> Sequence[ApiToken]:
        """Return those that are not revoked, oldest first."""
        return [token for token in self._tokens.values() if token.revoked_at is None]

    async def note_uses(self) -> None:
        """Write down which tokens were used since the last time."""
        if self._uses:
            uses, self._uses = self._uses, {}
            self._tell(*(token for id_ in uses if (token := self.get(id_))))
            await self._store.note_token_uses(uses)

    async def revoke(self, token_id: str) -> str:
        """Revoke a token for ever.

        Returns:
            The credential (see `Identity.credential`) whose connections have to end now.

        Raises:
            RequestRefused: NOT_FOUND.
        """
        token = self._tokens.get(token_id)
        if token is None or token.revoked_at is not None:
            raise RequestRefused(ErrorCode.NOT_FOUND, f"there is no API token {token_id!r}")
        now = self._now()
        await self._store.revoke_token(token_id, now)
        self._tokens[token_id] = replace(self._tokens[token_id], revoked_at=now)
        self._tell(removed=[token])
        return token_credential(token_id)

    def forget(self, account_id: str) -> None:
        """Drop the tokens of an account that was removed."""
        dropped = [t for t in self._tokens.values() if t.account_id == account_id]
        for token in dropped:
            del self._tokens[token.id]
        self._tell(removed=dropped)

    def _tell(self, *put: ApiToken, removed: Iterable[ApiToken] = ()) -> None:
        for follower in self._followers:
            follower.changed(put, removed)
