"""A connection that has ended is gone at once, not when the garbage collector next looks at all."""

import asyncio
import gc
import socket
import struct

import pytest
from aiohttp import web

from tests.integration.by_hand import UPGRADE, text_frame
from tests.integration.support import PASSWORD, proxy_on

CLOSE = struct.pack("!BB4sH", 0x88, 0x82, bytes(4), 1000)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def end_without_a_word(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def close_properly(sock: socket.socket) -> None:
    sock.sendall(CLOSE)
    sock.settimeout(5)
    while sock.recv(65536):
        pass


def visit(url: str, end) -> None:
    """Be a client that signs in, subscribes, reads a little and ends."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(UPGRADE)
        sock.recv(1024)
        sock.sendall(text_frame({"type": "auth", "username": "admin", "password": PASSWORD}))
        sock.recv(1024)
        query = {"pools": ["proxy"], "classes": ["pool_link"]}
        sock.sendall(text_frame({"type": "subscribe", "id": 1, "query": query}))
        sock.recv(1024)
        end(sock)


@pytest.fixture
def kept_garbage():
    """What only the collector found since the beginning of the test, when asked."""
    gc.collect()
    gc.disable()

    def found() -> list[object]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        kept = list(gc.garbage)
        gc.garbage.clear()
        return kept

    yield found
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


async def test_nothing_of_a_connection_is_left_to_the_collector(kept_garbage):
    async with proxy_on() as proxy:
        for end in (reset, end_without_a_word, close_properly):
            await asyncio.to_thread(visit, proxy.url, end)
        await asyncio.sleep(0.2)  # until the last end was noticed
        left = [o for o in kept_garbage() if isinstance(o, web.WebSocketResponse | web.Request)]
        assert not left
