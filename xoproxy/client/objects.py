"""Objects as a program sees them, and what happens to them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from xoproxy.client.document import Delta, Members
from xoproxy.client.subscription import Slot


class Object(Mapping[str, Any]):  # noqa: PLW1641 - equal by content, as any mapping
    """An object as it was at one moment: a mapping of its fields that never changes.

    Members are XAPI's fields with XAPI's JSON values, and `$ref`. Look it up in its view again to
    see what has become of it. Do not change lists and maps inside: later objects share them.

    Attributes:
        cls: XAPI's class: "VM", "host", ...
        key: the proxy's short name for it, unique in its pool.
        seq: the position of its view when it was read.
    """

    __slots__ = ("_epoch", "_members", "_slot", "cls", "key", "seq")

    def __init__(self, slot: Slot, cls: str, key: str, members: Members) -> None:
        self._slot = slot
        self._members = members
        self._epoch = slot.replica.epoch
        self.cls = cls
        self.key = key
        self.seq = slot.replica.position

    @property
    def ref(self) -> str:
        """XAPI's reference."""
        ref: str = self._members["$ref"]
        return ref

    @property
    def pool(self) -> str:
        """The id of its pool."""
        return self._slot.pool or str(self._members["$pool"])  # a window's slot has none

    @property
    def record(self) -> dict[str, Any]:
        """XAPI's fields alone."""
        return {n: value for n, value in self._members.items() if not n.startswith("$")}

    @property
    def expectation(self) -> dict[str, Any] | None:
        """How a call names it in `expect`; None when its view has begun anew since."""
        replica = self._slot.replica
        if not replica.complete or replica.epoch != self._epoch:
            return None
        return {"view": replica.number, "key": self.key, "seq": self.seq}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Object):
            return self._members is other._members or self._members == other._members
        return super().__eq__(other)

    def __repr__(self) -> str:
        name = self._members.get("name_label", "")
        return f"<{self.cls} {self.ref}{f' {name!r}' if name else ''}>"


@dataclass(frozen=True)
class Change:
    """What happened to one object; several changes of it may have become one.

    Args:
        before: as it was; None if it came.
        after: as it is; None if it went.
    """

    before: Object | None
    after: Object | None

    @property
    def object(self) -> Object:
        """The object: as it is, or as it was if it went."""
        found = self.after if self.after is not None else self.before
        assert found is not None  # noqa: S101 - there is one of the two
        return found

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @property
    def pool(self) -> str:
        return self.object.pool

    @property
    def cls(self) -> str:
        return self.object.cls

    @property
    def ref(self) -> str:
        return self.object.ref

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the fields that differ; all of them for an object that came or went."""
        before: Mapping[str, Any] = self.before or {}
        after: Mapping[str, Any] = self.after or {}
        return frozenset(
            name
            for name in before.keys() | after.keys()
            if not name.startswith("$")
            and (name not in before or name not in after or before[name] != after[name])
        )


def changes_of(slot: Slot, deltas: list[Delta]) -> Iterator[Change]:
    """Word what the core tells of a pool."""
    for cls, key, before, after in deltas:
        yield Change(
            None if before is None else Object(slot, cls, key, before),
            None if after is None else Object(slot, cls, key, after),
        )
