"""Finds the coordinator of a pool: all members that are known are asked at once.

Only a login tells the roles apart: the coordinator opens a session, a member answers HOST_IS_SLAVE
and names the coordinator's address (any other call is first checked for its session, which a
member has the coordinator do). So whoever listens is asked to log us in, after its certificate
was found good.

Just after a failover two hosts may claim the pool. The one that most members name is right; what
we come from, and then the order of asking, decide between equals.
"""

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from yarl import URL

from xoproxy.errors import PoolError, PoolUnreachable
from xoproxy.pool import trouble
from xoproxy.pool.link import LinkEvent, failed
from xoproxy.pool.looking import connection

_ROUNDS = 3
"""How often a member may name a host that we have not asked: two may name each other."""
_GRACE_S = 0.25
"""What the others get to answer after the first one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said of itself.

    Args:
        coordinator: the address of the pool's coordinator as the host names it; None: itself.
        session: that it opened, or still knows.
    """

    coordinator: str | None
    session: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A host that says that it is the coordinator."""

    url: URL
    session: str


Ask: TypeAlias = Callable[[URL], Awaitable[Answer]]
"""Asks one host; raises PoolError."""


async def find(urls: Iterable[URL], ask: Ask) -> list[Claim]:
    """Return who claims to be the coordinator, the best claim first; nearly always just one.

    Args:
        urls: the known members, the likeliest first: not empty.
        ask: a bounded time passes until it returns or raises.

    Raises:
        PoolError: nobody does; what an operator must mend first, else what the first one said.
    """
    survey = _Survey(ask)
    wanted = list(dict.fromkeys(urls))
    home = wanted[0]
    for _ in range(_ROUNDS):
        await _until_first(wanted, survey.hear)
        if claims := survey.claims():
            return claims
        named = (with_address(home, address) for address in survey.votes)
        wanted = [url for url in dict.fromkeys(named) if url not in survey.asked]
        if not wanted:
            break
    raise survey.problem()


async def reachable(urls: Iterable[URL], within_s: float) -> list[URL]:
    """Return those that accept connections, in the order in which they were given.

    Raises:
        PoolUnreachable: none does; the reason is that of the first.
    """
    wanted = list(dict.fromkeys(urls))
    found: list[URL] = []
    problems: dict[URL, trouble.Trouble] = {}

    async def look(url: URL) -> bool:
        problem = await _problem(url, within_s)
        if problem is None:
            found.append(url)
            return True
        problems[url] = problem
        return False

    await _until_first(wanted, look)
    if not found:
        problem = problems[wanted[0]]
        raise PoolUnreachable(problem.message, problem.code)
    return sorted(found, key=wanted.index)


async def _problem(url: URL, within_s: float) -> trouble.Trouble | None:
    """Connect, and say what prevents it."""
    try:
        async with connection(url, within_s):
            return None
    except TimeoutError:
        return trouble.TIMEOUT
    except socket.gaierror:
        return trouble.UNKNOWN_NAME
    except OSError:
        return trouble.REFUSED


async def _until_first(urls: list[URL], ask: Callable[[URL], Awaitable[bool]]) -> None:
    """Ask all at once, until all have answered, or a moment after the first good answer."""
    good = asyncio.Event()

    async def one(url: URL) -> None:
        if await ask(url):
            good.set()

    async def end(asking: list[asyncio.Task[None]]) -> None:
        await good.wait()
        await asyncio.sleep(_GRACE_S)
        for task in asking:
            task.cancel()

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(one(url)) for url in urls]
        ending = group.create_task(end(asking))
        await asyncio.wait(asking)
        ending.cancel()


class _Survey:
    """The answers so far."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.asked: list[URL] = []
        self.votes: Counter[str] = Counter()
        self._claims: list[Claim] = []
        self._failures: dict[URL, PoolError] = {}

    async def hear(self, url: URL) -> bool:
        """Ask a host; tells whether it claims the pool."""
        self.asked.append(url)
        try:
            answer = await self._ask(url)
        except PoolError as failure:
            self._failures[url] = failure
            return False
        if answer.coordinator is None:
            self._claims.append(Claim(url, answer.session))
            return True
        self.votes[answer.coordinator] += 1
        return False

    def claims(self) -> list[Claim]:
        """Return them, the best one first."""

        def rank(claim: Claim) -> tuple[int, int]:
            return -self.votes[claim.url.host or ""], self.asked.index(claim.url)

        return sorted(self._claims, key=rank)

    def problem(self) -> PoolError:
        """Say why nobody was found: what an operator must mend first, then in order of asking."""
        failures = [self._failures[url] for url in self.asked if url in self._failures]
        failures.sort(key=lambda failure: failed(failure)[0] is not LinkEvent.REFUSED)
        if failures:
            return failures[0]
        return PoolUnreachable("The pool's members name each other as coordinator.")


def with_addresses(home: URL, addresses: Iterable[str]) -> list[URL]:
    """Put each address into a URL; what is none cannot be reached and is left out."""
    found = []
    for address in addresses:
        with suppress(PoolUnreachable):
            found.append(with_address(home, address))
    return found


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
