"""Slows down guessing of passwords, in bounded memory, across restarts.

Theory of operation. Failures are counted in three ways; the first few are free, each one more
doubles the time for which further attempts are refused, up to a minute, unseen by the password
check. A count is forgotten a while after its last failure.

    by address and name   somebody who guesses one password          5 free
    by address            somebody who tries many names             50 free
    by name               many who guess one account together      100 free

The last one is a soft lock-out: once it holds, one attempt a minute gets through for that name,
from wherever. It is not asked of those from where the name signed in before, nor of the machine
itself: so nobody can lock an administrator out of his account by guessing, however many machines he
has. What is open, API tokens and browser sessions are not concerned by any of it. `unlock` forgets.

An address is a whole network for IPv6 (/64: what one customer has). Everything is remembered as
keyed digests, so that neither a long name nor a password typed into the wrong field is kept.

What matters of it outlives a restart: `notes` are written now and then, not at each failure, and
at most a thousand of a kind: a guesser can neither wear out the disk nor fill it. Who kills the
proxy wins the failures of the last minute back.
"""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import nlargest
from ipaddress import ip_address, ip_network
from itertools import islice

from xoproxy.errors import Unauthorized

_LONGEST_S = 60.0
_KEYS = 5_000
"""Remembered of a kind; the one whose last failure is oldest goes first. About 1 MB each."""
_NOTED = 1000
_HOMES = 8
"""Addresses remembered from where a name signed in."""
_DIGEST_BYTES = 16


class Kind(StrEnum):
    """What is counted."""

    PAIR = "pair"
    ADDRESS = "address"
    NAME = "name"
    HOME = "home"
    """An address from where a name signed in: nothing is counted."""


_FREE = {Kind.PAIR: 5, Kind.ADDRESS: 50, Kind.NAME: 100}
_FORGET_AFTER_S = {Kind.PAIR: 900.0, Kind.ADDRESS: 900.0, Kind.NAME: 3600.0}


class Throttled(Unauthorized):
    """Too many failures; the same may be tried again later.

    Args:
        retry_after_s: whole seconds until then.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failed sign-ins; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Note:
    """What is written down of one key.

    Args:
        digest: of what is counted.
        failures: how many; 0 for an address from where somebody signed in.
        at_s: when the last one was, in seconds since 1970.
    """

    kind: Kind
    digest: bytes
    failures: int
    at_s: float


class _Counts:
    """Failures of one kind by digest, the latest last."""

    def __init__(self, kind: Kind) -> None:
        self._free = _FREE[kind]
        self._forget_after_s = _FORGET_AFTER_S[kind]
        self._counts: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: bytes, now_s: float) -> None:
        count, at_s = self._counts.get(key, (0, now_s))
        self.put(key, 1 if now_s - at_s > self._forget_after_s else count + 1, now_s)

    def put(self, key: bytes, count: int, at_s: float) -> None:
        self._counts[key] = (count, at_s)
        self._counts.move_to_end(key)
        while len(self._counts) > _KEYS:
            self._counts.popitem(last=False)

    def wait_s(self, key: bytes, now_s: float) -> float:
        count, at_s = self._counts.get(key, (0, 0.0))
        if count < self._free or now_s - at_s > self._forget_after_s:
            return 0.0
        # the exponent is bounded: a float overflows at 1024
        penalty_s = min(_LONGEST_S, 2.0 ** min(count - self._free, 10))
        return at_s + penalty_s - now_s

    def drop(self, of: Callable[[bytes], bool]) -> None:
        for key in [key for key in self._counts if of(key)]:
            del self._counts[key]

    def pop(self, key: bytes) -> None:
        self._counts.pop(key, None)

    def worst(self, now_s: float) -> list[tuple[bytes, int, float]]:
        """Return what is to be written: what holds somebody up, the highest counts first."""
        found = [
            (key, count, at_s)
            for key, (count, at_s) in self._counts.items()
            if count >= self._free and now_s - at_s <= self._forget_after_s
        ]
        return nlargest(_NOTED, found, key=lambda one: one[1])


class Throttle:
    """Counts failed sign-ins.

    Args:
        secret: keys the digests; the same after a restart, or what was noted means nothing.
        notes: what was written down.
        clock: goes on evenly while the proxy runs.
        wall_clock: seconds since 1970, to tell how long the proxy was away.
    """

    def __init__(
        self,
        secret: bytes = b"",
        notes: Iterable[Note] = (),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = hashlib.sha256(b"throttle" + secret).digest()
        self._clock = clock
        self._wall_clock = wall_clock
        self._counts = {kind: _Counts(kind) for kind in _FREE}
        self._homes: OrderedDict[bytes, OrderedDict[bytes, float]] = OrderedDict()
        self._is_noted = True
        for note in sorted(notes, key=lambda one: one.at_s):
            # a wall clock that was put back must not make anybody wait for longer
            at_s = clock() - max(0.0, wall_clock() - note.at_s)
            if note.kind is Kind.HOME:
                self._at_home(note.digest[:_DIGEST_BYTES], note.digest[_DIGEST_BYTES:], at_s)
            else:
                self._counts[note.kind].put(note.digest, note.failures, at_s)

    def check(self, peer: str, name: str) -> None:
        """Refuse an attempt that comes too early.

        Raises:
            Throttled: with the time to wait.
        """
        now_s = self._clock()
        who, where = self._digest(name), self._digest(_network(peer))
        wait_s = max(
            self._counts[Kind.PAIR].wait_s(who + where, now_s),
            self._counts[Kind.ADDRESS].wait_s(where, now_s),
        )
        if where not in self._homes.get(who, ()) and not _is_here(peer):
            wait_s = max(wait_s, self._counts[Kind.NAME].wait_s(who, now_s))
        if wait_s > 0:
            raise Throttled(math.ceil(wait_s))

    def failed(self, peer: str, name: str) -> None:
        now_s = self._clock()
        who, where = self._digest(name), self._digest(_network(peer))
        self._counts[Kind.PAIR].add(who + where, now_s)
        self._counts[Kind.ADDRESS].add(where, now_s)
        self._counts[Kind.NAME].add(who, now_s)
        self._is_noted = False

    def succeeded(self, peer: str, name: str) -> None:
        """Forget this name's failures from here, and remember that it signs in from here.

        What the address and the name failed elsewhere stays: or one account would excuse all
        guesses, and its owner's work those of everybody else.
        """
        who, where = self._digest(name), self._digest(_network(peer))
        self._counts[Kind.PAIR].pop(who + where)
        if where not in self._homes.get(who, ()):
            self._is_noted = False
        self._at_home(who, where, self._clock())

    def unlock(self, name: str) -> None:
        """Forget all failures of a name."""
        who = self._digest(name)
        self._counts[Kind.NAME].pop(who)
        self._counts[Kind.PAIR].drop(lambda key: key.startswith(who))
        self._is_noted = False

    def is_locked(self, name: str) -> bool:
        """Tell whether a name has to wait where it never signed in before."""
        return self._counts[Kind.NAME].wait_s(self._digest(name), self._clock()) > 0

    def notes(self) -> Sequence[Note] | None:
        """Return what is to be written instead of what was before; None: nothing is new."""
        if self._is_noted:
            return None
        self._is_noted = True
        now_s, wall_s = self._clock(), self._wall_clock()
        found = [
            Note(kind, key, count, wall_s - (now_s - at_s))
            for kind, counts in self._counts.items()
            for key, count, at_s in counts.worst(now_s)
        ]
        homes = (
            Note(Kind.HOME, who + where, 0, wall_s - (now_s - at_s))
            for who, places in reversed(self._homes.items())  # the latest first
            for where, at_s in places.items()
        )
        return [*found, *islice(homes, _NOTED)]

    def not_written(self) -> None:
        """Say that what `notes` returned could not be written: it will return all again."""
        self._is_noted = False

    def _at_home(self, who: bytes, where: bytes, at_s: float) -> None:
        places = self._homes.setdefault(who, OrderedDict())
        self._homes.move_to_end(who)
        places[where] = at_s
        places.move_to_end(where)
        while len(places) > _HOMES:
            places.popitem(last=False)
        while len(self._homes) > _KEYS:
            self._homes.popitem(last=False)

    def _digest(self, text: str) -> bytes:
        data = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key, digest_size=_DIGEST_BYTES).digest()


def _network(peer: str) -> str:
    """Return what counts as one address."""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    return peer if address.version == 4 else str(ip_network((peer, 64), strict=False))  # noqa: PLR2004


def _is_here(peer: str) -> bool:
    try:
        return ip_address(peer).is_loopback
    except ValueError:
        return False
