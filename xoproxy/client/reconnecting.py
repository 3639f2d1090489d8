"""Whether and when to connect again: docs/protocol.md, sections 9 and 10, as a table."""

import random
from collections.abc import Callable
from typing import Literal

Advice = Literal["yes", "jitter", "later", "credential", "no"]
"""`jitter`: yes, spread over some seconds; `credential`: with another one."""

RESTARTING = 4301
CREDENTIAL_REVOKED = 4305
STALLED = 4308
STATE_LOST = 4310
UNAUTHORISED = 4501
PROTOCOL_ERROR = 4502
TOO_MANY_SESSIONS = 4503

_ADVICE: dict[int | None, Advice] = {
    RESTARTING: "jitter",
    CREDENTIAL_REVOKED: "credential",
    STALLED: "yes",
    STATE_LOST: "jitter",
    UNAUTHORISED: "no",
    PROTOCOL_ERROR: "no",
    TOO_MANY_SESSIONS: "later",
}
_SPREAD_S = 5.0
_SHORTEST_S = 1.0
_LONGEST_S = 30.0
_MOST_ATTEMPTS = 10
"""Beyond this, counting changes nothing: the pause is the longest anyway."""


def advice(code: int | None) -> Advice:
    """Return what a close code advises; None stands for a connection that just broke."""
    return _ADVICE.get(code, "yes")


class Backoff:
    """Pauses between attempts: longer each time, and never in step with other clients.

    Args:
        spread: a random number in [0, 1).
    """

    def __init__(self, spread: Callable[[], float] = random.random) -> None:
        self._spread = spread
        self._attempts = 0

    def succeeded(self) -> None:
        """The next failure is a first one again."""
        self._attempts = 0

    def pause_s(self, code: int | None, at_least_s: float | None = None) -> float:
        """Return how long to wait before the next attempt.

        Args:
            code: by which the connection was closed; None if it just broke.
            at_least_s: what the proxy asked for.
        """
        is_first = self._attempts == 0
        longest: float = min(_SHORTEST_S * 2**self._attempts, _LONGEST_S)
        self._attempts = min(self._attempts + 1, _MOST_ATTEMPTS)
        told = advice(code)
        if told == "jitter" and is_first:
            return self._spread() * _SPREAD_S
        if told == "later":
            longest = _LONGEST_S
        pause_s = longest * (0.5 + self._spread() / 2)
        return pause_s if at_least_s is None else at_least_s + pause_s
