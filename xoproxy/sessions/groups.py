"""The groups that there are, by what they show; those that nobody needs linger for a while.

A phone that loses its connection is back within a minute, and a page that is loaded again within a
second. So that they find what was encoded for them, a group that its last member left is kept until
the second `expire` after that (the driver calls it now and then), and at most so many are. Such a
group is not read; when it is needed again and too much has happened, it begins anew.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from xoproxy.cache.query import Query
from xoproxy.cache.schema import SCHEMA
from xoproxy.cache.store import Store
from xoproxy.cache.view import View, Visibility
from xoproxy.model import PoolId
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.counters import Counters
from xoproxy.sessions.group import Group
from xoproxy.sessions.routing import Routing
from xoproxy.sessions.tokens import ViewHash, under_rights, view_hash

GroupKey = tuple[PoolId, View, Codec]

MakeGroup = Callable[[Routing, View, ViewHash, Codec], Group]

_WORTH_READING = 256
"""After more changes than this, a new snapshot is better than the old one and a patch."""


class Groups:
    """All groups, and where their pools' changes are routed.

    Args:
        counters: of the hub.
        make: makes a group.
        idle_groups: how many may linger.
    """

    def __init__(self, counters: Counters, make: MakeGroup, idle_groups: int) -> None:
        self.by_key: dict[GroupKey, Group] = {}
        self.routings: dict[PoolId, Routing] = {}
        self._counters = counters
        self._make = make
        self._idle_groups = idle_groups
        self._idle: dict[Group, int] = {}
        """Those that nobody needs, and in which round that began; oldest first."""
        self._round = 0

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self.by_key.values()))

    def add_pool(self, store: Store) -> None:
        self.routings[store.pool] = Routing(store)

    def remove_pool(self, pool: PoolId) -> list[Group]:
        """Forget a pool's groups; return them."""
        gone = list(self.routings.pop(pool))
        for group in gone:
            del self.by_key[_key(group)]
            self._idle.pop(group, None)
        return gone

    def of_query(self, codec: Codec, store: Store, query: Query, visibility: Visibility) -> Group:
        """Return the group that shows a query on a pool."""
        # Of a pool that never answered we do not know the classes: all that there are, then. A
        # view's classes stay what its members were told.
        classes = query.for_classes(store.classes or SCHEMA.event_classes)
        visibility = visibility.among(classes)
        view = View(
            classes=classes,
            filter=query.filter,
            masks=query.masks,
            visibility=visibility,
            sets_by_member=query.sets_by_member,
        )
        hash_ = view_hash(query.view_key, visibility.scope, view.classes)
        return self._get(store.pool, view, hash_, codec)

    def under(self, group: Group, visibility: Visibility) -> Group:
        """Return the group that shows the same under other rights."""
        old = group.view
        view = replace(old, visibility=visibility)
        hash_ = under_rights(group.view_hash.query, visibility.scope)
        return self._get(group.store.pool, view, hash_, group.codec)

    def vacated(self, group: Group) -> None:
        """Note that nobody belongs to a group any more."""
        if self.by_key.get(_key(group)) is group:
            self._idle[group] = self._round
            if len(self._idle) > self._idle_groups:
                self._forget(next(iter(self._idle)))

    def is_idle(self, group: Group) -> bool:
        return group in self._idle

    def abandon(self, group: Group) -> None:
        """Have nobody come to a group any more, nor it be read."""
        if self.by_key.get(_key(group)) is group:
            del self.by_key[_key(group)]
            self._idle.pop(group, None)
            self.routings[group.store.pool].remove(group)

    def expire(self) -> None:
        """Forget the groups that were needed neither since the last time nor before that."""
        for group, began in list(self._idle.items()):
            if began < self._round:
                self._forget(group)
        self._round += 1

    def _get(self, pool: PoolId, view: View, hash_: ViewHash, codec: Codec) -> Group:
        group = self.by_key.get((pool, view, codec))
        routing = self.routings[pool]
        if group is None:
            group = self.by_key[pool, view, codec] = self._make(routing, view, hash_, codec)
            routing.add(group)
            self._counters.groups_created += 1
        elif group in self._idle:
            del self._idle[group]
            self._counters.groups_reused += 1
            journal, read = group.store.journal, group.scanned
            if journal.head - read > _WORTH_READING or not journal.reaches(read):
                group.restart()
                routing.began(group)
        return group

    def _forget(self, group: Group) -> None:
        del self._idle[group]
        del self.by_key[_key(group)]
        self.routings[group.store.pool].remove(group)
        self._counters.groups_expired += 1


def _key(group: Group) -> GroupKey:
    return group.store.pool, group.view, group.codec
