"""Connections are let in one per turn of the loop."""

import asyncio
import errno
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ClassVar

import pytest

from xoproxy.ws import door
from xoproxy.ws.door import Door, listening_sockets

COUNT = 50


class Served(asyncio.Protocol):
    """Notes the turn of the loop in which it was made, and says hello."""

    def __init__(self, turns: list[int]) -> None:
        turns.append(turns[0])

    def connection_made(self, transport):
        transport.write(b"hello")
        transport.close()


@asynccontextmanager
async def open_door(listeners, turns):
    opened = Door(listeners, lambda: Served(turns))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(opened.run())
        yield opened
        task.cancel()


async def knock(address):
    reader, writer = await asyncio.open_connection(*address)
    heard = await reader.read()
    writer.close()
    await writer.wait_closed()
    return heard


def count_turns(turns: list[int]) -> None:
    turns[0] += 1
    asyncio.get_running_loop().call_soon(count_turns, turns)


async def test_connections_that_come_at_once_are_let_in_in_different_turns():
    listeners = await listening_sockets("127.0.0.1", 0)
    clients = [socket.create_connection(listeners[0].getsockname()) for _ in range(COUNT)]
    turns = [0]
    count_turns(turns)
    async with open_door(listeners, turns):
        loop = asyncio.get_running_loop()
        for client in clients:
            client.setblocking(False)
            assert await loop.sock_recv(client, 10) == b"hello"
            client.close()
    let_in_at = turns[1:]
    assert len(let_in_at) == COUNT
    assert len(set(let_in_at)) == COUNT


async def test_after_it_was_closed_nobody_is_let_in():
    listeners = await listening_sockets("127.0.0.1", 0)
    async with open_door(listeners, [0]) as opened:
        address = opened.address
        assert await knock(address) == b"hello"

    with pytest.raises(ConnectionRefusedError):
        await knock(address)


async def test_a_name_with_two_addresses_is_listened_to_at_both():
    async with AsyncExitStack() as stack:
        listeners = await listening_sockets("localhost", 0)
        for listener in listeners:
            stack.enter_context(listener)
        families = {listener.family for listener in listeners}
        assert families <= {socket.AF_INET, socket.AF_INET6}
        assert len(families) == len(listeners)


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_open():
    (taken,) = await listening_sockets("127.0.0.1", 0)
    with taken, pytest.raises(OSError, match="in use") as raised:
        await listening_sockets("127.0.0.1", taken.getsockname()[1])
    assert raised.value.errno == errno.EADDRINUSE


class Short(socket.socket):
    """A listener of a process that has no file descriptor left, for a moment."""

    failures: ClassVar[list[int]] = []

    def accept(self):
        if self.failures:
            code = self.failures.pop()
            raise OSError(code, "no room")
        return super().accept()


async def test_a_shortage_of_descriptors_is_waited_for(monkeypatch):
    monkeypatch.setattr(door, "_PAUSE_S", 0.01)
    monkeypatch.setattr(Short, "failures", [errno.EMFILE, errno.ECONNABORTED, errno.ENFILE])
    listener = Short(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    async with open_door([listener], [0]) as opened:
        assert await knock(opened.address) == b"hello"
    assert Short.failures == []


async def test_a_listener_that_is_broken_is_not_asked_for_ever(monkeypatch):
    monkeypatch.setattr(Short, "failures", [errno.EBADF])
    listener = Short(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    with pytest.raises(ExceptionGroup) as raised:
        await Door([listener], asyncio.Protocol).run()
    assert raised.group_contains(OSError, match="no room")
    assert listener.fileno() == -1
