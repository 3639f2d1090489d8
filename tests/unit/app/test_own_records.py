"""What the proxy owns, as objects: complete, kept true, and without anything secret."""

import json
from datetime import UTC, datetime

from xoproxy.app.events import OwnObjects
from xoproxy.app.own_records import ref_of, upsert
from xoproxy.auth import (
    Account,
    ApiToken,
    Contents,
    Directory,
    Group,
    KeptGrant,
    Kind,
    Role,
    Scope,
    Tokens,
)
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.schema import SCHEMA
from xoproxy.model import PROXY_POOL, PoolId, XapiClass
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.storage import PoolConfig
from xoproxy.ws.frames import SharedFraming

TOKEN_CLASS = XapiClass("api_token")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SECRET = "never-to-be-told"
BOB = Account("b1", "bob", "", f"$argon2id${SECRET}", True, NOW)
STAFF = Group("g1", "staff", NOW, frozenset({"b1"}), frozenset({"g2"}))
INNER = Group("g2", "inner", NOW)
GRANT = KeptGrant("r1", "b1", "", "viewer", Scope(Kind.POOL, PoolId("p1")), False, NOW)
TAGGED = KeptGrant("r2", "", "g1", "night", Scope(Kind.TAG, value="prod"), True, NOW)
NIGHT = Role("night", frozenset({"vm.power", "view"}))
TOKEN = ApiToken("t1", "b1", "cli", SECRET.encode(), NOW, expires_at=NOW)
POOL = PoolConfig(
    PoolId("p1"), "lab", "https://lab", SECRET, SECRET, True, NOW, "u1", {"lab": SECRET}
)
ALL = (BOB, STAFF, INNER, NIGHT, GRANT, TAGGED, TOKEN, POOL)


def record(item):
    return json.loads(bytes(upsert(item).raw))


def test_each_has_the_fields_that_the_schema_says():
    for item in ALL:
        assert record(item).keys() == SCHEMA.fields(upsert(item).cls).keys(), item


def test_nothing_secret_is_in_a_record():
    for item in ALL:
        assert SECRET.encode() not in bytes(upsert(item).raw)


def test_references_name_the_objects():
    assert record(STAFF)["users"] == [ref_of(BOB)]
    assert record(STAFF)["groups"] == [ref_of(INNER)]
    assert record(GRANT) | {"user": ref_of(BOB), "group": "OpaqueRef:NULL"} == record(GRANT)
    assert record(TAGGED)["group"] == ref_of(STAFF)
    assert record(TOKEN)["user"] == ref_of(BOB)
    assert record(POOL)["link"] == "OpaqueRef:pool-link-p1"


def test_words_for_people():
    assert record(BOB)["role"] == "none"
    assert record(BOB)["created_at"] == "20260102T03:04:05Z"
    grant = record(TAGGED)
    assert (grant["scope"], grant["pool"], grant["value"]) == ("tag", "", "prod")
    assert (record(GRANT)["scope"], record(GRANT)["pool"]) == ("pool", "p1")


def test_a_roles_name_may_be_any_text():
    odd = Role("ad hoc/*é", frozenset({"view"}))

    assert ref_of(odd).isascii()
    assert ref_of(odd) != ref_of(NIGHT)


def test_what_is_published_follows_the_directory():
    hub = Hub(SharedFraming(1_000), TokenSigner(b"k" * 32), lambda: None)
    own = OwnObjects(hub, JournalBudget(1 << 20, 1 << 20, 60))
    directory = Directory(Contents((BOB,), (STAFF, INNER), (NIGHT,), (GRANT, TAGGED)))
    directory.follow(own)

    def shown():
        store = hub.pools[PROXY_POOL]
        found = {entry.ref: entry for cls in store.classes for entry in store.entries(cls)}
        built_in = {ref_of(role) for role in directory.roles.values() if role.built_in}
        assert built_in <= found.keys()
        return {ref: json.loads(e.raw) for ref, e in found.items() if ref not in built_in}

    def expected(*items):
        return {ref_of(item): record(item) for item in items}

    assert shown() == expected(BOB, STAFF, INNER, NIGHT, GRANT, TAGGED)
    directory.remove_group("g2")
    alone = Group("g1", "staff", NOW, frozenset({"b1"}))
    assert shown() == expected(BOB, alone, NIGHT, GRANT, TAGGED)
    directory.remove_account("b1")
    assert shown() == expected(Group("g1", "staff", NOW), NIGHT, TAGGED)
    directory.remove_grant("r2")
    directory.remove_role("night")
    directory.put_account(BOB)
    directory.put_grant(GRANT)
    assert shown() == expected(BOB, Group("g1", "staff", NOW), GRANT)


class Kept:
    """Keeps nothing (fits `auth.TokenStore`)."""

    async def add_token(self, token):
        pass

    async def revoke_token(self, token_id, at):
        pass

    async def note_token_uses(self, uses):
        pass


async def test_what_is_published_follows_the_tokens():
    hub = Hub(SharedFraming(1_000), TokenSigner(b"k" * 32), lambda: None)
    own = OwnObjects(hub, JournalBudget(1 << 20, 1 << 20, 60))
    tokens = Tokens(Kept(), [TOKEN], lambda: NOW)  # type: ignore[arg-type]
    tokens.follow(own)

    def shown():
        entries = hub.pools[PROXY_POOL].entries(TOKEN_CLASS)
        return {record["id"]: record["last_used_at"] for record in map(_read, entries)}

    assert shown() == {"t1": None}
    made, text = await tokens.issue("b1", "another")
    assert shown() == {"t1": None, made.id: None}
    assert not any(text[4:] in str(_read(e)) for e in hub.pools[PROXY_POOL].entries(TOKEN_CLASS))
    tokens.verify(text)
    await tokens.note_uses()
    assert shown() == {"t1": None, made.id: "20260102T03:04:05Z"}
    await tokens.revoke(made.id)
    assert shown() == {"t1": None}
    tokens.forget("b1")
    assert shown() == {}


def _read(entry):
    return json.loads(entry.raw)
