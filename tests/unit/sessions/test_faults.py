"""An exception that nobody foresaw ends one view, not the flush of all others."""

import pytest

from tests.unit.sessions.wire import HOST, VM, Desk, upsert
from xoproxy.errors import CloseCode
from xoproxy.sessions.routing import Routing
from xoproxy.sessions.view_writer import ViewWriter

HOSTS = {"classes": ["host"]}
WINDOW = {"classes": ["VM"], "window": [0, 5]}


class UnforeseenError(Exception):
    pass


def fail(*_):
    raise UnforeseenError


def vm(label):
    return upsert("a", VM, name_label=label)


def host(label):
    return upsert("h", HOST, name_label=label)


@pytest.fixture
def desk():
    desk = Desk()
    desk.commit(vm("x"), host("y"))
    return desk


def connected(desk, query=None):
    client = desk.connect()
    client.subscribes(1, query)
    desk.flush()
    client.hears()
    return client


def break_views_of(monkeypatch, cls, method):
    """Have what groups that show a class do fail."""
    original = getattr(ViewWriter, method)

    def broken(self, *args, **kwargs):
        return fail() if cls in self._view.classes else original(self, *args, **kwargs)

    monkeypatch.setattr(ViewWriter, method, broken)


def types(messages):
    return [m["type"] for m in messages]


def test_the_members_of_the_view_begin_again_and_others_notice_nothing(desk, monkeypatch):
    vms, hosts = connected(desk), connected(desk, HOSTS)
    with monkeypatch.context() as patched:
        break_views_of(patched, "VM", "encode_between")
        desk.commit(vm("z"), host("z"))
        desk.flush()
    assert types(hosts.hears()) == ["patch"]
    reset, snapshot, _ = vms.hears()
    assert (reset["type"], reset["reason"]) == ("reset", "state_lost")
    assert snapshot["rows"][0][1] == "z"
    (fault,) = desk.hub.take_faults()
    assert isinstance(fault.error, UnforeseenError)
    assert desk.hub.take_faults() == []

    desk.commit(vm("well again"))
    desk.flush()
    assert types(vms.hears()) == ["patch"]


def test_when_it_fails_again_its_clients_are_disconnected(desk, monkeypatch):
    vms, hosts = connected(desk), connected(desk, HOSTS)
    with monkeypatch.context() as patched:
        break_views_of(patched, "VM", "encode_between")
        break_views_of(patched, "VM", "_write_rows")
        desk.commit(vm("z"))
        desk.flush()
    assert vms.line.closed is not None
    assert vms.line.closed[0] == CloseCode.STATE_LOST
    assert hosts.line.closed is None
    assert desk.hub.counters.faults == 2
    assert len(desk.hub.groups) == 1

    assert connected(desk).client.members


def test_one_that_failed_a_while_ago_may_try_again(desk, monkeypatch):
    client = connected(desk)
    for _ in range(3):
        with monkeypatch.context() as patched:
            break_views_of(patched, "VM", "encode_between")
            desk.commit(vm(f"z{desk.store.seq}"))
            desk.flush()
        assert "reset" in types(client.hears())
        desk.bookmarks()
    assert client.line.closed is None


def test_a_snapshot_that_cannot_be_made_is_tried_once_more(desk, monkeypatch):
    client = desk.connect()
    client.subscribes()
    tried = []
    original = ViewWriter._write_rows

    def once(self, *args, **kwargs):
        tried.append(self)
        return fail() if len(tried) == 1 else original(self, *args, **kwargs)

    monkeypatch.setattr(ViewWriter, "_write_rows", once)
    desk.flush()
    assert types(client.hears()) == ["reset", "snapshot", "bookmark"]


def test_when_nobody_can_say_whom_a_change_concerns_all_read_it(desk, monkeypatch):
    client = desk.connect()
    client.subscribes(1, {"classes": ["VM"], "filter": "tags:red"})
    desk.flush()
    client.hears()
    with monkeypatch.context() as patched:
        patched.setattr(Routing, "_concerned", fail)
        desk.commit(upsert("b", VM, tags=["red"]))
        desk.flush()
    assert types(client.hears()) == ["patch"]
    assert desk.hub.counters.faults == 1


def test_a_fault_in_a_window_ends_windows_only(desk, monkeypatch):
    window, vms = connected(desk, WINDOW), connected(desk)
    with monkeypatch.context() as patched:
        patched.setattr("xoproxy.cache.listing.Listing.read", fail)
        desk.commit(vm("z"))
        desk.flush()
    assert window.line.closed is not None
    assert types(vms.hears()) == ["patch"]
    desk.commit(vm("zz"))
    desk.flush()
    assert types(vms.hears()) == ["patch"]
