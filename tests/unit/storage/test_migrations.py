"""Migrations up and down, on both databases, with rows that must not get lost on the way."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from tests.unit.storage.places import NOW, account, changed, migrated
from xoproxy.auth import ApiToken, Group, KeptGrant
from xoproxy.auth.grants import EVERYTHING
from xoproxy.storage.database import _MIGRATIONS, migrate, revisions
from xoproxy.storage.schema import metadata

OLDER = revisions()[:-1]


async def test_tables_match_the_schema_after_up_down_and_up_again(place):
    def differences(connection: Connection):
        migrate(connection)
        migrate(connection, "base")
        assert set(connection.dialect.get_table_names(connection)) == {"alembic_version"}
        migrate(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, metadata)

    assert await changed(place, differences) == []


@pytest.mark.parametrize("revision", OLDER)
async def test_rows_of_an_older_revision_are_there_after_the_way_up(place, revision):
    await migrated(place, revision)
    place.query(
        "insert into accounts (id, name, role, password_hash, enabled, created_at)"
        " values ('a1', 'admin', 'administrator', '$h', true, '2026-01-02 03:04:05')"
    )
    place.query(
        "insert into api_tokens (id, account_id, name, secret_digest, created_at)"
        " values ('t1', 'a1', 'script', '\\x64', '2026-01-02 03:04:05')"
    )
    place.query(
        "insert into pools (id, name, url, username, password, enabled, created_at)"
        " values ('p1', 'Paris', 'https://p', 'root', '\\x64', true, '2026-01-02 03:04:05')"
    )
    await migrated(place, "head")
    assert place.query("select id, name, role from accounts") == ["a1|admin|administrator"]
    assert place.query("select id, account_id, name from api_tokens") == ["t1|a1|script"]
    assert place.query("select id, name, uuid from pools") == ["p1|Paris|"]


async def _filled(place):
    """Make one of everything that 0003 knows."""
    async with place.open() as storage:
        for name, account_id, role in (
            ("admin", "a1", "administrator"),
            ("bob", "a2", "viewer"),
            ("cut", "a3", "administrator"),
            ("deb", "a4", "administrator"),
        ):
            await storage.directory.put_account(account(name, account_id, role))
        for account_id in ("a1", "a2"):
            token = ApiToken(f"t{account_id}", account_id, "script", b"d", NOW)
            await storage.tokens.add_token(token)
        group = Group("g1", "staff", NOW, frozenset({"a3", "a2"}))
        await storage.directory.put_group(group)
        for grant in (
            KeptGrant("r1", "a2", "", "operator", EVERYTHING, deny=False, created_at=NOW),
            KeptGrant("r2", "", "g1", "viewer", EVERYTHING, deny=True, created_at=NOW),
            KeptGrant("r3", "a4", "", "viewer", EVERYTHING, deny=True, created_at=NOW),
        ):
            await storage.directory.add_grant(grant)
        await storage.pools.add("Paris", "https://p", "root", "hunter2", pins={"p": "F"})


@pytest.mark.parametrize("revision", OLDER)
async def test_what_an_older_revision_knows_is_there_after_the_way_down_and_up(place, revision):
    await _filled(place)
    await migrated(place, revision)
    assert place.query("select count(*) from accounts") == ["4"]
    assert place.query("select id from api_tokens order by id") == ["ta1", "ta2"]
    assert place.query("select name from pools") == ["Paris"]
    if revision >= "0002":
        assert place.query("select host, fingerprint from pool_certificates") == ["p|F"]
    if revision >= "0003":
        assert place.query("select id from grants order by id") == ["r1", "r2", "r3"]
        members = place.query("select account_id from group_accounts order by account_id")
        assert members == ["a2", "a3"]
    async with place.open() as storage:
        assert [pool.password for pool in await storage.pools.list()] == ["hunter2"]
        assert len(await storage.tokens.tokens()) == 2
        assert len((await storage.directory.contents()).accounts) == 4


async def test_who_is_less_than_an_administrator_does_not_sign_in_at_an_older_version(place):
    """There, everybody who has an account sees everything."""
    await _filled(place)
    await migrated(place, "0002")
    enabled = place.query("select name from accounts where enabled order by name")
    assert enabled == ["admin"]


def test_the_highest_numbered_migration_is_the_last_one():
    """A database at that number is not looked at any further, so the numbers must be right."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == revisions()[-1]
