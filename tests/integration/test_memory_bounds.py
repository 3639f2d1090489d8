"""Memory stays in its bounds, whatever clients do; docs/limits.md has the formula."""

import asyncio

import aiohttp
import pytest

from tests.integration.deaf import DeafClient
from tests.integration.restarts import Restarts, Simulated, Witness, simulated
from tests.integration.support import connected, logged_in, proxy_on
from tests.integration.test_convergence import assert_equal
from xoproxy.app import memory
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

MIB = 1 << 20
READERS = 30
SMALL = {
    "XOPROXY_LIMITS__FRAMES_TOTAL_BYTES": str(16 * MIB),
    "XOPROXY_LIMITS__JOURNAL_BYTES_PER_POOL": str(4 * MIB),
    "XOPROXY_LIMITS__JOURNAL_TOTAL_BYTES": str(4 * MIB),
    "XOPROXY_LIMITS__STALLED_CLOSE_S": "600",
}
PER_CLIENT = MIB // 4
TAKEN = 3 * MIB
"""Of a snapshot that is somewhat larger; all that was made of it stays for others."""
IN_THE_MAKING = 8 * 2 * MIB
UNUSED = 32 * MIB
"""What the allocator keeps, and what the bounds are allowed to be exceeded by for a moment."""


async def hostile(pool: Simulated, url: str, token: str) -> list[DeafClient]:
    """Have clients that ask for everything, take most of it, and then hardly any more."""
    readers = []
    for number in range(READERS):
        # with a smaller buffer, the kernel waits longer and longer before it tells of room in it
        reader = DeafClient(url, buffer_bytes=64 << 10)
        # another filter is another view, which shares no snapshot with the others
        await reader.open({"filter": f"!uuid:nobody{number % 20}"}, token=token)
        async with asyncio.timeout(60):
            await reader.take(TAKEN)
        readers.append(reader)
        if number % 10 == 0:
            await pool.sim("churn", rate=300, seconds=30, seed=number, lifecycle=True)
    return readers


@pytest.mark.slow
async def test_readers_that_take_a_byte_a_second_cannot_make_it_grow(tmp_path):
    async with (
        simulated(vms=400) as pool,
        Restarts(tmp_path, **SMALL).serving() as serving,
        connected(serving.url, view_type=Witness) as good,
    ):
        await pool.add_to(serving)
        (view,) = await good.subscribe(classes=["*"])
        token = (await serving.api("POST", "tokens", name="hostile"))["token"]
        before = await serving.metric("xoproxy_memory_bytes")
        readers = await hostile(pool, serving.url, token)
        most = 0.0
        for _ in range(4):
            for reader in readers:
                async with asyncio.timeout(10):
                    await reader.take(500)
            await asyncio.sleep(0.5)
            most = max(most, await serving.metric("xoproxy_memory_bytes"))
            assert await serving.metric("xoproxy_frames_held_bytes") < 24 * MIB

        assert await serving.metric("xoproxy_deliveries_given_up_total") > 10
        bound = 16 * MIB + 4 * MIB + READERS * PER_CLIENT + IN_THE_MAKING + UNUSED
        assert most - before < bound, f"grown by {(most - before) / MIB:.0f} MiB"
        await pool.sim("churn", rate=0)
        await pool.quiet()
        async with logged_in(pool.url, pool.password) as xapi:
            await assert_equal([view], xapi)
        assert view.resets == []
        for reader in readers:
            reader.close()


async def test_when_memory_is_short_clients_are_turned_away_and_told_when_to_come():
    resident = memory.resident_bytes()
    assert resident is not None
    async with (
        SimulatedPool(generate(1, 5, 1)) as simulator,
        proxy_on(simulator.url, memory_bytes=int(resident / 0.9)) as proxy,
        aiohttp.ClientSession() as http,
    ):
        await asyncio.sleep(0.1)
        async with http.ws_connect(f"{proxy.url}/ws", protocols=["xoproxy.v1.json"]) as socket:
            said = await socket.receive_json()
            assert (said["code"], said["retry"]) == ("BUSY", True)
            assert said["data"]["retry_after_s"] == 30
            await socket.receive()
            assert socket.close_code == 4503
        async with http.get(f"{proxy.url}/metrics") as reply:
            text = await reply.text()
        assert "\nxoproxy_clients_turned_away_total 1.0\n" in text
