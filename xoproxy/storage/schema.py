"""The tables. A change here needs a migration in migrations/versions; a test compares the two."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; aware in Python, also where the database forgets time zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - the signature is SQLAlchemy's
    ) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        if value is None or value.tzinfo:
            return value
        return value.replace(tzinfo=UTC)


metadata = MetaData(
    # named, so that migrations can drop them on every database
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("role", String(255), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("must_change", Boolean, nullable=False, server_default=false()),
    Column("generation", Integer, nullable=False, server_default="0"),
)

groups = Table(
    "groups",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
)

group_accounts = Table(
    "group_accounts",
    metadata,
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
)

group_groups = Table(
    "group_groups",
    metadata,
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    Column("inner_id", ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
)

roles = Table(
    "roles",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("permissions", Text, nullable=False),  # separated by spaces
)

grants = Table(
    "grants",
    metadata,
    Column("id", String(16), primary_key=True),
    # to an account or to a group: one of the two
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), index=True),
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), index=True),
    Column("role", String(255), nullable=False),  # built in, or of `roles`
    Column("kind", String(16), nullable=False),  # of the scope: auth.grants.Kind
    # no foreign key: who removes a pool and adds it again has another one
    Column("pool_id", String(16)),
    Column("value", Text, nullable=False),
    Column("deny", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column(
        "account_id",
        ForeignKey("accounts.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("name", String(100), nullable=False),
    Column("secret_digest", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("role", String(255), nullable=False, server_default=""),  # that bounds it
)

browser_sessions = Table(
    "browser_sessions",
    metadata,
    Column("id", String(16), primary_key=True),
    Column(
        "account_id",
        ForeignKey("accounts.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("secret_digest", LargeBinary, nullable=False),
    Column("token_id", String(16), nullable=False),  # that opened it; "" for a password
    Column("generation", Integer, nullable=False),  # of the account, when it began
    Column("address", String(64), nullable=False),
    Column("user_agent", String(255), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime, nullable=False),
)

# What guessing has come to, by digests of addresses and names: auth/throttle.py.
sign_ins = Table(
    "sign_ins",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("digest", LargeBinary(32), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

pools = Table(
    "pools",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("url", Text, nullable=False),
    Column("username", String(255), nullable=False),
    Column("password", LargeBinary, nullable=False),  # sealed by the keyring
    Column("enabled", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("uuid", String(64), nullable=False, server_default=""),  # XAPI's; "" until it is known
)

pool_certificates = Table(
    "pool_certificates",
    metadata,
    Column("pool_id", ForeignKey("pools.id", ondelete="CASCADE"), primary_key=True),
    Column("host", String(255), primary_key=True),  # address, as in URLs without brackets
    Column("fingerprint", String(64), nullable=False),  # SHA-256 of the accepted one
    Column("accepted_at", UtcDateTime, nullable=False),
)

sealed_secrets = Table(
    "sealed_secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),  # sealed by the keyring
    Column("created_at", UtcDateTime, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("content", Text, nullable=False),  # JSON, exactly as it was hashed
    Column("hash", LargeBinary, nullable=False),
)

audit_ends = Table(
    "audit_ends",
    metadata,
    Column("name", String(16), primary_key=True),  # auth.audit.Ends
    Column("number", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("seal", LargeBinary, nullable=False),
)
