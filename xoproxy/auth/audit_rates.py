"""Bounds what anybody can write into the audit log by asking in vain.

Of refusals, and of sign-ins, some of one kind are written one by one; the others of the same minute
become one record that says how many they were. Refused ones together have a bound as well, so that
a thousand addresses that guess passwords write no more than one can read.
"""

from collections.abc import Sequence
from dataclasses import replace

from xoproxy.auth.audit import DONE, SIGN_IN, Action
from xoproxy.errors import ErrorCode

WINDOW_S = 60.0
_ALIKE = 10
_REFUSED = 300
"""Records in a window: of one kind; of refusals together."""
_KINDS = 10_000
"""Kinds that are told apart in a window; of further ones, none is held back."""
_CARRIED_OUT = frozenset(
    {
        DONE,
        ErrorCode.XAPI_FAILURE,
        ErrorCode.POOL_UNAVAILABLE,
        ErrorCode.TIMEOUT,
        ErrorCode.INTERNAL,
    }
)
"""Results of what was at least begun."""

_Kind = tuple[str, ...]


class Rates:
    """Decides which actions are written one by one."""

    def __init__(self) -> None:
        self._began_s = 0.0
        self._seen: dict[_Kind, int] = {}
        self._refused_count = 0
        self._held: dict[_Kind, Action] = {}

    def admit(self, action: Action) -> bool:
        """Tell whether an action shall be written now; if not, it is counted (see `due`)."""
        refused = action.result not in _CARRIED_OUT
        if not refused and action.operation != SIGN_IN:
            return True
        kind: _Kind = (action.account_id, action.peer, action.operation, action.result)
        if kind not in self._seen and not refused and len(self._seen) >= _KINDS:
            return True
        if refused and self._refused_count >= _REFUSED and kind not in self._seen:
            kind = ("", "", action.operation, action.result)  # too many to tell them apart
            self._hold(kind, Action(action.operation, action.result))
            return False
        count = self._seen[kind] = self._seen.get(kind, 0) + 1
        if count > _ALIKE:
            self._hold(kind, replace(action, about="", parameters=(), details={}))
            return False
        self._refused_count += refused
        return True

    def due(self, now_s: float, *, at_once: bool = False) -> Sequence[Action]:
        """Return what was held back, when its minute is over.

        Args:
            now_s: seconds of a monotonic clock.
            at_once: do not wait for that.
        """
        if now_s - self._began_s < WINDOW_S and not at_once:
            return ()
        self._began_s = now_s
        found = list(self._held.values())
        self._seen.clear()
        self._held.clear()
        self._refused_count = 0
        return found

    def _hold(self, kind: _Kind, action: Action) -> None:
        held = self._held.get(kind)
        self._held[kind] = action if held is None else replace(held, count=held.count + 1)
