"""What a program sees: views, windows, changes, and when they end."""

import asyncio
import gc
from typing import Any

import pytest

from xoproxy.client import Client, Conflict, Disconnected, Error, Refused, connect
from xoproxy.client.protocol import Protocol
from xoproxy.client.view import View
from xoproxy.client.window import Window


class NoFollower:
    """Nobody is there; messages are handed in by the test."""

    def wake(self) -> None:
        pass


class Told:
    """A client that is told what happens."""

    def __init__(self, state: Any = None) -> None:
        self.protocol = Protocol(state)
        self.client = Client(self.protocol)
        self.client.follower = NoFollower()  # type: ignore[assignment]
        self.protocol.connected()
        self._last_view = 0

    def receive(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.client.received(message, self.protocol.receive(message))

    def view(self, **query: Any) -> View:
        return self.client._view({"classes": ["VM", "host"], **query})

    def window(self, offset: int = 0, count: int = 2) -> Window:
        query = {"classes": ["VM"], "window": [offset, count]}
        window = Window(self.client, self.protocol.subscribe(query))
        self.client._live[window.id] = window
        return window

    def show(self, view: View, pool: str, *rows: list[str], seq: int = 10) -> int:
        """Answer a subscription with a pool of VMs."""
        self._last_view += 1
        number = self._last_view
        self.receive(
            subscribed(view.id, info(number, pool, seq)),
            snapshot(number, seq, *rows),
        )
        return number


def info(number, pool="p", seq=10, mode="snapshot"):
    classes = ["VM", "host"] if pool else ["VM"]
    return {
        "view": number, "pool": pool, "epoch": "e", "seq": seq, "classes": classes, "mode": mode,
    }  # fmt: skip


def subscribed(id_, *views):
    return {"type": "subscribed", "id": id_, "views": list(views)}


def snapshot(view, seq, *rows, **more):
    return {
        "type": "snapshot", "view": view, "seq": seq, "last": True, "class": "VM",
        "fields": ["$ref", "name_label"], "keys": [row[0] for row in rows],
        "rows": [row[1:] for row in rows], **more,
    }  # fmt: skip


def patch(view, from_, *operations):
    ops = [dict(zip(("op", "path", "value"), o, strict=False)) for o in operations]
    return {"type": "patch", "view": view, "from": from_, "to": from_ + 1, "ops": ops}


def rename(key, name):
    return "replace", f"/VM/{key}/name_label", name


WEB, DB = ["a", "R:a", "web"], ["b", "R:b", "db"]


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def view(told):
    """A view of pool p with two VMs."""
    made = told.view()
    assert told.show(made, "p", WEB, DB) == 1
    return made


class TestView:
    def test_is_a_mapping_of_references_over_all_pools(self, told, view):
        told.show(view, "q", ["a", "R:c", "other"])
        assert set(view) == {"R:a", "R:b", "R:c"}
        assert len(view) == 3
        assert view["R:c"]["name_label"] == "other"
        assert view["R:c"].pool == "q"
        assert "R:z" not in view
        assert view.get("R:z") is None
        assert {pool: set(p) for pool, p in view.pools.items()} == {
            "p": {"R:a", "R:b"},
            "q": {"R:c"},
        }
        assert view.positions == {"p": 10, "q": 10}

    def test_says_so_when_a_reference_stands_in_two_pools(self, told, view):
        told.show(view, "q", WEB)
        with pytest.raises(KeyError, match=r"several pools \(p, q\)"):
            view["R:a"]
        assert view.pools["q"]["R:a"].pool == "q"
        assert len(list(view.objects())) == len(view) == 3

    def test_can_be_read_while_it_changes(self, told, view):
        names = []
        for obj in view.objects("VM"):
            names.append(obj["name_label"])
            told.receive(patch(1, 9 + len(names), ("remove", f"/VM/{obj.key}")))
        assert names == ["web", "db"]
        assert len(view) == 0

    def test_shows_the_old_until_the_new_is_whole(self, told, view):
        told.receive({"type": "reset", "view": 1, "reason": "x", "epoch": "f", "seq": 3})
        assert not view.is_current
        assert len(view) == 2
        told.receive(snapshot(1, 3, ["a", "R:a", "new"]))
        assert view.is_current
        assert {obj["name_label"] for obj in view.values()} == {"new"}

    def test_empties_when_its_pool_goes(self, told, view):
        changes = view.changes()
        gone = {"type": "reset", "view": 1, "reason": "pool_removed", "seq": 10, "gone": True}
        told.receive(gone)
        assert len(view) == 0
        assert view.pools == {}
        assert len(changes) == 2

    def test_objects_are_mappings_of_one_moment(self, told, view):
        before = view["R:a"]
        told.receive(patch(1, 10, rename("a", "new")))
        assert before["name_label"] == "web"
        assert dict(before) == {"$ref": "R:a", "name_label": "web"}
        assert before.record == {"name_label": "web"}
        assert before != view["R:a"]
        assert (before.seq, view["R:a"].seq) == (10, 11)
        assert repr(before) == "<VM R:a 'web'>"

    def test_what_began_anew_cannot_be_expected(self, told, view):
        before = view["R:a"]
        assert before.expectation == {"view": 1, "key": "a", "seq": 10}
        told.receive({"type": "moved", "view": 1, "as": 5, "seq": 10})
        assert before.expectation == {"view": 5, "key": "a", "seq": 10}
        told.receive({"type": "reset", "view": 5, "reason": "x", "epoch": "f", "seq": 3})
        assert before.expectation is None


class TestChanges:
    async def test_of_one_object_become_one(self, told, view):
        changes = view.changes()
        told.receive(patch(1, 10, rename("a", "x")), patch(1, 11, rename("a", "y")))
        told.receive(
            patch(1, 12, ("add", "/VM/c", {"$ref": "R:c"})), patch(1, 13, ("remove", "/VM/b"))
        )
        first, second, third = [await anext(changes) for _ in range(3)]
        assert (first.before["name_label"], first.after["name_label"]) == ("web", "y")
        assert first.fields == {"name_label"}
        assert (second.kind, second.ref, second.before) == ("added", "R:c", None)
        assert (third.kind, third.ref, third.after) == ("removed", "R:b", None)
        assert third.fields == {"name_label"}

    def test_that_cancel_out_are_none(self, told, view):
        changes = view.changes()
        told.receive(
            patch(1, 10, rename("a", "x"), ("add", "/VM/c", {"$ref": "R:c"})),
            patch(1, 11, rename("a", "web"), ("remove", "/VM/c")),
        )
        assert len(changes) == 0

    async def test_of_an_object_that_left_and_came_again_are_one(self, told, view):
        changes = view.changes()
        told.receive(patch(1, 10, ("remove", "/VM/a")))
        told.receive(patch(1, 11, ("add", "/VM/c", {"$ref": "R:a", "name_label": "back"})))
        change = await anext(changes)
        assert (change.kind, change.after["name_label"]) == ("changed", "back")
        assert len(changes) == 0

    def test_are_bounded_by_the_objects_there_are(self, told, view):
        changes = view.changes()
        for seq in range(10, 500):
            told.receive(patch(1, seq, rename("a", str(seq)), rename("b", str(seq))))
        assert len(changes) == 2

    def test_that_nobody_reads_any_more_are_not_kept(self, view):
        changes = view.changes()
        assert len(view._listeners) == 1
        del changes
        gc.collect()
        assert len(view._listeners) == 0

    async def test_come_to_an_end_with_the_view(self, told, view):
        changes = view.changes()
        told.receive(patch(1, 10, rename("a", "x")))
        async with asyncio.TaskGroup() as tasks:
            closing = tasks.create_task(view.close())
            await asyncio.sleep(0)
            told.receive({"type": "result", "id": view.id, "result": None})
            await closing
        assert [change.ref async for change in changes] == ["R:a"]
        assert [change async for change in view.changes()] == []

    async def test_end_by_the_error_that_ended_all(self, told, view):
        changes = view.changes()
        told.client._end(Disconnected("over"))
        with pytest.raises(Disconnected, match="over"):
            await anext(changes)
        with pytest.raises(Disconnected):
            await view.until(lambda _: False)

    async def test_since_a_state_are_told_to_the_first_who_listens(self, told, view):
        told.receive({"type": "bookmark", "view": 1, "seq": 10, "resume": "t"})
        again = Told(told.client.state())
        view = again.view()
        assert len(view) == 2
        assert again.protocol.outgoing[-1]["resume"] == [{"token": "t", "seq": 10, "compare": True}]
        again.receive(subscribed(view.id, info(3, mode="resume")), patch(3, 10, rename("a", "x")))
        assert [change.ref for change in [await anext(view.changes())]] == ["R:a"]
        assert len(view.changes()) == 0


class TestUntil:
    async def test_returns_what_the_predicate_found(self, view):
        assert await view.until(lambda v: v.get("R:a")) == view["R:a"]

    async def test_looks_again_whenever_something_happens(self, told, view):
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(view.until(lambda v: v["R:a"]["name_label"] == "x"))
            for name in ("w", "x"):
                await asyncio.sleep(0)
                assert not waiting.done()
                told.receive(patch(1, view.positions["p"], rename("a", name)))
            assert await waiting is True

    async def test_of_an_empty_view_wakes_too(self, told):
        view = told.view()
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(view.until(lambda v: v.is_current))
            await asyncio.sleep(0)
            told.show(view, "p")
            assert await waiting


class TestRefused:
    async def test_subscriptions_end_their_view(self, told):
        view = told.view()
        error = {
            "type": "error",
            "id": view.id,
            "code": "LIMIT",
            "message": "enough",
            "retry": False,
        }
        told.receive(error)
        with pytest.raises(Refused, match="enough"):
            await view.until(lambda _: False)

    async def test_expectations_are_conflicts(self, told, view):
        seen = view["R:a"]
        told.client._signed_in = True
        told.receive({"type": "reset", "view": 1, "reason": "x", "epoch": "f", "seq": 3})
        with pytest.raises(Conflict, match="began anew"):
            await told.client.call("p", "VM.destroy", expect=[seen], self="R:a")


class TestWindow:
    @pytest.fixture
    def window(self, told):
        made = told.window()
        told.receive(
            subscribed(made.id, info(7, None)),
            snapshot(7, 1, DB, WEB, order=["a", "b"], total=9, facets={"f": {"x": 9}}),
        )
        return made

    def test_shows_its_rows_in_order(self, window):
        assert [row.key for row in window] == ["a", "b"]
        assert (len(window), window.total, window.facets) == (2, 9, {"f": {"x": 9}})
        assert (window.offset, window.count) == (0, 2)

    async def test_is_moved_when_its_other_view_is_there(self, told, window):
        async with asyncio.TaskGroup() as tasks:
            moving = tasks.create_task(window.move(1))
            await asyncio.sleep(0)
            assert told.protocol.outgoing[-1] == {
                "type": "window",
                "id": window.id,
                "window": [1, 2],
            }
            told.receive(patch(7, 1, ("replace", "/total", 8)))  # which is no answer
            await asyncio.sleep(0)
            assert not moving.done()
            told.receive(patch(7, 2, ("remove", "/VM/a"), ("replace", "/order", ["b"])))
            told.receive({"type": "moved", "view": 7, "as": 9, "seq": 3})
            await moving
        assert [row.key for row in window] == ["b"]

    async def test_that_is_where_it_was_to_go_stays(self, told, window):
        told.protocol.outgoing.clear()
        await window.move(0, 2)
        assert not told.protocol.outgoing

    async def test_that_may_not_move_stays(self, told, window):
        async with asyncio.TaskGroup() as tasks:
            moving = tasks.create_task(refused_move(window))
            await asyncio.sleep(0)
            error = {"type": "error", "code": "BAD_QUERY", "message": "too many", "retry": False}
            told.receive(error | {"id": window.id})
            await moving
        assert (window.offset, window.count, len(window)) == (0, 2, 2)


async def refused_move(window):
    with pytest.raises(Refused, match="too many"):
        await window.move(0, 10_000)


@pytest.mark.parametrize(
    "credentials",
    [{}, {"username": "a"}, {"password": "b"}, {"token": "t", "username": "a", "password": "b"}],
)
def test_credentials_are_either_or(credentials):
    with pytest.raises(ValueError, match="sign in with"):
        connect("http://127.0.0.1:8086", **credentials)


@pytest.mark.parametrize("state", [{"version": 1}, {"version": 1, "subscriptions": [{}]}])
def test_what_is_no_state_is_said(state):
    with pytest.raises(ValueError, match=r"Client\.state"):
        connect("http://127.0.0.1:8086", token="t", state=state)


def test_a_state_of_another_version_is_worth_nothing():
    connect("http://127.0.0.1:8086", token="t", state={"version": 99})


def test_all_errors_have_one_root():
    assert issubclass(Refused, Error)
