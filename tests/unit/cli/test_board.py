"""What the table shows, drawn into a terminal of a given size."""

import pytest
from rich.console import Console

from xoproxy.cli.board import LINKS, NAMES, OBJECTS, Board, Rate
from xoproxy.client.errors import BadQuery, Disconnected
from xoproxy.client.protocol import Protocol


def patch(from_, to, *ops, view):
    return {"type": "patch", "view": view, "from": from_, "to": to, "ops": list(ops)}


def rename(key, name):
    return {"op": "replace", "path": f"/VM/{key}/name_label", "value": name}


class World:
    """A board, the protocol's core behind it, and a clock to turn."""

    def __init__(self, fields=()):
        self.protocol = Protocol()
        self.protocol.connected()
        self.now_s = 1000.0
        self.board = Board(
            "http://proxy:8086",
            self.protocol,
            fields,
            now=lambda: self.now_s,
            wall=lambda: 1_700_000_120.0,
        )

    def receive(self, *messages):
        for message in messages:
            self.board.received(message, self.protocol.receive(message))

    def show(self, id_, view, pool, cls, *records):
        """Subscribe and load one class of a pool."""
        if id_ not in self.protocol.subscriptions:
            self.protocol.subscribe({"classes": [cls]}, id_)
        names = list(dict.fromkeys(name for record in records for name in record))
        info = {"view": view, "pool": pool, "epoch": "e", "seq": 10, "classes": [cls]}
        self.receive(
            {"type": "subscribed", "id": id_, "views": [info | {"mode": "snapshot"}]},
            {
                "type": "snapshot",
                "view": view,
                "seq": 10,
                "last": True,
                "class": cls,
                "fields": names,
                "keys": [f"k{number}" for number in range(len(records))],
                "rows": [[record.get(name) for name in names] for record in records],
            },
        )

    def lines(self, width=100, height=24):
        console = Console(width=width, height=height, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self.board, height=height, end="")
        return [line.rstrip() for line in capture.get().splitlines()]


def vm(name, state="Running", **more):
    return {
        "$ref": f"OpaqueRef:{name}",
        "name_label": name,
        "power_state": state,
        "resident_on": "OpaqueRef:h1",
        "VCPUs_at_startup": 2,
        "memory_dynamic_max": 4 << 30,
        "tags": [],
        **more,
    }


def link(pool, name, state="live", error=None):
    return {
        "$ref": f"OpaqueRef:link-{pool}",
        "pool": pool,
        "name": name,
        "state": state,
        "since": "20231114T22:13:20Z",  # 1,700,000,000: two minutes before the board's clock
        "error": error,
        "objects": 9,
    }


@pytest.fixture
def world():
    world = World()
    world.show(LINKS, 1, "proxy", "pool_link", link("p", "lab"))
    world.show(OBJECTS, 2, "p", "VM", vm("web-10"), vm("web-2", "Halted"), vm("[red]db[/red]"))
    world.show(NAMES, 3, "p", "host", {"$ref": "OpaqueRef:h1", "name_label": "xcp-1"})
    return world


def test_rows_are_ordered_by_name_and_tell_pool_and_host(world):
    lines = world.lines()
    assert lines[0].startswith("VM  3")
    names = [line.split()[0] for line in lines[2:5]]
    assert names == ["[red]db[/red]", "web-2", "web-10"]
    assert "Halted" in lines[3]
    assert all("xcp-1" in line and "lab" in line and "4 GiB" in line for line in lines[2:5])


def test_before_anything_came_it_says_so():
    assert World().lines()[0] == "loading ..."


def test_an_empty_result_says_so(world):
    world.receive(
        patch(10, 11, *({"op": "remove", "path": f"/VM/k{n}"} for n in (0, 1, 2)), view=2)
    )
    assert any(line.startswith("VM  0") for line in world.lines())


def test_it_fits_the_terminal_and_says_what_does_not(world):
    world.show(OBJECTS, 4, "q", "VM", *(vm(f"vm-{n}") for n in range(50)))
    lines = world.lines(width=80, height=20)
    assert len(lines) <= 20
    assert all(len(line) <= 80 for line in lines)
    assert any(line.endswith("more") for line in lines)
    assert "changes/s" in lines[-1]


def test_a_change_shows_its_age(world):
    world.receive(patch(10, 11, rename("k0", "web-11"), view=2))
    world.now_s += 7
    (line,) = [line for line in world.lines() if line.startswith("web-11")]
    assert line.endswith("7 s")
    assert "0.0 changes/s, 1 in all" in world.lines()[-1]


def test_changes_are_counted_per_second(world):
    for n in range(10):
        world.receive(patch(10 + n, 11 + n, rename("k0", str(n)), view=2))
    assert "2.0 changes/s, 10 in all" in world.lines()[-1]


def test_what_is_there_to_begin_with_is_no_change(world):
    assert "0.0 changes/s, 0 in all" in world.lines()[-1]


def test_links_say_since_when_they_are_stale(world):
    world.show(
        LINKS,
        5,
        "proxy",
        "pool_link",
        link("p", "lab", "stale", {"code": "TIMEOUT", "message": "No answer."}),
        link("q", "office"),
    )
    (line,) = [line for line in world.lines() if "lab stale" in line]
    assert "lab stale for 2 min (TIMEOUT) @10" in line
    assert "1 live, 1 stale" in line
    assert "office live" in line


def test_while_disconnected_it_says_why_and_until_when(world):
    world.board.disconnected(())
    world.board.waiting(Disconnected("connection refused"), 4.0)
    world.now_s += 1
    assert "connection refused; again in 3 s" in world.lines()[-1]
    assert any(line.startswith("web-2") for line in world.lines())


def test_asked_for_fields_are_the_columns():
    world = World(["uuid", "power_state"])
    world.show(
        OBJECTS, 1, "p", "VM", {"$ref": "OpaqueRef:1", "uuid": "u1", "power_state": "Paused"}
    )
    lines = world.lines()
    assert lines[1].split() == ["uuid", "power", "pool", "changed"]
    assert lines[2].split() == ["u1", "Paused", "p"]


def test_a_refused_query_ends_the_watching_and_others_do_not():
    world = World()
    error = {"type": "error", "code": "BAD_QUERY", "message": "no", "retry": False}
    for id_ in (LINKS, OBJECTS):
        world.protocol.subscribe({"classes": ["VM"]}, id_)
    world.receive(error | {"id": LINKS})
    with pytest.raises(BadQuery):
        world.receive(error | {"id": OBJECTS})


def test_a_rate_forgets():
    rate = Rate()
    rate.add(10, 0.0)
    assert rate.per_second(4.9) == 2.0
    assert rate.per_second(5.1) == 0.0
    assert rate.total == 10
