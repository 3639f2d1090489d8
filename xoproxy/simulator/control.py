"""The control surface of a simulated pool, `/_sim/`: faults, churn, and what it has counted.

    POST /_sim/fault   {"kind": "drop"}                      faults/kinds.py names the others
    POST /_sim/faults  [{"after": 2, "kind": "drop"}, ..]    a script, replaces the one before
    GET  /_sim/faults                                        what became of its steps
    POST /_sim/churn   {"rate": 5, "seconds": 60, "seed": 1, "lifecycle": true}    rate 0 stops
    GET  /_sim/stats

Answers at once, in JSON; what is wrong with a request is said in `{"error": ..}`.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from xoproxy.simulator.churn import Churn, run
from xoproxy.simulator.faults import FaultRefusedError, Faults, kinds, script
from xoproxy.simulator.faults.kinds import AskedError, Seconds

if TYPE_CHECKING:
    from xoproxy.simulator.pool import SimulatedPool


class ChurnAsked(Struct, forbid_unknown_fields=True, frozen=True):
    """Changes a second, for ever or for `seconds`."""

    rate: Annotated[float, Meta(ge=0, le=100_000)]
    seconds: Seconds | None = None
    seed: int = 1
    lifecycle: bool = False


_CHURN = msgspec.json.Decoder(ChurnAsked)


class _PathError(Exception):
    """A request for something that is not there."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Control:
    """Answers the control surface of one pool, and owns its faults and its churn."""

    def __init__(self, pool: "SimulatedPool") -> None:
        self._pool = pool
        self.faults = Faults(pool)
        self._churn: Churn | None = None
        self._running: asyncio.Task[int] | None = None
        self._script = script.Script(self.faults, [])
        self._script_runs: asyncio.Task[None] | None = None
        for host in pool.hosts:
            if host.server is not None:
                host.server.control = self.answer

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Answer a request: status, and a JSON document."""
        try:
            return 200, msgspec.json.encode(await self._run(method, path, body))
        except AskedError as error:
            status, text = 400, str(error)
        except FaultRefusedError as error:
            status, text = 409, str(error)
        except _PathError as error:
            status, text = error.status, str(error)
        return status, msgspec.json.encode({"error": text})

    async def _run(self, method: str, path: str, body: bytes) -> object:
        match method, path:
            case "POST", "/_sim/fault":
                await self._begin(kinds.fault(body))
                return {"ok": True}
            case "POST", "/_sim/faults":
                self.play(script.steps(body))
                return {"ok": True}
            case "GET", "/_sim/faults":
                return {"ended": self._script.ended, "steps": self._script.outcomes}
            case "POST", "/_sim/churn":
                self.churn(kinds.decoded(_CHURN, body))
                return {"ok": True}
            case "GET", "/_sim/stats":
                return self.stats()
            case _, "/_sim/fault" | "/_sim/churn":
                raise _PathError(405, f"{path} takes POST")
            case _, "/_sim/stats":
                raise _PathError(405, f"{path} takes GET")
            case _, "/_sim/faults":
                raise _PathError(405, f"{path} takes POST and GET")
            case _:
                known = "/_sim/fault, /_sim/faults, /_sim/churn and /_sim/stats"
                raise _PathError(404, f"there are {known}")

    async def _begin(self, fault: kinds.Fault) -> None:
        """Let a fault begin; asking for none ends the script too."""
        if isinstance(fault, kinds.Nothing):
            self._end_script()
        await self.faults.begin(fault)

    def play(self, plan: Sequence[script.Step]) -> None:
        """Let faults begin by a timetable, instead of the one that runs, if any."""
        self._end_script()
        self._script = script.Script(self.faults, plan)
        runs = self._script.run()
        self._script_runs = self._pool.group.create_task(runs, name="simulator-script")

    def _end_script(self) -> None:
        if self._script_runs is not None:
            self._script_runs.cancel()
            self._script_runs = None

    def churn(self, asked: ChurnAsked) -> None:
        """Replace the churn that runs, if any; what that had begun is brought to its end."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
        if self._churn is not None:
            self._churn.finish()
            self._churn = None
        if asked.rate > 0:
            self._churn = Churn(self._pool.database, asked.seed, lifecycle=asked.lifecycle)
            steps = run(self._churn, asked.rate, asked.seconds, may_go=self.faults.up)
            self._running = self._pool.group.create_task(steps, name="simulator-churn")

    def stats(self) -> dict[str, object]:
        """Count what the pool holds and was asked."""
        pool = self._pool
        return {
            "sessions": len(pool.sessions),
            "event_waits": pool.events.waiting,
            "calls": dict(pool.dispatcher.calls),
            "faults": dict(self.faults.struck),
            "generation": pool.database.generation,
            "objects": {cls: pool.database.count(cls) for cls in pool.database.tables},
        }
