"""Finds the coordinator of a pool: all members that are known are asked at once.

The question needs no session: a coordinator answers a call with an unknown session by
SESSION_INVALID, a member answers every call by HOST_IS_SLAVE and the coordinator's address. So no
credential goes to a host before it is known what it is.

Just after a failover two hosts may claim the pool. The one that most members name is right; what
we come from, and then the order of asking, decide between equals.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from yarl import URL

from xoproxy.errors import PoolUnreachable

_ROUNDS = 3
"""How often a member may name a host that we have not asked: two may name each other."""
_GRACE_S = 0.25
"""What the others get to contradict the first who claims to be the coordinator."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said of itself.

    Args:
        coordinator: the address of the pool's coordinator as the host names it; None: itself.
    """

    coordinator: str | None


Ask: TypeAlias = Callable[[URL], Awaitable[Answer]]
"""Asks one host; raises PoolUnreachable."""


async def find(urls: Iterable[URL], ask: Ask) -> URL:
    """Return where the coordinator is.

    Args:
        urls: the known members, the likeliest first: not empty.
        ask: a bounded time passes until it returns or raises.

    Raises:
        PoolUnreachable: nobody is. Its cause is what the first of `urls` had to say.
    """
    survey = _Survey(ask)
    wanted = list(dict.fromkeys(urls))
    home = wanted[0]
    for _ in range(_ROUNDS):
        await survey.hear(wanted)
        if found := survey.best():
            return found
        named = (with_address(home, address) for address in survey.votes)
        wanted = [url for url in dict.fromkeys(named) if url not in survey.asked]
        if not wanted:
            break
    raise survey.problem()


class _Survey:
    """The answers so far."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.asked: list[URL] = []
        self.votes: Counter[str] = Counter()
        self._claims: list[URL] = []
        self._failures: dict[URL, PoolUnreachable] = {}

    async def hear(self, urls: list[URL]) -> None:
        """Ask some hosts, until all have answered, or a moment after one claims the pool."""
        self.asked += urls
        claimed = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                asking = [group.create_task(self._hear(url, claimed)) for url in urls]
                waiting = group.create_task(_end_after_claim(claimed, asking))
                await asyncio.wait(asking)
                waiting.cancel()
        finally:
            self._claims.sort(key=self.asked.index)

    async def _hear(self, url: URL, claimed: asyncio.Event) -> None:
        try:
            answer = await self._ask(url)
        except PoolUnreachable as failure:
            self._failures[url] = failure
            return
        if answer.coordinator is None:
            self._claims.append(url)
            claimed.set()
        else:
            self.votes[answer.coordinator] += 1

    def best(self) -> URL | None:
        return max(self._claims, key=lambda url: self.votes[url.host or ""], default=None)

    def problem(self) -> PoolUnreachable:
        """Say why nobody was found: what an operator must mend first, then in order of asking."""
        failures = [self._failures[url] for url in self.asked if url in self._failures]
        failures.sort(key=lambda failure: failure.code != "CERTIFICATE")
        if failures:
            return failures[0]
        return PoolUnreachable("The pool's members name each other as coordinator.")


async def _end_after_claim(claimed: asyncio.Event, asking: list[asyncio.Task[None]]) -> None:
    await claimed.wait()
    await asyncio.sleep(_GRACE_S)
    for task in asking:
        task.cancel()


def with_address(home: URL, address: str) -> URL:
    """Put another host into a URL; scheme and port stay, for XAPI names addresses only.

    Raises:
        PoolUnreachable: the address that the pool named is not one.
    """
    host = address.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not host.isascii() or not host.replace("-", "").replace(".", "").isalnum():
            raise PoolUnreachable("The pool names a coordinator without address.") from None
    return home.with_host(host)
