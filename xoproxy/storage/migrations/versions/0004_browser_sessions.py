# ruff: noqa: INP001 - Alembic runs this file by its path
"""Browser sessions, failed sign-ins that outlive a restart, bounded tokens, forced new passwords.

Columns are added in place: to make `accounts` anew would drop the old one, and with it, by cascade,
everything that belongs to an account.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column(
        "accounts",
        sa.Column("must_change", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column(
        "accounts", sa.Column("generation", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column(
        "api_tokens", sa.Column("role", sa.String(255), nullable=False, server_default="")
    )
    op.create_table(
        "browser_sessions",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("account_id", sa.String(16), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=False),
        sa.Column("token_id", sa.String(16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("user_agent", sa.String(255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_browser_sessions"),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name="fk_browser_sessions_account_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_browser_sessions_account_id", "browser_sessions", ["account_id"])
    op.create_table(
        "sign_ins",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "digest", name="pk_sign_ins"),
    )


def downgrade() -> None:
    op.drop_table("sign_ins")
    op.drop_table("browser_sessions")
    op.drop_column("api_tokens", "role")
    op.drop_column("accounts", "generation")
    op.drop_column("accounts", "must_change")
