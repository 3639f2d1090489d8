"""Who is shown which of the proxy's own objects, against what plain Python says of it."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from xoproxy.app.own_records import ref_of, upsert
from xoproxy.auth import Account, ApiToken, Contents, Directory, Group, KeptGrant, Kind, Role, Scope
from xoproxy.cache.derivation import with_anchors
from xoproxy.cache.diff import split
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.schema import SCHEMA
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.cache.terms import ANY, values_of
from xoproxy.cache.view import Eyes, View
from xoproxy.model import PROXY_POOL, PoolId, Ref, Upsert, XapiClass
from xoproxy.storage import PoolConfig

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ACCOUNTS, GROUPS, POOLS = ("a1", "a2", "a3"), ("g1", "g2"), ("p1", "p2", "p3")
ROLES = ("viewer", "operator", "administrator", "blind")
BLIND = Role("blind", frozenset({"vm.power"}))

scopes = st.one_of(
    st.just(Scope(Kind.EVERYTHING)),
    st.sampled_from(POOLS).map(lambda p: Scope(Kind.POOL, PoolId(p))),
    st.sampled_from(POOLS).map(lambda p: Scope(Kind.OBJECT, PoolId(p), "some-uuid")),
    st.just(Scope(Kind.TAG, value="prod")),
)


@st.composite
def grants(draw, number: int) -> KeptGrant:
    to = draw(st.sampled_from(ACCOUNTS + GROUPS))
    return KeptGrant(
        f"r{number}",
        to if to in ACCOUNTS else "",
        to if to in GROUPS else "",
        draw(st.sampled_from(ROLES)),
        draw(scopes),
        draw(st.booleans()),
        NOW,
    )


@st.composite
def contents(draw) -> Contents:
    people = st.sets(st.sampled_from(ACCOUNTS)).map(frozenset)
    inner = draw(st.sampled_from([frozenset[str](), frozenset({"g2"})]))
    count = draw(st.integers(0, 5))
    return Contents(
        tuple(
            Account(a, f"name-{a}", draw(st.sampled_from(("", *ROLES))), "$h", True, NOW)
            for a in ACCOUNTS
        ),
        (
            Group("g1", "one", NOW, draw(people), inner),
            Group("g2", "two", NOW, draw(people)),
        ),
        (BLIND,),
        tuple(draw(grants(number)) for number in range(count)),
    )


def in_groups(held: Contents, account: str) -> set[str]:
    one, two = held.groups
    found = {group.id for group in (one, two) if account in group.members}
    return found | ({"g1"} if "g2" in found and "g2" in one.groups else set())


def links(mine: Iterable[tuple[str, Scope, bool]]) -> set[str]:
    """Say it anew: a pool is there for who may see something in it, and is not denied all of it."""
    found = set()
    looking = [(scope, deny) for role, scope, deny in mine if role != "blind"]
    for pool in POOLS:
        here = [(s, deny) for s, deny in looking if s.pool in (None, pool)]
        whole = any(deny and s.kind in (Kind.EVERYTHING, Kind.POOL) for s, deny in here)
        if any(not deny for _, deny in here) and not whole:
            found.add(pool)
    return found


def expected(held: Contents, account: Account) -> set[Ref] | None:
    """Name what somebody is shown; None for everything."""
    groups = in_groups(held, account.id)
    granted = [g for g in held.grants if g.account_id == account.id or g.group_id in groups]
    mine = [(g.role, g.scope, g.deny) for g in granted]
    if account.role:
        mine.append((account.role, Scope(Kind.EVERYTHING), False))
    all_of_it = ("administrator", Scope(Kind.EVERYTHING), False)
    if all_of_it in mine and not any(deny for _, _, deny in mine):
        return None
    return {
        ref_of(account),
        *(ref_of(group) for group in held.groups if group.id in groups),
        *(ref_of(grant) for grant in granted),
        *(Ref(f"OpaqueRef:pool-link-{pool}") for pool in links(mine)),
    }


def published(directory: Directory) -> Store:
    store = Store(PROXY_POOL, "epoch", JournalBudget(1 << 20, 1 << 20, 60))
    store.classes = SCHEMA.proxy_classes
    items: list[object] = []
    directory_parts = (directory.accounts, directory.groups, directory.roles, directory.grants)
    for part in directory_parts:
        items += part.values()
    items += [ApiToken(f"t{a}", a, "cli", b"digest", NOW) for a in ACCOUNTS]
    items += [PoolConfig(PoolId(p), p, "https://x", "u", "p", True, NOW, "", {}) for p in POOLS]
    events = [upsert(item) for item in items]
    for pool in POOLS:
        raw = json.dumps({"pool": pool, "name": "n"}).encode()
        events.append(Upsert(XapiClass("pool_link"), Ref(f"OpaqueRef:pool-link-{pool}"), raw))
    prepared = store.prepare(events)
    while prepared.step():
        pass
    store.commit(prepared, at_s=0.0)
    return store


@given(contents())
def test_everybody_is_shown_his_own_and_nothing_else(held):
    directory = Directory(held)
    state = State(store := published(directory), store.seq)
    everything = [entry for cls in store.classes for entry in store.entries(cls)]
    for account in held.accounts:
        rights = directory.rights(account.id).visibility(PROXY_POOL)
        assert rights is not None
        eyes = Eyes(View(tuple(sorted(store.classes)), None, (), rights), state)
        shown = [entry for entry in everything if eyes.look(entry) is not None]
        wanted = expected(held, account)
        assert {e.ref for e in shown} == ({e.ref for e in everything} if wanted is None else wanted)
        if wanted is None:
            continue
        told = b"".join(bytes(raw) for e in shown for raw in (eyes.look(e) or {}).values())
        for entry in everything:
            if entry.ref not in wanted:
                assert entry.ref.encode() not in told  # not by a reference either
        conditions = rights.conditions
        assert conditions is not None
        for entry in shown:  # or the index would not find it
            fields = split(entry.raw)
            assert [*with_anchors(state, entry.ref)] == [entry]
            assert entry.cls in conditions.classes or any(
                term.cls in (entry.cls, ANY)
                and term.field in fields
                and term.value in values_of(fields[term.field])
                for term in conditions.terms
            )


@given(contents(), contents())
def test_equal_rights_are_equal_and_others_are_not(one, other):
    for account in ACCOUNTS:
        mine = Directory(one).rights(account).visibility(PROXY_POOL)
        again = Directory(one).rights(account).visibility(PROXY_POOL)
        changed = Directory(other).rights(account).visibility(PROXY_POOL)
        assert mine is not None
        assert again is not None
        assert changed is not None
        assert (mine, mine.scope, hash(mine)) == (again, again.scope, hash(again))
        assert (mine == changed) == (mine.scope == changed.scope)


def test_who_is_disabled_or_gone_is_shown_nothing():
    gone = Directory(Contents((Account("a1", "a", "administrator", "$h", False, NOW),)))

    assert gone.rights("a1").visibility(PROXY_POOL) is None
    assert gone.rights("nobody").visibility(PROXY_POOL) is None


@given(contents())
def test_views_of_links_look_the_same_and_are_shared_by_who_sees_the_same(held):
    directory = Directory(held)
    state = State(store := published(directory), store.seq)
    classes = (XapiClass("pool_link"),)
    narrowed = []
    for account in held.accounts:
        rights = directory.rights(account.id).visibility(PROXY_POOL)
        assert rights is not None
        looks = [
            [Eyes(View(classes, None, (), r), state).look(e) for e in store.entries(classes[0])]
            for r in (rights, rights.among(classes))
        ]
        assert looks[0] == looks[1]
        if not rights.everything:
            narrowed.append((expected_links(held, account), rights.among(classes)))
        assert rights.among((*classes, XapiClass("user"))) == rights
    for links_seen, sight in narrowed:
        for others_seen, other in narrowed:
            if sight == other:
                assert links_seen == others_seen


def expected_links(held: Contents, account: Account) -> set[Ref]:
    return {ref for ref in expected(held, account) or () if ref.startswith("OpaqueRef:pool-link")}
