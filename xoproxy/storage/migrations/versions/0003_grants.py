# ruff: noqa: INP001 - Alembic runs this file by its path
"""Groups, roles of one's own, and grants."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # as long as the names of roles may be
    with op.batch_alter_table("accounts") as accounts:
        accounts.alter_column("role", type_=sa.String(255), existing_type=sa.String(64))
    op.create_table(
        "groups",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
        sa.UniqueConstraint("name", name="uq_groups_name"),
    )
    op.create_table(
        "group_accounts",
        sa.Column("group_id", sa.String(16), nullable=False),
        sa.Column("account_id", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "account_id", name="pk_group_accounts"),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name="fk_group_accounts_group_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_group_accounts_account_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "group_groups",
        sa.Column("group_id", sa.String(16), nullable=False),
        sa.Column("inner_id", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "inner_id", name="pk_group_groups"),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name="fk_group_groups_group_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["inner_id"], ["groups.id"], name="fk_group_groups_inner_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "roles",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_roles"),
    )
    op.create_table(
        "grants",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("account_id", sa.String(16)),
        sa.Column("group_id", sa.String(16)),
        sa.Column("role", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("pool_id", sa.String(16)),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("deny", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_grants_account_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name="fk_grants_group_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_grants_account_id", "grants", ["account_id"])
    op.create_index("ix_grants_group_id", "grants", ["group_id"])


def downgrade() -> None:
    # For the older version everybody is an administrator who sees everything: whoever is less than
    # that, or may be, must not sign in there.
    op.execute(
        """
        UPDATE accounts SET enabled = false WHERE role <> 'administrator'
        OR id IN (SELECT account_id FROM grants WHERE deny AND account_id IS NOT NULL)
        OR id IN (SELECT account_id FROM group_accounts WHERE EXISTS
            (SELECT 1 FROM grants WHERE deny AND group_id IS NOT NULL))
        """
    )
    for table in ("grants", "roles", "group_groups", "group_accounts", "groups"):
        op.drop_table(table)
    op.execute("UPDATE accounts SET role = substr(role, 1, 64)")
    with op.batch_alter_table("accounts") as accounts:
        accounts.alter_column("role", type_=sa.String(64), existing_type=sa.String(255))
