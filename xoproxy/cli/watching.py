"""What `watch` does: asks, follows, and draws or prints, until it is ended."""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live

from xoproxy.cache.schema import SCHEMA
from xoproxy.cli.access import Access
from xoproxy.cli.board import LINKS, NAMES, OBJECTS, Board
from xoproxy.cli.columns import columns, targets
from xoproxy.cli.exits import Exit
from xoproxy.cli.live import Connection, Follower, LiveError, NotSignedIn, ProxyUnreachable
from xoproxy.cli.replica import Message, Operation, Replica, ViewReplica
from xoproxy.errors import ConfigError
from xoproxy.model import PROXY_POOL, XapiClass

_FRAMES_PER_S = 4
_MACHINES_ONLY = "!is_a_template !is_a_snapshot !is_control_domain"

Query = dict[str, Any]


class QueryRefused(LiveError):  # noqa: N818 - reads as what happened
    """The proxy does not understand what was asked for."""


def run(
    where: Access,
    classes: Sequence[str],
    filter_: str | None,
    fields: Sequence[str],
    subprotocol: str,
    *,
    table: bool,
) -> None:
    """Watch until somebody ends it.

    Raises:
        LiveError, ConfigError, KeyboardInterrupt, asyncio.CancelledError: it ended.
    """
    subscriptions = _subscriptions(classes, filter_, fields, table=table)
    if table:
        running = _draw(where, subscriptions, fields, subprotocol)
    else:
        running = _print(where, subscriptions, subprotocol)
    asyncio.run(_until_terminated(running))


def exit_code(error: LiveError) -> Exit:
    """Return what the command ends with."""
    match error:
        case QueryRefused():
            return Exit.USAGE
        case ProxyUnreachable():
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


def _refused(message: Message) -> None:
    data = message.get("data") or {}
    position, hint = data.get("position"), data.get("hint")
    text = message["message"]
    if position is not None and data.get("at", "/filter") == "/filter":
        text += f" (at character {position + 1})"
    raise QueryRefused(f"{text}: {hint}" if hint else text)


class _Lines:
    """Prints each message; fits `Observer`."""

    def connected(self, connection: Connection) -> None:
        pass

    def waiting(self, reason: str, delay_s: float) -> None:
        print(f"xoproxy: {reason}; again in {delay_s:.1f} s", file=sys.stderr)

    def received(
        self, message: Message, view: ViewReplica | None, operations: Sequence[Operation]
    ) -> None:
        del view, operations
        print(json.dumps(message, ensure_ascii=False, separators=(",", ":")), flush=True)
        if message["type"] == "error":
            _refused(message)


async def _print(where: Access, subscriptions: Mapping[int, Query], subprotocol: str) -> None:
    await Follower(where, subscriptions, _Lines(), Replica(), subprotocol).run()


async def _draw(
    where: Access, subscriptions: Mapping[int, Query], fields: Sequence[str], subprotocol: str
) -> None:
    replica = Replica()
    board = Board(where.url, replica, fields, _refused)
    follower = Follower(where, subscriptions, board, replica, subprotocol)
    live = Live(board, console=Console(), screen=True, auto_refresh=False)
    try:
        with live:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(follower.run(), name="watch-follow")
                while True:
                    live.refresh()
                    await asyncio.sleep(1 / _FRAMES_PER_S)
    except* (LiveError, ConfigError) as group:
        raise group.exceptions[0] from None
