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
        role: that he has on everything; "" for none. What he may is what `Directory.rights` says.
        credential: what he proved it with, "token:<id>" or "password:<account id>"; when that is
            revoked, what was opened with it ends.
        expires_at_s: when the credential ends by itself, in seconds since 1970; None: never.
    """

    account_id: str
    name: str
    role: str
    credential: str
    expires_at_s: float | None = None


def token_credential(token_id: str) -> str:
    """Return what `Identity.credential` says for an API token."""
    return f"token:{token_id}"


def password_credential(account_id: str) -> str:
    """Return what `Identity.credential` says for an account's password."""
    return f"password:{account_id}"
