"""A list over several pools: what stands where, what is counted, and what is news."""

import json
from typing import Any

from xoproxy.cache.facets import Facets
from xoproxy.cache.filter import parse_filter
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.listing import Listing, News, Scope
from xoproxy.cache.query import parse_query
from xoproxy.cache.store import Store
from xoproxy.cache.view import Everything
from xoproxy.cache.window_query import Span
from xoproxy.model import PoolId, Ref, Removal, Upsert, XapiClass

VM, HOST = XapiClass("VM"), XapiClass("host")
ALL = Span(0, 1_000)


def vm(name, label, cls=VM, **fields):
    raw = json.dumps({"name_label": label, **fields}).encode()
    return Upsert(cls, Ref(f"OpaqueRef:{name}"), raw)


class Pools:
    """Pools and a list of their VMs."""

    def __init__(self, *names, filter_=None, budget=None, **query):
        self.stores = {n: Store(PoolId(n), f"epoch-{n}", budget or JournalBudget()) for n in names}
        window = parse_query({"classes": ["VM"], "window": [0, 1], **query}).window
        assert window is not None
        chosen = parse_filter(filter_, [VM]) if filter_ else None
        rights = tuple((store, Everything()) for store in self.stores.values())
        self.scope = Scope(VM, chosen, window.arrangement, rights)
        self.listing: Any = None

    def commit(self, name, *events):
        store = self.stores[name]
        prepared = store.prepare(events)
        while prepared.step():
            pass
        batch = store.commit(prepared, store.seq)
        classes = {change.cls for change in batch.changes}
        return self.listing is not None and self.listing.touch(batch, classes)

    def listed(self):
        self.listing = Listing(self.scope, [f"{name}-" for name in self.stores])
        self.settle()
        self.listing.news = News()
        return self.listing

    def settle(self):
        while not self.listing.settled:
            self.listing.build()

    def read(self):
        for _ in self.listing.read():
            pass
        self.settle()
        news, self.listing.news = self.listing.news, News()
        return news

    def shown(self, span=ALL):
        return [
            part.prefix + ref.removeprefix("OpaqueRef:")
            for part, ref, _ in self.listing.slice(span)
        ]


def test_objects_of_all_pools_stand_in_order():
    pools = Pools("p", "q")
    pools.commit("p", vm("a", "b"), vm("c", "D"), vm("h", "a", HOST))
    pools.commit("q", vm("a", "c"), vm("b", "B"))
    listing = pools.listed()
    assert pools.shown() == ["p-a", "q-b", "q-a", "p-c"]
    assert pools.shown(Span(1, 2)) == ["q-b", "q-a"]
    assert listing.total == 4
    assert listing.facets is None
    assert not listing.is_dirty


def test_changes_move_objects_and_are_news():
    pools = Pools("p", filter_="power_state:Running", facets=["tags"])
    pools.commit("p", *(vm(n, n, power_state="Running", tags=["t"]) for n in "abcd"))
    listing = pools.listed()
    before = listing.facets
    assert pools.commit("p", vm("c", "0", power_state="Running", tags=["t"]))
    news = pools.read()
    assert pools.shown() == ["p-c", "p-a", "p-b", "p-d"]
    assert (news.first, news.objects, news.parts) == (0, {"p-2"}, set())
    assert listing.facets is before

    pools.commit("p", vm("b", "b", power_state="Halted"), vm("d", "d", power_state="Running"))
    news = pools.read()
    assert pools.shown() == ["p-c", "p-a", "p-d"]
    assert news.first == 2
    assert listing.facets == {"tags": {"t": 2}}

    pools.commit("p", Removal(Ref("OpaqueRef:a")))
    pools.read()
    assert pools.shown() == ["p-c", "p-d"]


def test_what_decides_nothing_moves_nothing():
    pools = Pools("p")
    pools.commit("p", vm("a", "a"), vm("b", "b"))
    pools.listed()
    pools.commit("p", vm("a", "a", memory=5))
    news = pools.read()
    assert news
    assert news.objects == {"p-0"}
    assert news.first > 2
    assert not pools.read()


def test_other_classes_and_other_pools_do_not_touch_it():
    pools = Pools("p")
    pools.commit("p", vm("a", "a"))
    listing = pools.listed()
    assert not pools.commit("p", vm("h", "h", HOST))
    other = Pools("p")
    other.stores["p"].epoch = "another"
    other.listing = listing
    assert not other.commit("p", vm("z", "z"))
    assert not listing.is_dirty
    assert listing.reached == {pools.stores["p"]: pools.stores["p"].seq}


def test_a_filter_that_follows_references_sees_changes_of_others():
    pools = Pools("p", filter_="resident_on.name_label:one")
    host = "OpaqueRef:h"
    pools.commit("p", vm("h", "one", HOST), vm("a", "a", resident_on=host), vm("b", "b"))
    pools.listed()
    assert pools.shown() == ["p-a"]
    assert pools.commit("p", vm("h", "two", HOST))
    pools.read()
    assert pools.shown() == []


def test_without_history_only_what_differs_is_corrected():
    pools = Pools("p", budget=JournalBudget(pool_bytes=0), facets=["power_state"])
    pools.commit("p", *(vm(n, n, power_state="Running") for n in "abc"))
    listing = pools.listed()
    pools.commit("p", vm("b", "b", power_state="Halted"), Removal(Ref("OpaqueRef:c")), vm("d", "d"))
    news = pools.read()
    assert pools.shown() == ["p-a", "p-b", "p-d"]
    assert news.parts == {listing.parts["p"]}
    assert listing.facets == {"power_state": {"Running": 1, "Halted": 1}}


def test_a_pool_that_was_not_listed_yet_is_built_when_it_is():
    pools = Pools("p")
    listing = pools.listed()
    assert listing.total == 0
    pools.commit("p", vm("a", "a"))
    assert listing.loaded(pools.stores["p"])
    assert not listing.settled
    pools.read()
    assert pools.shown() == ["p-a"]
    assert not listing.loaded(Store(PoolId("p"), "x"))


def test_what_is_committed_while_it_is_built_is_read_afterwards():
    pools = Pools("p")
    pools.commit("p", *(vm(f"n{n}", f"n{n:03}") for n in range(200)))
    pools.listing = listing = Listing(pools.scope, ["p-"])
    listing.build()
    pools.commit("p", vm("n0", "z"), Removal(Ref("OpaqueRef:n199")), vm("new", "a"))
    pools.settle()
    assert listing.is_dirty
    pools.read()
    shown = pools.shown()
    assert (shown[0], shown[-1], len(shown)) == ("p-new", "p-n0", 200)


def test_scopes_that_say_the_same_are_one():
    pools = Pools("p", "q")
    p, q = pools.stores.values()
    without = pools.scope.without_pool(q)
    assert without.with_pool(q, Everything()) == pools.scope
    assert pools.scope.with_pool(q, Everything()) == pools.scope
    assert [store for store, _ in without.pools] == [p]
    assert len({pools.scope, without, without.with_pool(q, Everything())}) == 2


def test_nothing_counted_shows_nothing():
    assert Facets(()).shown == {}
