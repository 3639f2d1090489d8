"""A simulated pool in a process of its own, which makes batches on command and stamps them.

Each batch ends with a mark, a number that counts upwards in a text of the pool's record: whoever
sees it knows which batch he has. The stamp of a mark is the moment at which the reply with it
goes to the socket.
"""

import asyncio
import sys
import time
from contextlib import suppress
from typing import NoReturn

from benchmarks.rig import obey
from xoproxy.simulator.churn import Churn
from xoproxy.simulator.estate import generate
from xoproxy.simulator.http import Connection, NoInterference
from xoproxy.simulator.pool import SimulatedPool

SEED = 8


class Stamps(NoInterference):
    """Notes when replies to `event.from` leave, and the last mark that is in them."""

    def __init__(self) -> None:
        self.mark = 0
        self.left_ns: dict[int, int] = {}
        self.waits = 0
        self._pool: SimulatedPool | None = None

    def watch(self, pool: SimulatedPool) -> None:
        self._pool = pool
        pool.hosts.interfere(self)

    async def before_call(self, connection: Connection, method: str) -> None:
        del connection
        if self._pool is not None and method == "event.from":
            self.waits = max(self.waits, self._pool.events.waiting + 1)

    async def send(self, connection: Connection, what: str, head: bytes, body: bytes) -> None:
        # Between the look at the database and here nothing waits, so the mark that is in the
        # database is the one in the reply.
        if what == "event.from":
            self.left_ns.setdefault(self.mark, time.monotonic_ns())
        await super().send(connection, what, head, body)


class BenchPool:
    """The commands."""

    def __init__(self, pool: SimulatedPool) -> None:
        self._pool = pool
        self._db = pool.database
        self._churn = Churn(pool.database, SEED)
        self._stamps = Stamps()
        self._stamps.watch(pool)
        self._row = self._db.refs("pool")[0]
        self._mark()

    async def batches(self, count: int, per_s: float, changes: int) -> dict[str, object]:
        """Make batches of changes, each at once, at a steady pace."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        first = self._stamps.mark + 1
        for number in range(count):
            made = 1
            while made < changes:
                made += self._churn.step()
            self._stamps.mark += 1
            self._mark()
            await asyncio.sleep(max(0.0, begin + (number + 1) / per_s - loop.time()))
        await asyncio.sleep(0.5)  # until the last one has left
        stamps = [(m, ns) for m, ns in self._stamps.left_ns.items() if m >= first]
        return {"stamps": stamps}

    async def change_all(self, count: int) -> dict[str, object]:
        """Change `count` objects at once, VMs and what hangs on them first."""
        changed = 0
        for cls in ("VM", "VBD", "VDI", "VIF", "VM_metrics", "VM_guest_metrics", "SR", "PIF"):
            for ref in self._db.refs(cls)[: count - changed]:
                config = dict(self._db.get(cls, ref, "other_config") or {})
                config["changed"] = str(time.monotonic_ns())
                changed += self._db.write(cls, ref, "other_config", config)
        return {"changed": changed}

    async def stats(self) -> dict[str, object]:
        """Tell how many sessions and objects there are, and the most `event.from` at once."""
        return {
            "sessions": len(self._pool.sessions),
            "waits": self._stamps.waits,
            "objects": sum(map(self._db.count, self._db.tables)),
        }

    def _mark(self) -> None:
        self._db.write("pool", self._row, "name_description", f"mark-{self._stamps.mark}")


async def _run(hosts: int, vms: int, speed: float) -> None:
    # The listener's tasks end with the block, so whatever ends the commands ends the process.
    async with SimulatedPool(generate(hosts, vms, SEED), speed=speed) as pool:
        bench = BenchPool(pool)
        print(f'{{"url": "{pool.url}"}}', flush=True)
        await obey({"batches": bench.batches, "change_all": bench.change_all, "stats": bench.stats})


def main() -> NoReturn:
    hosts, vms, speed = sys.argv[1:4]
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(int(hosts), int(vms), float(speed)))
    sys.exit(0)


if __name__ == "__main__":
    main()
