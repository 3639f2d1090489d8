"""Clients that vanish in the middle of everything disturb nobody."""

import asyncio
import socket
import struct

from tests.integration.by_hand import UPGRADE, text_frame
from tests.integration.demo import demo
from tests.integration.support import PASSWORD, connected, logged_in
from tests.integration.test_convergence import assert_equal

CLIENTS = 60


def upgraded(url: str) -> socket.socket:
    """Connect, sign in, subscribe to everything; read nothing more."""
    host, _, port = url.removeprefix("http://").partition(":")
    sock = socket.create_connection((host, int(port)))
    sock.sendall(UPGRADE)
    sock.recv(1024)
    for message in (
        {"type": "auth", "username": "admin", "password": PASSWORD},
        {"type": "subscribe", "id": 1, "query": {"classes": ["*"]}},
    ):
        sock.sendall(text_frame(message))
    return sock


def reset(sock: socket.socket) -> None:
    """End the connection as a crash does: no close frame, no FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def test_resets_under_load_leave_the_proxy_and_the_others_alone():
    async with (
        demo("--pools", "1", "--vms", "60", "--rate", "0") as running,
        connected(running.url) as good,
    ):
        (view,) = await good.subscribe()
        await running.sim("churn", rate=400, seconds=8, seed=1)
        for round_ in range(4):
            socks = [await asyncio.to_thread(upgraded, running.url) for _ in range(CLIENTS)]
            await asyncio.sleep(0.3)
            for number, sock in enumerate(socks):
                reset(sock)
                if number % 10 == round_:
                    await asyncio.sleep(0.01)
        await asyncio.sleep(8)  # until the churn has ended
        assert running.process.returncode is None
        async with logged_in(running.pools[0]["url"], running.pools[0]["password"]) as xapi:
            await assert_equal([view], xapi)
