"""Who is behind a connection or a request; imports nothing, so that the core may know it."""

from dataclasses import dataclass

ADMINISTRATOR = "administrator"
"""The role that may do everything."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who has proved who he is.

    Args:
        account_id: of his account.
        name: his user name.
        role: that he has on everything; "" for none. What he may is what `Directory.rights_of`
            says.
        credential: what he proved it with, "token:<id>", "password:<account id>" or
            "session:<id>"; when that is revoked, what was opened with it ends.
        expires_at_s: when the credential ends by itself, in seconds since 1970; None: never.
        within: name of the role beyond whose permissions this credential does not go, whatever
            the account may; "" for no such bound.
        origin: of a browser session, the credential that it was opened with: it ends with it.
    """

    account_id: str
    name: str
    role: str
    credential: str
    expires_at_s: float | None = None
    within: str = ""
    origin: str = ""

    @property
    def by_password(self) -> bool:
        """Whether a password opened this, not a token."""
        return password_credential(self.account_id) in (self.credential, self.origin)

    def depends_on(self, credential: str) -> bool:
        """Tell whether this ends when a credential does."""
        return credential in (self.credential, self.origin)


def token_credential(token_id: str) -> str:
    """Return what `Identity.credential` says for an API token."""
    return f"token:{token_id}"


def password_credential(account_id: str) -> str:
    """Return what `Identity.credential` says for an account's password."""
    return f"password:{account_id}"


def session_credential(session_id: str) -> str:
    """Return what `Identity.credential` says for a browser session."""
    return f"session:{session_id}"
