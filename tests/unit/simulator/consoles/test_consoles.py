"""Which console is meant, and when a viewer has to go."""

import pytest

from xoproxy.simulator.consoles.consoles import Consoles, NoConsoleError
from xoproxy.simulator.consoles.screen import COLUMNS
from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel

HOST, OTHER = "OpaqueRef:host", "OpaqueRef:other"
VM, SCREEN, SERIAL = "OpaqueRef:vm", "OpaqueRef:rfb", "OpaqueRef:vt100"


@pytest.fixture
def db() -> Database:
    database = Database(DataModel.load())
    running = {"uuid": "vm-u", "name_label": "web", "power_state": "Running", "resident_on": HOST}
    database.load(
        {
            "host": {HOST: {"uuid": "h"}, OTHER: {"uuid": "o"}},
            "VM": {VM: {**running, "metrics": "m"}},
            "VM_metrics": {"m": {"start_time": "20260401T12:00:00Z"}},
            "console": {
                SERIAL: {"uuid": "s-u", "VM": VM, "protocol": "vt100"},
                SCREEN: {"uuid": "r-u", "VM": VM, "protocol": "rfb"},
            },
        }
    )
    return database


@pytest.fixture
def consoles(db) -> Consoles:
    return Consoles(db)


@pytest.mark.parametrize(
    ("ref", "uuid", "found"),
    [
        (SERIAL, None, SERIAL),
        (None, "s-u", SERIAL),
        (VM, None, SCREEN),
        (None, "vm-u", SCREEN),
        (SERIAL, "vm-u", SCREEN),  # the uuid counts
    ],
)
def test_consoles_have_several_names(consoles, ref, uuid, found):
    assert consoles.find(ref, uuid) == found


@pytest.mark.parametrize(("ref", "uuid"), [(None, None), (HOST, None), (None, "h"), (SERIAL, "no")])
def test_other_names_mean_nothing(consoles, ref, uuid):
    with pytest.raises(NoConsoleError):
        consoles.find(ref, uuid)


def test_a_vm_without_a_screen_has_no_console_of_its_own(consoles, db):
    db.destroy("console", SCREEN)

    with pytest.raises(NoConsoleError):
        consoles.find(VM, None)


def test_a_console_is_shown_where_its_vm_runs(consoles, db):
    assert consoles.is_shown(SCREEN, HOST)
    assert not consoles.is_shown(SCREEN, OTHER)
    db.write("VM", VM, "power_state", "Paused")
    assert not consoles.is_shown(SCREEN, HOST)


def test_viewers_count_by_vm(consoles):
    one = consoles.begin(SCREEN, HOST, "root")
    two = consoles.begin(SERIAL, HOST, "ann")
    assert consoles.viewers_of(VM) == ["root", "ann"]
    consoles.end(one)
    consoles.end(two)
    assert consoles.viewers_of(VM) == []


def test_the_database_is_watched_only_while_somebody_looks(consoles, db):
    before = list(db.observers)
    viewing = consoles.begin(SCREEN, HOST, "root")
    assert len(db.observers) == len(before) + 1
    consoles.end(viewing)
    assert db.observers == before


@pytest.mark.parametrize(
    ("field", "value", "ended"),
    [
        ("power_state", "Paused", False),
        ("name_label", "new", False),
        ("resident_on", OTHER, True),
        ("resident_on", "OpaqueRef:NULL", True),
    ],
)
def test_a_viewer_goes_when_its_vm_does(consoles, db, field, value, ended):
    viewing = consoles.begin(SCREEN, HOST, "root")
    db.write("VM", VM, field, value)

    assert viewing.ended.is_set() == ended


def test_only_the_viewers_of_a_console_that_goes_have_to(consoles, db):
    screen, serial = (consoles.begin(ref, HOST, "root") for ref in (SCREEN, SERIAL))
    db.destroy("console", SERIAL)

    assert (screen.ended.is_set(), serial.ended.is_set()) == (False, True)


def test_what_a_screen_shows_stays_until_its_console_goes(consoles, db):
    consoles.screen(SCREEN).type("x")
    assert consoles.screen(SCREEN).characters[2 * COLUMNS + 2] == "x"
    db.destroy("console", SCREEN)
    again = db.create("console", {"uuid": "n-u", "VM": VM, "protocol": "rfb"})
    assert consoles.screen(again).characters[2 * COLUMNS + 2] == " "
    with pytest.raises(NoConsoleError):
        consoles.screen(SERIAL)


def test_a_serial_line_tells_name_and_uptime_of_its_vm(consoles, db, monkeypatch):
    monkeypatch.setattr(db, "time", lambda: 1_775_044_800.0 + 3 * 3600 + 60)
    db.write("VM", VM, "name_label", "web\r\n1")
    viewer = consoles.viewer(consoles.begin(SERIAL, HOST, "root"), lambda: None)
    viewer.receive(b"root\rx\ruptime\r")
    heard = viewer.take().decode()

    assert "up 0 days, 3:01\r\n" in heard
    assert heard.endswith("\r\nroot@web1:~$ ")  # a name does not move the cursor
