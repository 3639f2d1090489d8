"""The classes whose objects advertise operations, and how to ask about them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError

Refusal: TypeAlias = Callable[[Database, str, str], XapiError | None]
"""(database, reference, operation) -> why it is refused now; raises when there is no such row."""


@dataclass(frozen=True, slots=True)
class Rules:
    """One class: the operations that it advertises, and why one of any is refused.

    XAPI never advertises some operations that it nevertheless runs (semantics of
    `allowed_operations`): they are refused or not like the others, but are not in `advertised`.
    """

    advertised: tuple[str, ...]
    refusal: Refusal


RULES: dict[str, Rules] = {}


def check(db: Database, cls: str, ref: str, operation: str) -> None:
    """Raise what an operation is refused with now, if it is."""
    refused = RULES[cls].refusal(db, ref, operation)
    if refused is not None:
        raise refused


def allowed(db: Database, cls: str, ref: str) -> list[str]:
    """List what an object advertises in its present state."""
    rules = RULES[cls]
    return [name for name in rules.advertised if rules.refusal(db, ref, name) is None]


def allow(db: Database, cls: str, ref: str) -> int:
    """Bring an object's `allowed_operations` up to date; returns how many writes that took."""
    return int(db.write(cls, ref, "allowed_operations", allowed(db, cls, ref)))
