"""What `watch` does: asks, follows, and draws or prints, until it is ended."""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live

from xoproxy.cache.schema import SCHEMA
from xoproxy.cli.access import Access
from xoproxy.cli.board import LINKS, NAMES, OBJECTS, Board
from xoproxy.cli.columns import columns, targets
from xoproxy.cli.exits import Exit
from xoproxy.client.connection import Connection, Encoding, Endpoint
from xoproxy.client.errors import Error, NotSignedIn, Refused, Unreachable
from xoproxy.client.events import Event, Failed
from xoproxy.client.follower import Follower, Observer
from xoproxy.client.protocol import Protocol
from xoproxy.model import PROXY_POOL, XapiClass

_FRAMES_PER_S = 4
_MACHINES_ONLY = "!is_a_template !is_a_snapshot !is_control_domain"

Query = dict[str, Any]


def run(
    where: Access,
    classes: Sequence[str],
    filter_: str | None,
    fields: Sequence[str],
    encoding: Encoding,
    *,
    table: bool,
) -> None:
    """Watch until somebody ends it.

    Raises:
        Error, KeyboardInterrupt, asyncio.CancelledError: it ended.
    """
    protocol = Protocol()
    for id_, query in _subscriptions(classes, filter_, fields, table=table).items():
        protocol.subscribe(query, id_)

    def follower(observer: Observer) -> Follower:
        at = Endpoint(where.websocket_url, encoding)
        return Follower(at, lambda: where.credentials, protocol, observer)

    if table:
        board = Board(where.url, protocol, fields)
        running = _draw(board, follower(board))
    else:
        running = _print(follower(_Lines()))
    asyncio.run(_until_terminated(running))


def exit_code(error: Error) -> Exit:
    """Return what the command ends with."""
    match error:
        case Refused():
            return Exit.USAGE
        case Unreachable():
            return Exit.UNREACHABLE
        case NotSignedIn():
            return Exit.UNAUTHORISED
        case _:
            return Exit.FAILURE


async def _until_terminated(run: Coroutine[None, None, None]) -> None:
    """Make SIGTERM end us like Ctrl-C, so that the terminal is left as it was."""
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await run


def _subscriptions(
    classes: Sequence[str], filter_: str | None, fields: Sequence[str], *, table: bool
) -> dict[int, Query]:
    """Make the queries: what is asked for, and for a table what explains it."""
    query: Query = {"classes": list(classes)}
    of_proxy = SCHEMA.proxy_classes.issuperset(map(XapiClass, classes))
    if of_proxy:
        query["pools"] = [PROXY_POOL]
    if filter_ is not None:
        query["filter"] = filter_
    elif table and {"VM", "*"} & set(classes):
        query["filter"] = _MACHINES_ONLY
    shown = _fields(classes, fields, table=table)
    if shown:
        query["fields"] = shown
    if not table:
        return {OBJECTS: query}
    found = {OBJECTS: query, LINKS: {"classes": ["pool_link"], "pools": [PROXY_POOL]}}
    named = sorted({target for cls in classes for target in targets(cls, columns(cls, fields))})
    if named and not of_proxy:
        found[NAMES] = {"classes": named, "fields": {cls: ["name_label"] for cls in named}}
    return found


def _fields(classes: Sequence[str], fields: Sequence[str], *, table: bool) -> dict[str, list[str]]:
    """Spread the fields asked for over the classes that have them."""
    if not fields:
        return {c: list(columns(c)) for c in classes if c != "*"} if table else {}
    spread = sorted(SCHEMA.event_classes) if "*" in classes else classes
    shown = {cls: list(columns(cls, fields)) for cls in spread}
    missing = set(fields).difference(*shown.values())
    shown[spread[0]] += sorted(missing)  # the proxy says what is wrong with them, with a hint
    return shown


class _Lines:
    """Prints each message; fits `Observer`."""

    def connected(self, connection: Connection) -> None:
        pass

    def disconnected(self, events: Sequence[Event]) -> None:
        pass

    def waiting(self, error: Error, pause_s: float) -> None:
        print(f"xoproxy: {error}; again in {pause_s:.1f} s", file=sys.stderr)

    def received(self, message: object, events: Sequence[Event]) -> None:
        print(json.dumps(message, ensure_ascii=False, separators=(",", ":")), flush=True)
        for event in events:
            if isinstance(event, Failed):
                raise event.error


async def _print(follower: Follower) -> None:
    raise await follower.run()


async def _draw(board: Board, follower: Follower) -> None:
    live = Live(board, console=Console(), screen=True, auto_refresh=False)
    with live:
        async with asyncio.TaskGroup() as tasks:
            drawing = tasks.create_task(_refresh(live), name="watch-draw")
            error = await follower.run()
            drawing.cancel()
    raise error


async def _refresh(live: Live) -> None:
    while True:
        live.refresh()
        await asyncio.sleep(1 / _FRAMES_PER_S)
