"""How each kind of fault is tried on a proxy, and what the proxy has to show for it.

A scenario draws the faults of one kind, again and again with other members. Time-outs of the proxy
under test are those of `support.fast_settings`: a poll is lost after three seconds of silence.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Drawn = dict[str, Any]
Draw = Callable[[random.Random], Drawn]


ANY_HOST = "any host"
"""Stands in a drawn fault for one that the pool has."""
_STATES = frozenset({"live", "stale"})


@dataclass(frozen=True)
class Scenario:
    """One kind of fault, or several.

    Args:
        draw: makes the next fault, as it is posted to the control surface.
        breaks: the link must go stale at least once; None: it may. False: it must stay live.
        relists: sessions or positions get lost. Without it the first list of the pool is the last.
        leaks: sessions may be left behind: answers to logins get lost, or logouts.
        overlaps: the next fault does not wait for the end of the one before.
        states: in which the link may be.
        renews: certificates change; an operator accepts new ones a moment after the link has said
            that they are not the accepted ones.
    """

    draw: Draw
    breaks: bool | None = True
    relists: bool = False
    leaks: bool = False
    overlaps: bool = False
    states: frozenset[str] = _STATES
    renews: bool = False


def blocks(fault: Drawn) -> bool:
    """Tell whether nothing gets through while a fault lasts."""
    if fault["kind"] in {"drop", "black_hole", "restart", "older_database"}:
        return True
    return (
        fault["kind"] in {"pages", "invalid_json", "truncated", "reset"}
        and fault.get("probability", 1) == 1
        and "method" not in fault
    )


def lasts_s(fault: Drawn) -> float:
    """Return how long a fault goes on; that of the clocks makes no trouble while it does."""
    return 0.0 if fault["kind"] == "clock_skew" else float(fault.get("seconds", 0.0))


def _lasting(kind: str, least_s: float, most_s: float, **members: Any) -> Draw:
    """Draw a fault that lasts; callables among the members are drawn, too."""

    def draw(rng: random.Random) -> Drawn:
        drawn = {k: v(rng) if callable(v) else v for k, v in members.items()}
        return {"kind": kind, "seconds": round(rng.uniform(least_s, most_s), 2), **drawn}

    return draw


def _at_once(kind: str, **members: Any) -> Draw:
    def draw(rng: random.Random) -> Drawn:
        return {"kind": kind, **{k: v(rng) if callable(v) else v for k, v in members.items()}}

    return draw


def _between(least: int, most: int) -> Callable[[random.Random], int]:
    return lambda rng: rng.randint(least, most)


def _one_of(*choices: Any) -> Callable[[random.Random], Any]:
    return lambda rng: rng.choice(choices)


def _sifted(kind: str, **members: Any) -> Draw:
    """Draw a fault that hits all answers, or some of them."""
    return _lasting(
        kind,
        1.0,
        5.0,
        probability=_one_of(0.2, 0.5, 1),
        seed=_between(1, 10**6),
        **members,
    )


_FAIL = {
    "code": _one_of("INTERNAL_ERROR", "HOST_OFFLINE", "EVENT_FROM_TOKEN_PARSE_FAILURE"),
    "params": ["by a fault"],
    "count": _between(1, 3),
}

_ASKS_OPERATOR = _STATES | {"error", "connecting"}

SCENARIOS: dict[str, Scenario] = {
    "drop": Scenario(_lasting("drop", 0.0, 3.0)),
    "black_hole": Scenario(_lasting("black_hole", 3.0, 7.0)),
    "half_open": Scenario(_at_once("half_open")),
    "delay": Scenario(_lasting("delay", 1.0, 6.0, ms=_between(20, 800)), breaks=False),
    "jitter": Scenario(
        _lasting("jitter", 1.0, 6.0, ms=_between(20, 1000), seed=_between(1, 99)), breaks=False
    ),
    "slow": Scenario(
        _lasting("slow", 1.0, 5.0, bytes_per_s=_between(20_000, 200_000)),
        breaks=None,  # the list of a large class may take longer than a poll
    ),
    "reset": Scenario(_sifted("reset", after_bytes=_between(0, 3000))),
    "truncated": Scenario(_sifted("truncated")),
    "invalid_json": Scenario(_sifted("invalid_json")),
    "pages": Scenario(_sifted("pages", status=_one_of(500, 503))),
    "too_many_pending_tasks": Scenario(_sifted("too_many_pending_tasks"), breaks=None),
    "restart": Scenario(_lasting("restart", 0.1, 2.0), relists=True),
    "older_database": Scenario(
        _lasting("older_database", 0.1, 2.0, changes=_between(1, 200)), relists=True
    ),
    "member": Scenario(_lasting("member", 1.0, 4.0), relists=True),
    "promote": Scenario(_at_once("promote", seed=_between(1, 99)), relists=True),
    "failover": Scenario(
        _lasting("failover", 0.5, 5.0, takeover_s=_one_of(0.3, 1.0, 2.0), seed=_between(1, 99)),
        relists=True,
    ),
    "host_down": Scenario(_lasting("host_down", 0.5, 5.0, host=ANY_HOST), relists=True),
    "certificate": Scenario(
        lambda rng: {"kind": rng.choice(("certificate", "drop"))},
        states=_ASKS_OPERATOR,
        relists=True,
        leaks=True,  # nothing is said to a host any more whose certificate is another one
        renews=True,
    ),
    "clock_skew": Scenario(
        _at_once("clock_skew", seconds=_between(-100_000, 100_000)), breaks=False
    ),
    "storm": Scenario(
        _lasting("storm", 0.0, 2.0, changes=_between(100, 2000), seed=_between(1, 99)),
        breaks=False,
    ),
    "expire_sessions": Scenario(_at_once("expire_sessions"), relists=True),
    "fail": Scenario(_at_once("fail", **_FAIL, method=_one_of("event.from", None)), relists=True),
}


MIX = "mix"


def _any_of_all(rng: random.Random) -> Drawn:
    return SCENARIOS[rng.choice(sorted(SCENARIOS.keys() - {MIX}))].draw(rng)


SCENARIOS[MIX] = Scenario(
    _any_of_all, relists=True, leaks=True, overlaps=True, states=_ASKS_OPERATOR, renews=True
)
