"""However many clients there are, a pool sees one session and one long poll."""

import asyncio
from contextlib import AsyncExitStack

from tests.integration.demo import demo
from tests.integration.support import JSON, MSGPACK, connected

CLIENTS = 500


async def test_one_session_and_one_wait_with_1_and_with_500_clients():
    async with demo("--pools", "1", "--vms", "10", "--hosts", "1", "--rate", "5") as running:
        most_waits = 0

        async def watch_waits():
            nonlocal most_waits
            while True:
                stats = await running.sim("stats")
                most_waits = max(most_waits, stats["event_waits"])
                assert stats["sessions"] == 1
                await asyncio.sleep(0.05)

        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            watcher = group.create_task(watch_waits())
            clients = [await stack.enter_async_context(connected(running.url))]
            await clients[0].subscribe()
            await asyncio.sleep(1)
            for number in range(1, CLIENTS):
                protocol = MSGPACK if number % 2 else JSON
                clients.append(await stack.enter_async_context(connected(running.url, protocol)))
            for client in clients[1:]:
                await client.subscribe(classes=["VM", "host_metrics"])
            await asyncio.sleep(2)
            assert all(view.patches for view in clients[-1].views.values())
            watcher.cancel()
        assert most_waits == 1
