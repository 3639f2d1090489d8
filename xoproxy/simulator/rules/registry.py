"""The classes whose objects advertise operations, and how to ask about them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError

Refusal: TypeAlias = Callable[[Database, str, str], XapiError | None]
"""(database, reference, operation) -> why it is refused now; raises when there is no such row."""

Reader: TypeAlias = tuple[str, str]
"""(class, reference) of an object whose rules read another one."""


def _nobody(_db: Database, _ref: str) -> Iterable[Reader]:
    return ()


@dataclass(frozen=True, slots=True)
class Rules:
    """One class: the operations that it advertises, and why one of any is refused.

    XAPI never advertises some operations that it nevertheless runs (semantics of
    `allowed_operations`): they are refused or not like the others, but are not in `advertised`.

    `readers` lists all objects whose own rules look at this one (a VBD's at its VM): what they
    advertise is brought up to date together with it, and when it goes.
    """

    advertised: tuple[str, ...]
    refusal: Refusal
    readers: Callable[[Database, str], Iterable[Reader]] = _nobody


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
    """Bring an object's `allowed_operations` up to date, and its readers'.

    Returns:
        how many writes that took.
    """
    return _advertise(db, [(cls, ref), *RULES[cls].readers(db, ref)])


def drop(db: Database, cls: str, ref: str) -> None:
    """Delete a row of any class, and bring its readers up to date: it may have hindered them."""
    readers = [*RULES[cls].readers(db, ref)] if cls in RULES else []
    db.destroy(cls, ref)
    _advertise(db, readers)


def _advertise(db: Database, objects: Iterable[Reader]) -> int:
    return sum(db.write(c, r, "allowed_operations", allowed(db, c, r)) for c, r in objects)
