"""An exception that nobody foresaw ends one view, not the flush of all others."""

import pytest

from tests.unit.sessions.wire import HOST, VM, Desk, upsert
from xoproxy.cache.listing import Listing
from xoproxy.errors import CloseCode
from xoproxy.sessions.routing import Routing
from xoproxy.sessions.view_writer import ViewWriter
from xoproxy.sessions.window_group import WindowGroup

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
    desk.may_fail = True
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


def broken_where(monkeypatch, target, method, is_meant):
    """Have what some windows or lists do, step by step, fail."""
    original = getattr(target, method)

    def broken(self, *args):
        if is_meant(self):
            fail()
        yield from original(self, *args)

    monkeypatch.setattr(target, method, broken)


def test_a_fault_in_a_list_ends_its_windows_only(desk, monkeypatch):
    halted = connected(desk, WINDOW | {"filter": "power_state:Halted"})
    windows = [connected(desk, WINDOW | {"window": [0, count]}) for count in (5, 6)]
    with monkeypatch.context() as patched:
        broken_where(patched, Listing, "_read", lambda listing: listing.scope.filter is not None)
        desk.commit(vm("z"))
        desk.flush()
    assert halted.line.closed is not None
    assert [types(client.hears()) for client in windows] == [["patch"], ["patch"]]
    assert desk.hub.counters.faults == 1


@pytest.mark.parametrize("method", ["refresh", "begin"])
def test_a_fault_in_a_window_ends_it_only(desk, monkeypatch, method):
    with monkeypatch.context() as patched:
        broken_where(patched, WindowGroup, method, lambda group: group.span.count == 6)
        clients = [connected(desk, WINDOW | {"window": [0, count]}) for count in (5, 6, 7)]
        desk.commit(vm("z"))
        desk.flush()
    assert [client.line.closed is not None for client in clients] == [False, True, False]
    assert [types(client.hears()) for client in clients] == [["patch"], [], ["patch"]]
    (fault,) = desk.hub.take_faults()
    assert fault.where == "windows 2"


def test_a_fault_while_a_list_is_built_ends_its_windows_only(desk, monkeypatch):
    window = connected(desk, WINDOW)
    with monkeypatch.context() as patched:
        patched.setattr(Listing, "build", fail)
        other = desk.connect()
        other.subscribes(1, WINDOW | {"filter": "power_state:Halted"})
        desk.flush()
    assert other.line.closed is not None
    assert window.line.closed is None
    assert not desk.hub.has_work


def test_what_was_on_its_way_when_the_connection_was_lost_is_left_undone(desk, monkeypatch):
    client = connected(desk, WINDOW)
    with monkeypatch.context() as patched:
        patched.setattr(Listing, "read", fail)
        desk.commit(vm("z"))
        desk.flush()
    assert client.line.closed is not None
    client.says("window", id=1, window=[1, 5])
    client.says("subscribe", id=2, query=HOSTS)
    assert client.says("call", id=3, pool="p", method="VM.start", params=[]) is None
    desk.add_pool("q")
    client.session.pool_added("q")
    client.session.rights_changed()
    assert client.hears() == []
    assert not client.client.members
    assert not desk.hub.windows.groups
