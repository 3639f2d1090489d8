"""Who signs in, as sessions see him: an identity with its rights."""

from dataclasses import dataclass

from xoproxy.auth import Accounts, Directory, Identity, Rights
from xoproxy.cache.view import Visibility
from xoproxy.errors import Unauthorized
from xoproxy.model import PoolId


@dataclass(frozen=True, slots=True)
class Principal:
    """An identity as sessions see it: with the rights that it has at the moment.

    Args:
        identity: who he is.
        directory: knows his rights.
        peer: the address that he came from.
    """

    identity: Identity
    directory: Directory
    peer: str = ""

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def account_id(self) -> str:
        return self.identity.account_id

    @property
    def role(self) -> str:
        return self.identity.role

    @property
    def credential(self) -> str:
        return self.identity.credential

    def depends_on(self, credential: str) -> bool:
        return self.identity.depends_on(credential)

    @property
    def expires_at_s(self) -> float | None:
        return self.identity.expires_at_s

    @property
    def rights(self) -> Rights:
        return self.directory.rights_of(self.identity)

    def visibility(self, pool: PoolId) -> Visibility | None:
        return self.rights.visibility(pool)


class Authenticator:
    """Signs WebSocket clients in (fits `ws.connection.Authenticator`)."""

    def __init__(self, accounts: Accounts, directory: Directory) -> None:
        self._accounts = accounts
        self._directory = directory

    async def by_password(
        self,
        username: str,
        password: str,
        otp: str | None,  # noqa: ARG002 - no account has a second factor yet
        remote: str,
    ) -> Principal:
        identity = await self._accounts.login_password(username, password, remote)
        return self._principal(identity, remote)

    async def by_token(self, token: str, remote: str) -> Principal:
        return self._principal(self._accounts.login_token(token), remote)

    async def by_cookie(self, secret: str, remote: str) -> Principal:
        return self._principal(self._accounts.login_session(secret), remote)

    def _principal(self, identity: Identity, remote: str) -> Principal:
        if self._directory.must_change(identity):
            text = "choose another password first (PUT /api/v1/me/password), then sign in with it"
            raise Unauthorized(text)
        return Principal(identity, self._directory, remote)
