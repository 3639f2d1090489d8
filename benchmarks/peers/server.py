"""A contender in a process of its own: `python -m benchmarks.peers.server NAME TRACE`."""

import asyncio
import sys
import time
from pathlib import Path
from typing import NoReturn

from benchmarks.peers.contenders import CONTENDERS, Contender
from benchmarks.peers.trace import commit
from benchmarks.rig import obey, settle_memory
from xoproxy.app import new_runner
from xoproxy.telemetry import configure_logging


class Player:
    """The commands."""

    def __init__(self, contender: Contender, trace: Path) -> None:
        self._contender = contender
        self._replies = trace.open("rb")
        self._mark = 0
        commit(self._replies.readline(), contender.store, 0.0)

    async def play(self, count: int, per_s: float) -> dict[str, object]:
        """Play the next batches; the answer has when each was due, and how many changes they had.

        What counts is when a batch was due, not when a server that is late got round to it.

        Args:
            count: of batches.
            per_s: the pace; 0 is one after the other.
        """
        loop = asyncio.get_running_loop()
        begin_s = time.monotonic()
        changes = 0
        due = []
        for number in range(count):
            if per_s:
                await asyncio.sleep(max(0.0, begin_s + number / per_s - time.monotonic()))
            due_s = begin_s + number / per_s if per_s else time.monotonic()
            batch = commit(self._replies.readline(), self._contender.store, loop.time())
            self._mark += 1
            due.append((self._mark, int(due_s * 1e9)))
            changes += len(batch.changes)
            await self._contender.publish(batch)
        return {"due": due, "changes": changes}

    async def state(self) -> dict[str, object]:
        """Tell the processor time used, and how often a client fell behind."""
        return {"cpu_s": time.process_time(), "behind": self._contender.behind}

    async def settle(self) -> dict[str, object]:
        """Give back free memory, so that two looks from outside can be compared."""
        settle_memory()
        return {}


async def _run(name: str, trace: Path) -> None:
    contender = CONTENDERS[name]()
    async with contender.listening() as url:
        player = Player(contender, trace)
        print(f'{{"url": "{url}"}}', flush=True)
        await obey({"play": player.play, "state": player.state, "settle": player.settle})


def main() -> NoReturn:
    configure_logging("json", "warning")
    name, trace = sys.argv[1:3]
    with new_runner() as runner:  # the same loop and collector for all
        runner.run(_run(name, Path(trace)))
    sys.exit(0)


if __name__ == "__main__":
    main()
