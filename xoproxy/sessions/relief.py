"""Who gives way when what is on its way to clients takes more memory than it may.

Frames that everybody has taken are gone at once, so what is left are the copies that slow clients
have not taken yet. One at a time is little. But clients that each ask at another moment, and then
read a byte a second, would each hold a copy of everything. So there is a bound for all together:
over it, first what nobody waits for is dropped, and then deliveries are given up until a quarter of
the bound is free, the oldest first: whoever reads at a fair pace has long taken them. Those who
were getting one begin again when their sockets drain, together with all others that do.

What somebody can take right now is not given up: it will soon be gone, and giving it up would only
have it made again. Nor is the last one: a view that is larger than the bound gets through, too.
"""

from collections.abc import Iterable

from xoproxy.sessions.frame import Delivery, FrameLedger
from xoproxy.sessions.group import Group
from xoproxy.sessions.window_group import SharedView

REASON = "overload"
"""What a `reset` says."""


class Relief:
    """The bound.

    Args:
        ledger: how much there is.
        limit_bytes: how much there may be.
    """

    def __init__(self, ledger: FrameLedger, limit_bytes: int) -> None:
        self._ledger = ledger
        self._limit_bytes = limit_bytes
        self._bearable_bytes = limit_bytes
        """More than the limit when no less than that could be reached."""

    @property
    def is_due(self) -> bool:
        return self._ledger.used_bytes > self._bearable_bytes

    def give(self, groups: Iterable[SharedView]) -> int:
        """Bring the weight under the bound; returns how many deliveries were given up."""
        held = _held(groups)
        goal_bytes = self._limit_bytes - self._limit_bytes // 4
        given_up = 0
        for delivery in sorted(held, key=lambda delivery: delivery.number)[:-1]:
            if self._ledger.used_bytes <= goal_bytes:
                break
            if held[delivery]:
                delivery.give_up(REASON)
                given_up += 1
        reached = self._ledger.used_bytes
        self._bearable_bytes = max(self._limit_bytes, reached + reached // 4)
        return given_up


def _held(groups: Iterable[SharedView]) -> dict[Delivery, bool]:
    """Drop what nobody waits for; find the rest, and whether all who wait for it are stalled."""
    held: dict[Delivery, bool] = {}
    for group in groups:
        if isinstance(group, Group):  # what windows keep is small
            group.forget_unused()
        for member in (*group.members, *group.arriving):
            delivery = member.delivery
            if delivery is not None and not delivery.lost:
                held[delivery] = held.get(delivery, True) and member.client.paused
    return held
