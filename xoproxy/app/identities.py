"""Who signs in, as sessions see him: an identity with its rights."""

from dataclasses import dataclass

from xoproxy.auth import Accounts, Identity
from xoproxy.cache.view import Everything, Visibility
from xoproxy.model import PoolId

_EVERYTHING = Everything()


@dataclass(frozen=True, slots=True)
class Principal:
    """An identity as sessions see it: with its rights."""

    identity: Identity

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def role(self) -> str:
        return self.identity.role

    @property
    def credential(self) -> str:
        return self.identity.credential

    @property
    def expires_at_s(self) -> float | None:
        return self.identity.expires_at_s

    @property
    def may_call(self) -> bool:
        return self.identity.is_administrator

    def visibility(self, pool: PoolId) -> Visibility | None:  # noqa: ARG002 - all alike, so far
        return _EVERYTHING if self.identity.is_administrator else None


class Authenticator:
    """Signs WebSocket clients in (fits `ws.endpoint.Authenticator`)."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def by_password(
        self,
        username: str,
        password: str,
        otp: str | None,  # noqa: ARG002 - no account has a second factor yet
        remote: str,
    ) -> Principal:
        return Principal(await self._accounts.login_password(username, password, remote))

    async def by_token(self, token: str) -> Principal:
        return Principal(await self._accounts.login_token(token))
