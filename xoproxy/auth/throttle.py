"""Slows down guessing of passwords, in bounded memory.

Failures are counted for (peer, user name) and for the peer alone. The first few are free; each one
more doubles the time for which further attempts are refused, up to a minute, unseen by the password
check. Somebody else cannot lock an administrator out by guessing from another address.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from xoproxy.errors import Unauthorized

_FREE_PER_NAME = 5
_FREE_PER_PEER = 50
_LONGEST_S = 60.0
_FORGET_AFTER_S = 900.0
_KEYS = 10_000
"""Keys remembered; the one whose last failure is oldest goes first. About 2 MB."""


class Throttled(Unauthorized):
    """Too many failures; the same may be tried again later.

    Args:
        retry_after_s: whole seconds until then.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failed sign-ins; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Throttle:
    """Counts failed sign-ins by peer and name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, ...], tuple[int, float]] = OrderedDict()

    def check(self, peer: str, name: str) -> None:
        """Refuse an attempt that comes too early.

        Raises:
            Throttled: with the time to wait.
        """
        wait_s = max(
            self._wait_s((peer, name), _FREE_PER_NAME), self._wait_s((peer,), _FREE_PER_PEER)
        )
        if wait_s > 0:
            raise Throttled(math.ceil(wait_s))

    def failed(self, peer: str, name: str) -> None:
        for key in ((peer, name), (peer,)):
            count, at_s = self._failures.pop(key, (0, 0.0))
            if self._clock() - at_s > _FORGET_AFTER_S:
                count = 0
            self._failures[key] = (count + 1, self._clock())
        while len(self._failures) > _KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, peer: str, name: str) -> None:
        """Forget this name's failures; the peer's stay, or one account would excuse all guesses."""
        self._failures.pop((peer, name), None)

    def _wait_s(self, key: tuple[str, ...], free: int) -> float:
        count, at_s = self._failures.get(key, (0, 0.0))
        if count < free:
            return 0.0
        # the exponent is bounded: a float overflows at 1024
        penalty_s = min(_LONGEST_S, 2.0 ** min(count - free, 10))
        return at_s + penalty_s - self._clock()
