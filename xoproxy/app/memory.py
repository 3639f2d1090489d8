"""Looks how much memory the process has, so that it never ends for want of it.

Everything that clients can make grow has a bound of its own (docs/limits.md). But how large the
pools are is not ours to choose, and all bounds together may be more than there is. So once a second
the process is weighed. From 85 % of what it may have, nobody new is let in: who is there goes on.
From 95 %, history is given up, the oldest first, until half of it is left: whoever was away for
long loads anew. Under 80 % all is as before.

Once a minute what is free inside the process goes back to the system, which the C library does not
do by itself: without that, each burst of work leaves the process a little larger.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from xoproxy.cache.journal import JournalBudget
from xoproxy.ws.endpoint import Endpoint

_log = structlog.get_logger(__name__)

_INTERVAL_S = 1.0
_ENOUGH, _SHORT, _VERY_SHORT = 0.80, 0.85, 0.95
_RETRY_S = 30.0
_SHRINK_PAUSE_S = 10.0
"""Between two reductions: what the first one freed must show before there is another."""
_GIVE_BACK_S = 60.0
_DROPPED_BYTES = 256 << 10
"""Of history per step: a millisecond or two."""
_LEAST_HISTORY_BYTES = 1 << 20

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_bytes() -> int:
    """Return what the process may have: what its container has, or else the machine."""
    bounds = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUP_LIMITS:
        try:
            bounds.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(bounds)


def resident_bytes() -> int | None:
    """Return what the process has to itself; None where that cannot be known."""
    if not sys.platform.startswith("linux"):
        return None
    _, resident, shared, *_ = Path("/proc/self/statm").read_bytes().split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


class MemoryGuard:
    """Turns clients away and gives history up when memory is short.

    Args:
        limit_bytes: what the process may have.
        endpoint: lets clients in.
        journals: all history.
        weigh: what the process has; None for not known.
        give_back: returns what is free to the system; takes a millisecond for 60 MB in pieces.
    """

    def __init__(
        self,
        limit_bytes: int,
        endpoint: Endpoint,
        journals: JournalBudget,
        weigh: Callable[[], int | None] = resident_bytes,
        give_back: Callable[[], None] | None = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        """When last looked."""
        self._endpoint = endpoint
        self._journals = journals
        self._usual_journal_bytes = journals.total_bytes
        self._weigh = weigh
        self._give_back = give_back or _give_back
        self._pause_s = 0.0
        self._give_back_in_s = _GIVE_BACK_S

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_INTERVAL_S)
            self._pause_s -= _INTERVAL_S
            self._give_back_in_s -= _INTERVAL_S
            if self._give_back_in_s <= 0:
                self._give_back_in_s = _GIVE_BACK_S
                await asyncio.to_thread(self._give_back)

    async def look(self) -> None:
        """Weigh the process, and do what follows."""
        used = self._weigh()
        if used is None:
            return
        self.used_bytes = used
        share = used / self.limit_bytes
        if share >= _SHORT and self._endpoint.retry_after_s is None:
            self._endpoint.retry_after_s = _RETRY_S
            _log.warning("memory is short", used=used, limit=self.limit_bytes)
        elif share < _ENOUGH and self._endpoint.retry_after_s is not None:
            self._endpoint.retry_after_s = None
            self._journals.total_bytes = self._usual_journal_bytes
            _log.info("memory is enough", used=used, limit=self.limit_bytes)
        if share >= _VERY_SHORT and self._pause_s <= 0:
            self._pause_s = _SHRINK_PAUSE_S
            await self._shrink()

    async def _shrink(self) -> None:
        journals = self._journals
        before = journals.used_bytes
        goal = max(before // 2, _LEAST_HISTORY_BYTES)
        while journals.used_bytes > goal:
            journals.total_bytes = max(goal, journals.used_bytes - _DROPPED_BYTES)
            journals.enforce()
            await asyncio.sleep(0)
        await asyncio.to_thread(self._give_back)
        _log.warning("history given up", before=before, after=journals.used_bytes)


def _give_back() -> None:
    """Return free memory to the system."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
