"""Which calls of the API the simulator has, class by class, and which answer NOT_IMPLEMENTED."""

from dataclasses import dataclass

from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.dispatch import handler_of


@dataclass(frozen=True, slots=True)
class Coverage:
    """A class's public calls, without those that the API has removed."""

    cls: str
    implemented: tuple[str, ...]
    missing: tuple[str, ...]


def coverage(model: DataModel) -> list[Coverage]:
    """Sort the public calls of all classes."""
    found = []
    for cls in model.classes.values():
        public = [m for m in cls.messages.values() if not m.removed]
        there = {m.name for m in public if handler_of(cls, m)}
        if public:
            names = sorted(m.name for m in public)
            implemented = tuple(n for n in names if n in there)
            missing = tuple(n for n in names if n not in there)
            found.append(Coverage(cls.name, implemented, missing))
    return found
