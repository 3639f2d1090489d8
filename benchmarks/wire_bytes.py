"""What a change costs on the wire: frames as they are written, headers included."""

from collections.abc import AsyncIterator

import msgspec

from benchmarks.estate import SEED, Estate, play
from benchmarks.figures import Measured
from benchmarks.line import Line
from xoproxy.pool import replies
from xoproxy.sessions.codec import Codec

_BATCH_CHANGES = 15
"""300 changes a second, and XAPI gathers for 50 ms."""


class _Clients:
    """One of each kind, all subscribed to everything."""

    def __init__(self, line: Line) -> None:
        self.plain = line.subscribe()
        self.deflated = line.subscribe(deflate=True)
        self.msgpack = line.subscribe(codec=Codec.MSGPACK)
        self.take()

    def take(self) -> tuple[int, int, int]:
        """Return what each got since the last time: plain, deflated, plain MessagePack."""
        _, plain = self.plain.take()
        _, deflated = self.deflated.take()
        _, msgpack = self.msgpack.take()
        return plain, deflated, msgpack


def _measured(sizes: tuple[int, int, int], what: str) -> Measured:
    plain, deflated, msgpack = sizes
    return Measured(plain, note=f"{what}; deflated {deflated:,}, MessagePack {msgpack:,}")


async def single_changes(*, quick: bool) -> dict[str, Measured]:
    """Changes one at a time, each a batch of its own."""
    estate = Estate(4, 60) if quick else Estate(4, 250)
    line = Line()
    figures: dict[str, Measured] = {}

    async def changes() -> AsyncIterator[bytes]:
        yield estate.reply()
        clients = _Clients(line)
        vms = estate.vms()
        running = next(vm for vm in vms if estate.db.get("VM", vm, "power_state") == "Running")
        estate.db.write("VM", running, "power_state", "Paused")
        yield estate.reply()
        single = clients.take()
        estate.db.write("VM", running, "power_state", "Running")
        yield estate.reply()
        clients.take()
        whole = await _shut_down(estate, running)
        yield estate.reply()
        note = f"one field; a whole VM.hard_shutdown ({whole}) {clients.take()[0]:,}"
        figures["bytes_power_state"] = _measured(single, note)

        host = estate.db.refs("host_metrics")[0]
        free = estate.db.get("host_metrics", host, "memory_free")
        estate.db.write("host_metrics", host, "memory_free", free - (4 << 20))
        yield estate.reply()
        figures["bytes_host_memory"] = _measured(clients.take(), "memory_free")

        count = min(200, len(vms))
        for vm in vms[:count]:
            state = "Halted" if estate.db.get("VM", vm, "power_state") == "Running" else "Running"
            estate.db.write("VM", vm, "power_state", state)
        yield estate.reply()
        figures["bytes_200_vms"] = _measured(clients.take(), f"power_state of {count} VMs at once")

    await play(await estate.methods(), changes(), line.store, line)
    return figures


async def _shut_down(estate: Estate, vm: str) -> str:
    """Shut a VM down by a call, and say how much that changes."""
    password = estate.pool.password
    login = await estate.call("session.login_with_password", [estate.pool.user, password])
    session = msgspec.json.decode(replies.RAW.whole.decode(login).result)
    generation = estate.db.generation
    await estate.call("VM.hard_shutdown", [session, vm])
    return f"{estate.db.generation - generation} writes"


async def standard_trace(*, quick: bool) -> dict[str, Measured]:
    """300 changes a second of all kinds, gathered by XAPI for 50 ms, one flush per reply."""
    seconds = 2 if quick else 60
    small = await _trace(Estate(4, 60), seconds)
    vms = 100 if quick else 1000
    large = await _trace(Estate(16, vms), seconds)
    changes, (plain, deflated, msgpack) = large
    note = (
        f"{seconds} s, {changes:,} changes, {vms:,} VMs; plain {plain:.0f}, MessagePack"
        f" {msgpack:.0f}; a pool of 60 VMs: {small[1][1]:.0f}"
    )
    return {"bytes_compressed": Measured(deflated, note=note)}


async def _trace(estate: Estate, seconds: int) -> tuple[int, tuple[float, ...]]:
    """Return the number of changes, and bytes per change: plain, deflated, MessagePack."""
    line = Line()
    seen: list[tuple[int, int, int]] = []

    async def trace() -> AsyncIterator[bytes]:
        yield estate.reply()
        clients = _Clients(line)
        churn = estate.churn(SEED)
        for _ in range(seconds * 20):
            made = 0
            while made < _BATCH_CHANGES:
                made += churn.step()
            yield estate.reply()
            seen.append(clients.take())

    await play(await estate.methods(), trace(), line.store, line)
    changes = line.store.journal.change_count
    return changes, tuple(sum(sizes) / changes for sizes in zip(*seen, strict=True))
