"""Faults one after the other, by a timetable: the same script does the same each time."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from xoproxy.simulator.faults.faults import Faults
from xoproxy.simulator.faults.kinds import KINDS, AskedError, Fault, Seconds, decoded
from xoproxy.simulator.faults.upheaval import FaultRefusedError

STEPS_MAX: Final = 10_000

_STEPS = msgspec.json.Decoder(
    Annotated[list[dict[str, msgspec.Raw]], Meta(min_length=1, max_length=STEPS_MAX)]
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """A fault, `after` so many seconds since the script began."""

    after: float
    fault: Fault


def steps(body: bytes) -> list[Step]:
    """Decode `[{"after": seconds, "kind": .., ..}, ..]`; raises AskedError."""
    found = []
    for number, members in enumerate(decoded(_STEPS, body)):
        try:
            after = msgspec.json.decode(members.pop("after", msgspec.Raw(b"0")), type=Seconds)
            fault: Any = msgspec.json.decode(msgspec.json.encode(members), type=Fault)
        except msgspec.DecodeError as error:
            known = f"the kinds are {', '.join(KINDS)}"
            raise AskedError(f"step {number}: {error}; {known}") from error
        found.append(Step(after, fault))
    return sorted(found, key=lambda step: step.after)


class Script:
    """A script that runs, or has run. `outcomes` says what became of its steps so far."""

    def __init__(self, faults: Faults, plan: Sequence[Step]) -> None:
        self._faults = faults
        self._plan = plan
        self.outcomes: list[dict[str, object]] = []
        self.ended = not plan

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            for step in self._plan:
                await asyncio.sleep(max(0.0, began + step.after - loop.time()))
                self.outcomes.append(await self._take(step))
        finally:
            self.ended = True

    async def _take(self, step: Step) -> dict[str, object]:
        told = {"after": step.after, "kind": step.fault.name}
        try:
            await self._faults.begin(step.fault)
        except (AskedError, FaultRefusedError) as error:
            log.warning("fault %s of a script did not begin: %s", step.fault.name, error)
            return {**told, "error": str(error)}
        return {**told, "ok": True}
