"""The proxy's own objects: their names, and who is shown them.

Pseudo pool `proxy` holds what administration is about: accounts, groups, roles, grants, API tokens,
pools and their links (docs/protocol.md). Who administers is shown all of it. Everybody else is
shown himself, the groups that he is in and what was granted to him, and the links of the pools that
these grants reach. A grant on a pool says nothing of who else has one, whatever its scope: here,
only this module decides.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from xoproxy.cache.diff import split
from xoproxy.cache.state import State
from xoproxy.cache.terms import Conditions, Equals
from xoproxy.model import Entry, PoolId, Ref, XapiClass

USER = XapiClass("user")
GROUP = XapiClass("group")
ROLE = XapiClass("user_role")
GRANT = XapiClass("grant")
TOKEN = XapiClass("api_token")
POOL_CONFIG = XapiClass("pool_config")
POOL_LINK = XapiClass("pool_link")

_decode = msgspec.json.Decoder().decode


class Follower(Protocol):
    """Hears of each change of what is administered, in order; must not block or raise."""

    def changed(self, put: Iterable[object], removed: Iterable[object]) -> None:
        """These are new, or others than before; those are gone."""


def own_ref(cls: XapiClass, id_: str) -> Ref:
    """Name an object; the dash keeps it apart from every reference of XAPI's.

    Args:
        cls: its class.
        id_: of letters and digits, as ids of ours are.
    """
    return Ref(f"OpaqueRef:{cls.replace('_', '-')}-{id_}")


@dataclass(frozen=True, slots=True)
class Pools:
    """Some pools, those that will be added later included.

    Args:
        named: these.
        all_but: whether all others are meant instead.
    """

    named: frozenset[PoolId] = frozenset()
    all_but: bool = False

    def __contains__(self, pool: PoolId) -> bool:
        return (pool in self.named) is not self.all_but


@dataclass(frozen=True, slots=True)
class Belongings:
    """Ids of what is somebody's own: his account, the groups that he is in, his grants."""

    account: str = ""
    groups: frozenset[str] = frozenset()
    grants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OwnSight:
    """What somebody who does not administer sees of `proxy` (fits `cache.view.Visibility`).

    Args:
        his: what is his own.
        links: pools whose links he is shown.
    """

    his: Belongings
    links: Pools

    @property
    def scope(self) -> str:
        his, links = self.his, self.links
        parts = (
            his.account,
            sorted(his.groups),
            sorted(his.grants),
            sorted(links.named),
            links.all_but,
        )
        return "own:" + hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]

    @property
    def everything(self) -> bool:
        return False

    @property
    def all_objects(self) -> bool:
        return False

    @property
    def conditions(self) -> Conditions | None:
        found = {Equals(USER, "id", self.his.account)}
        found |= {Equals(GROUP, "id", group) for group in self.his.groups}
        found |= {Equals(GRANT, "id", grant) for grant in self.his.grants}
        if self.links.all_but:
            return Conditions(frozenset({POOL_LINK}), frozenset(found))
        found |= {Equals(POOL_LINK, "pool", pool) for pool in self.links.named}
        return Conditions(terms=frozenset(found))

    def among(self, classes: tuple[XapiClass, ...]) -> "OwnSight":
        # links refer to nothing of ours, so all who may see the same ones share their view
        return OwnSight(Belongings(), self.links) if classes == (POOL_LINK,) else self

    def sees(self, state: State, entry: Entry) -> bool:  # noqa: ARG002
        match entry.cls:
            case "user":
                return _text(entry, "id") == self.his.account
            case "group":
                return _text(entry, "id") in self.his.groups
            case "grant":
                return _text(entry, "id") in self.his.grants
            case "pool_link":
                return PoolId(_text(entry, "pool")) in self.links
            case _:  # what will be there one day, too
                return False

    def dependents(self, state: State, entry: Entry) -> Iterable[Ref]:  # noqa: ARG002
        return ()

    def shows(self, cls: XapiClass, field: str) -> bool:  # noqa: ARG002
        return True

    def shows_key(self, cls: XapiClass, field: str, key: str) -> bool:  # noqa: ARG002
        return True


def _text(entry: Entry, field: str) -> str:
    return str(_decode(split(entry.raw)[field]))
