"""Answers as JSON; long lists are written in slices, so that the rest of the proxy has its turn."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter

_SLICE = 25
"""Items of a list in a turn: about a millisecond."""

Writer = Callable[[Any], Coroutine[None, None, bytes]]


def writer(answer: Any) -> Writer:  # noqa: ANN401 - a model, or list[model]
    """Return what writes an operation's answers.

    Items of a list are asked for one by one as they are written: an operation that returns an
    iterator describes what is there by then.
    """
    if get_origin(answer) is not list:
        return _one(TypeAdapter(answer).dump_json)
    return _many(TypeAdapter(get_args(answer)[0]).dump_json)


def _one(dump: Callable[[Any], bytes]) -> Writer:
    async def write(value: Any) -> bytes:  # noqa: ANN401
        return dump(value)

    return write


def _many(dump: Callable[[Any], bytes]) -> Writer:
    async def write(values: Iterable[Any]) -> bytes:
        content = bytearray(b"[")
        for number, value in enumerate(values, 1):
            content += dump(value)
            content += b","
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        return bytes(content.rstrip(b",") + b"]")

    return write
