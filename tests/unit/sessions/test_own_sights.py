"""Views of the proxy's own objects: who shares one, and what a change of rights does to it."""

from tests.unit.sessions.wire import Desk, Person, upsert
from xoproxy.auth.own_objects import GRANT, POOL_LINK, USER, Belongings, OwnSight, Pools
from xoproxy.model import PoolId

LAB, HOME = PoolId("lab"), PoolId("home")
LINKS = {"classes": ["pool_link"], "pools": ["proxy"]}
BOTH, ONE = Pools(all_but=True), Pools(frozenset({LAB}))


def sight(account="a1", links=BOTH, **more):
    return OwnSight(Belongings(account, **more), links)


def desk():
    made = Desk()
    store = made.add_pool("proxy", classes=(POOL_LINK, USER, GRANT))
    made.commit(
        upsert("l1", POOL_LINK, pool="lab", state="live"),
        upsert("l2", POOL_LINK, pool="home", state="live"),
        upsert("u1", USER, id="a1", role="bob"),
        upsert("u2", USER, id="a2", role="eve"),
        store=store,
    )
    return made, store


def test_a_thousand_people_who_see_the_same_links_are_one_view():
    made, store = desk()
    clients = [made.connect(Person(sight(f"a{n}"))) for n in range(1_000)]
    for client in clients:
        client.subscribes(1, LINKS)
    made.flush()
    assert made.hub.counters.groups_created == 1

    for client in clients:
        client.hears()
    made.commit(upsert("l1", POOL_LINK, pool="lab", state="stale"), store=store)
    made.flush()
    patches = [client.hears_of("patch") for client in clients]
    assert patches[0]
    assert all(patch == patches[0] for patch in patches)


def test_a_grant_that_alters_no_link_moves_nobody_who_watches_links():
    made, _ = desk()
    person = Person(sight())
    client = made.connect(person)
    client.subscribes(1, LINKS)
    made.flush()
    client.hears()

    person.rights = sight(grants=frozenset({"r1"}))
    client.session.rights_changed()
    made.flush()
    assert client.hears_of("moved", "patch") == []


def test_a_grant_that_is_taken_back_takes_the_links_away_at_once():
    made, store = desk()
    person = Person(sight())
    client = made.connect(person)
    client.subscribes(1, LINKS)
    made.flush()
    client.hears()

    person.rights = sight(links=ONE)
    client.session.rights_changed()
    made.commit(upsert("l2", POOL_LINK, pool="home", state="stale"), store=store)
    made.flush()
    (patch, *others) = client.hears_of("patch")
    assert [op["op"] for op in patch["ops"]] == ["remove"]
    assert not others


def test_others_are_never_told_of_somebody():
    made, store = desk()
    client = made.connect(Person(sight("a1")))
    client.subscribes(1, {"classes": ["user", "grant"], "pools": ["proxy"]})
    made.flush()
    client.hears()

    made.commit(
        upsert("u2", USER, id="a2", role="renamed"),
        upsert("r1", GRANT, id="r1", user="OpaqueRef:u2"),
        store=store,
    )
    made.flush()
    assert client.hears_of("patch") == []
    made.commit(upsert("u1", USER, id="a1", role="robert"), store=store)
    made.flush()
    (patch,) = client.hears_of("patch")
    assert [(op["op"], op["value"]) for op in patch["ops"]] == [("replace", "robert")]
