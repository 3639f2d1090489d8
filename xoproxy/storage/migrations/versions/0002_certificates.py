# ruff: noqa: INP001 - Alembic runs this file by its path
"""Certificates accepted per host of a pool, and which XAPI pool a configured one is.

`pools.fingerprint` goes: nothing ever wrote it, and a pool has as many certificates as hosts.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("pools") as pools:
        pools.drop_column("fingerprint")
        pools.add_column(sa.Column("uuid", sa.String(64), nullable=False, server_default=""))
    op.create_table(
        "pool_certificates",
        sa.Column("pool_id", sa.String(16), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "host", name="pk_pool_certificates"),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["pools.id"], name="fk_pool_certificates_pool_id", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("pool_certificates")
    with op.batch_alter_table("pools") as pools:
        pools.drop_column("uuid")
        pools.add_column(sa.Column("fingerprint", sa.String(128)))
