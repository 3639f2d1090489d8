"""API tokens: `xop_<id>_<secret>`, shown once, stored as a digest of the secret.

The secret has 260 random bits, so a plain SHA-256 is enough (nothing to guess, hence nothing to
slow down), and a stolen database opens nothing. The id finds the row and may be shown; the fixed
shape lets secret scanners find tokens in places where they must not be.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from xoproxy.auth.identity import token_credential
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized

_SHAPE = re.compile(r"xop_([a-z2-7]{10})_([a-z2-7]{52})")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 10
_SECRET_LENGTH = 52  # 260 bits
_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is kept of a token."""

    id: str
    account_id: str
    name: str
    secret_digest: bytes = field(repr=False)
    created_at: datetime
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


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

    async def issue(
        self, account_id: str, name: str, lifetime: timedelta | None = None
    ) -> tuple[ApiToken, str]:
        """Make a token.

        Returns:
            What is kept, and the token itself, which nobody can read again.
        """
        secret = _random(_SECRET_LENGTH)
        now = self._now()
        token = ApiToken(
            id=_random(_ID_LENGTH),
            account_id=account_id,
            name=name,
            secret_digest=_digest(secret),
            created_at=now,
            expires_at=now + lifetime if lifetime else None,
        )
        await self._store.add_token(token)
        self._tokens[token.id] = token
        return token, f"xop_{token.id}_{secret}"

    def verify(self, text: str) -> ApiToken:
        """Return what is kept of the token that somebody presents.

        Raises:
            Unauthorized: it is none of ours, expired or revoked.
        """
        shape = _SHAPE.fullmatch(text)
        token = self._tokens.get(shape[1]) if shape else None
        if shape is None or token is None:
            raise Unauthorized("the API token is unknown")
        if not hmac.compare_digest(token.secret_digest, _digest(shape[2])):
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

    def list(self) -> Sequence[ApiToken]:
        """Return those that are not revoked, oldest first."""
        return [token for token in self._tokens.values() if token.revoked_at is None]

    async def note_uses(self) -> None:
        """Write down which tokens were used since the last time."""
        if self._uses:
            uses, self._uses = self._uses, {}
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
        return token_credential(token_id)

    def forget(self, account_id: str) -> None:
        """Drop the tokens of an account that was removed."""
        for token in [t for t in self._tokens.values() if t.account_id == account_id]:
            del self._tokens[token.id]


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
