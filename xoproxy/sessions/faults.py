"""Faults of ours in one view: contained to it, and told to the driver, which writes the log.

A view is evaluated for all of its members together, so an exception that nobody foresaw must not
end the flush of all others. The first time, its members begin again: a snapshot shares little with
what failed. When that fails too, their connections are closed; whoever comes back finds a new view.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from xoproxy.sessions.counters import Counters
from xoproxy.sessions.group import Group
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.window_group import SharedView, WindowGroup

REASON = "state_lost"
_KEPT = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception that nobody foresaw.

    Args:
        where: what was being done.
        error: the exception.
    """

    where: str
    error: Exception


class Faults:
    """Contains faults.

    Args:
        counters: of the hub.
        restart: has all members of a group begin again.
        abandon: has nobody come to a group any more.
        lose: closes a connection, and forgets it at once.
    """

    def __init__(
        self,
        counters: Counters,
        restart: Callable[[Group, str], None],
        abandon: Callable[[Group], None],
        lose: Callable[[Client], None],
    ) -> None:
        self._counters = counters
        self._restart = restart
        self._abandon = abandon
        self._lose = lose
        self._untold: deque[Fault] = deque(maxlen=_KEPT)
        self._failed: dict[Group, None] = {}
        """Groups that failed lately."""

    def take(self) -> list[Fault]:
        """Return what happened since the last time."""
        taken = list(self._untold)
        self._untold.clear()
        return taken

    def forgive(self) -> None:
        """Let groups that failed a while ago try again."""
        self._failed.clear()

    def note(self, where: str, error: Exception) -> None:
        self._counters.faults += 1
        self._untold.append(Fault(where, error))

    def of_group(self, group: Group, error: Exception) -> None:
        """Contain a fault to a group."""
        self.note(f"view {group.number} of pool {group.store.pool}", error)
        if group in self._failed:
            self._abandon(group)
            self._close(group)
        else:
            self._failed[group] = None
            self._restart(group, REASON)

    def of_windows(self, groups: Iterable[WindowGroup], error: Exception) -> None:
        """Contain a fault to windows: they have no history from which to begin again."""
        groups = list(groups)
        self.note(f"windows {', '.join(str(group.number) for group in groups)}", error)
        for group in groups:
            self._close(group)

    def of_members(self, members: Iterable[Member], error: Exception) -> None:
        """Contain a fault in what some members were to get to the groups that show it."""
        groups = {member.target or member.group: None for member in members}
        for group in groups:
            if isinstance(group, Group):
                self.of_group(group, error)
            else:
                self.of_windows([group], error)

    def _close(self, group: SharedView) -> None:
        for client in {member.client for member in (*group.members, *group.arriving)}:
            self._lose(client)
