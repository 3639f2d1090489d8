# ruff: noqa: INP001 - Alembic runs this file by its path
"""Run by Alembic; the connection, and its transaction, come from `database.migrate`."""

from alembic import context

from xoproxy.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can roll back changes of tables, and alters them by copying
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
