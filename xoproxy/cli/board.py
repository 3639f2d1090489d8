"""The live table of `watch`: listens to a `Follower`, draws what is held to fit the terminal."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from xoproxy.cli.columns import age, cell, columns, harmless, header, moment, natural, size
from xoproxy.client.connection import Connection
from xoproxy.client.document import Delta
from xoproxy.client.errors import Error
from xoproxy.client.events import Changed, Event, Failed
from xoproxy.client.protocol import Protocol
from xoproxy.client.subscription import Slot

OBJECTS, LINKS, NAMES = 1, 2, 3
"""Ids of the subscriptions: what is asked for, the pools' links, names that references lead to."""

_RATE_WINDOW_S = 5.0
_HIGHLIGHT_S = 2.0
_STATUS_LINES = 2
_TABLE_LINES = 3
"""Lines of a table that are no rows: its title, its head, and how many rows do not fit."""
_STATE_STYLES = {"live": "green", "stale": "yellow", "connecting": "yellow", "error": "red"}

Place = tuple[str, str, str]
"""pool, class, key"""


class Rate:
    """Counts per second over the last few seconds."""

    def __init__(self) -> None:
        self.total = 0
        self._recent: deque[tuple[float, int]] = deque()

    def add(self, count: int, now_s: float) -> None:
        self.total += count
        self._recent.append((now_s, count))
        self._forget(now_s)

    def per_second(self, now_s: float) -> float:
        self._forget(now_s)
        return sum(count for _, count in self._recent) / _RATE_WINDOW_S

    def _forget(self, now_s: float) -> None:
        while self._recent and self._recent[0][0] < now_s - _RATE_WINDOW_S:
            self._recent.popleft()


@dataclass(slots=True)
class Row:
    """One line of a table: its place, the object, and what it is ordered by."""

    place: Place
    record: Mapping[str, Any]
    order: tuple[Any, ...] = field(default=())


class Board:
    """What is seen of a proxy; fits `Observer`.

    Args:
        url: shown.
        protocol: what is held.
        asked: fields asked for on the command line.
        now: a monotonic clock, in seconds.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        url: str,
        protocol: Protocol,
        asked: Sequence[str],
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._protocol = protocol
        self._url = url
        self._asked = asked
        self._now = now
        self._wall = wall
        self._connection: Connection | None = None
        self._received_before = 0
        self._rate = Rate()
        self._changed_at_s: dict[Place, float] = {}
        self._trouble = "connecting"
        self._retry_at_s = 0.0

    # --- what happens --------------------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        self._connection = connection

    def disconnected(self, events: Sequence[Event]) -> None:
        del events
        if self._connection is not None:
            self._received_before += self._connection.received_bytes
        self._connection = None

    def waiting(self, error: Error, pause_s: float) -> None:
        self._trouble = str(error)
        self._retry_at_s = self._now() + pause_s

    def received(self, message: object, events: Sequence[Event]) -> None:
        """Note what changed; raise what the proxy says against what was asked for."""
        is_news = isinstance(message, Mapping) and message.get("type") == "patch"
        for event in events:
            match event:
                case Failed(id_, error) if id_ == OBJECTS:
                    raise error
                case Changed(slot, deltas) if slot.subscription.id == OBJECTS and is_news:
                    self._note(slot.pool or "", deltas)
                case _:
                    pass

    def _note(self, pool: str, deltas: Sequence[Delta]) -> None:
        now = self._now()
        if deltas:
            self._rate.add(len(deltas), now)
        for cls, key, _, after in deltas:
            if after is None:
                self._changed_at_s.pop((pool, cls, key), None)
            else:
                self._changed_at_s[pool, cls, key] = now

    # --- how it looks --------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw everything into the height that there is."""
        del console
        height = (options.height or options.size.height) - _STATUS_LINES
        yield Group(*self._tables(height), self._pools(), self._status())

    def _tables(self, height: int) -> Iterator[RenderableType]:
        rows = self._rows()
        if not rows:
            asked = self._protocol.subscriptions.get(OBJECTS)
            is_loading = asked is None or not asked.slots or not asked.complete
            yield Text("loading ..." if is_loading else "nothing to show")
            return
        room = height // len(rows) - _TABLE_LINES
        for cls, found in sorted(rows.items()):
            found.sort(key=lambda row: row.order)
            yield self._table(cls, found, max(room, 1))

    def _views(self, subscription: int = OBJECTS) -> Mapping[str, Slot]:
        asked = self._protocol.subscriptions.get(subscription)
        return {} if asked is None else {pool or "": slot for pool, slot in asked.slots.items()}

    def _rows(self) -> dict[str, list[Row]]:
        rows: dict[str, list[Row]] = {}
        names = self._pool_names()
        for pool, view in self._views().items():
            for cls, objects in view.shown.classes.items():
                first = columns(cls, self._asked)[:1]
                rows.setdefault(cls, []).extend(
                    Row(
                        (pool, cls, key),
                        record,
                        (*(natural(str(record.get(n, ""))) for n in first), names.get(pool, pool)),
                    )
                    for key, record in objects.items()
                )
        return rows

    def _table(self, cls: str, rows: Sequence[Row], room: int) -> RenderableType:
        names = columns(cls, self._asked)
        several_pools = cls != "pool_link"
        table = Table(
            title=f"{cls}  {len(rows)}",
            title_justify="left",
            title_style="bold",
            box=None,
            expand=True,
            pad_edge=False,
            header_style="dim",
        )
        for number, name in enumerate(names):
            table.add_column(header(name), no_wrap=True, ratio=2 if number == 0 else 1)
        if several_pools:
            table.add_column("pool", no_wrap=True, ratio=1)
        table.add_column("changed", no_wrap=True, width=8, justify="right")
        pools, now = self._pool_names(), self._now()
        finds = {pool: self._names(pool) for pool in self._views()}
        for row in rows[:room]:
            pool = row.place[0]
            cells = [cell(cls, n, row.record.get(n), finds[pool].get) for n in names]
            if several_pools:
                cells.append(Text(harmless(pools.get(pool, pool)), no_wrap=True))
            changed = self._changed_at_s.get(row.place)
            passed = None if changed is None else now - changed
            cells.append(Text("" if passed is None else age(passed), style="dim"))
            fresh = passed is not None and passed < _HIGHLIGHT_S
            table.add_row(*cells, style="bold on grey23" if fresh else "")
        if len(rows) <= room:
            return table
        return Group(table, Text(f"... and {len(rows) - room} more", style="dim"))

    def _names(self, pool: str) -> dict[str, str]:
        """Map references of a pool to the names that we hold."""
        found: dict[str, str] = {}
        for subscription in (NAMES, OBJECTS):
            view = self._views(subscription).get(pool)
            for objects in view.shown.classes.values() if view else ():
                found.update(
                    (record["$ref"], record["name_label"])
                    for record in objects.values()
                    if "name_label" in record
                )
        return found

    def _links(self) -> Iterator[Mapping[str, Any]]:
        for view in self._views(LINKS).values():
            yield from view.shown.classes.get("pool_link", {}).values()

    def _pool_names(self) -> dict[str, str]:
        return {link["pool"]: link["name"] for link in self._links()}

    def _pools(self) -> Text:
        """Say of each pool how fresh its data is."""
        line = Text(no_wrap=True, overflow="ellipsis")
        links = {link["pool"]: link for link in self._links()}
        counts = Counter(link["state"] for link in links.values())
        for link in sorted(links.values(), key=lambda link: natural(link["name"])):
            state, since = link["state"], moment(link["since"])
            text = f"{link['name']} {state}"
            if state != "live" and since is not None:
                text += f" for {age(self._wall() - since.astimezone(UTC).timestamp())}"
            if link["error"] is not None and state != "live":
                text += f" ({link['error']['code']})"
            view = self._views().get(link["pool"])
            if view is not None:
                text += f" @{view.replica.position}"
            line.append(" \N{BULLET} ", style=_STATE_STYLES.get(state, "dim"))
            line.append(harmless(text), style="" if state == "live" else "yellow")
        if len(counts) > 1:
            told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            line = Text(f"pools: {told} ").append_text(line)
        return line

    def _status(self) -> Text:
        now = self._now()
        connection = self._connection
        line = Text(no_wrap=True, overflow="ellipsis", style="reverse")
        if connection is not None:
            line.append(" connected ", style="bold green")
        else:
            wait = max(self._retry_at_s - now, 0)
            line.append(harmless(f" {self._trouble}; again in {wait:.0f} s "), style="bold red")
        received = self._received_before + (connection.received_bytes if connection else 0)
        line.append(
            f" {self._url}   {self._rate.per_second(now):.1f} changes/s, {self._rate.total} in all"
            f"   {size(received)} received   {datetime.now(UTC).astimezone():%H:%M:%S}   "
            "Ctrl-C ends "
        )
        return line
