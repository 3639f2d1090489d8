"""What is somebody's own among the proxy's objects; who sees what is in tests/properties."""

from xoproxy.auth.own_objects import POOL_LINK, USER, Belongings, OwnSight, Pools, own_ref
from xoproxy.cache.terms import Equals
from xoproxy.model import PoolId

LAB, HOME = PoolId("lab"), PoolId("home")
BOB = Belongings("a1", frozenset({"g1"}), frozenset({"r1"}))
EVE = Belongings("a2")


def test_pools_may_be_named_or_be_all_but_some():
    assert LAB in Pools(frozenset({LAB}))
    assert HOME not in Pools(frozenset({LAB}))
    assert LAB not in Pools(frozenset({LAB}), all_but=True)
    assert HOME in Pools(all_but=True)


def test_views_of_links_are_shared_by_all_who_see_the_same_links():
    some, all_ = Pools(frozenset({LAB})), Pools(all_but=True)
    links = (POOL_LINK,)

    assert OwnSight(BOB, some).among(links) == OwnSight(EVE, some).among(links)
    assert OwnSight(BOB, some).among(links) != OwnSight(BOB, all_).among(links)
    assert OwnSight(BOB, some).among((*links, USER)) == OwnSight(BOB, some)


def test_rights_have_one_name_over_restarts():
    sight = OwnSight(BOB, Pools(frozenset({LAB, HOME})))

    assert sight.scope == OwnSight(BOB, Pools(frozenset({HOME, LAB}))).scope
    others = {OwnSight(EVE, sight.links).scope, OwnSight(BOB, Pools(all_but=True)).scope}
    assert sight.scope not in others
    assert len(others) == 2


def test_the_index_finds_changes_by_what_must_hold():
    conditions = OwnSight(BOB, Pools(frozenset({LAB}))).conditions
    assert conditions is not None
    assert not conditions.classes
    assert Equals(USER, "id", "a1") in conditions.terms
    assert Equals(POOL_LINK, "pool", "lab") in conditions.terms
    conditions = OwnSight(BOB, Pools(all_but=True)).conditions
    assert conditions is not None
    assert conditions.classes == {POOL_LINK}


def test_references_are_none_that_xapi_makes():
    assert own_ref(POOL_LINK, "lab") == "OpaqueRef:pool-link-lab"
    assert own_ref(USER, "a1") == "OpaqueRef:user-a1"
