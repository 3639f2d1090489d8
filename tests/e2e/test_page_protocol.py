"""The page against a scripted proxy: what the protocol allows and the present proxy seldom says."""

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.e2e.browser import chromium, tab
from tests.integration.support import proxy_on

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LINKS, MACHINES = 1, 2


class Script:
    """Plays the proxy: takes what the page sends, says what the test says."""

    def __init__(self):
        self.connections = 0
        self._arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ws: Any = None

    def accept(self, ws):
        self.connections += 1
        self._ws = ws
        ws.on_message(lambda text: self._arrived.put_nowait(json.loads(text)))

    async def hear(self, type_, id_=None):
        async with asyncio.timeout(15):
            while True:
                message = await self._arrived.get()
                if message["type"] == type_ and message.get("id") == id_:
                    return message

    def say(self, *messages):
        for message in messages:
            self._ws.send(json.dumps(message))

    async def close(self, code):
        await self._ws.close(code=code)

    async def welcome(self):
        """Let the page in, up to its subscriptions; returns what it wants to resume."""
        await self.hear("auth")
        user = {"name": "admin", "role": "administrator"}
        self.say({"type": "welcome", "server": "script", "user": user})
        return {id_: await self.hear("subscribe", id_) for id_ in (LINKS, MACHINES)}

    def load(self, *rows, view=20, epoch="e", seq=10, token="token"):
        """Show a live pool with these VMs: (key, name)."""
        self.say(
            subscribed(LINKS, 10, "proxy", ["pool_link"]),
            snapshot(
                10, "pool_link", ["$ref", "pool", "name", "state"], ("k", "R:l", "p", "lab", "live")
            ),
            subscribed(
                MACHINES, view, "p", ["VM", "VM_guest_metrics", "host"], epoch=epoch, seq=seq
            ),
            machines(*rows, view=view, seq=seq),
            {"type": "bookmark", "view": view, "seq": seq, "resume": token},
        )


def subscribed(id_, view, pool, classes, *, mode="snapshot", epoch="e", seq=10):
    info = {"view": view, "pool": pool, "epoch": epoch, "seq": seq, "classes": classes}
    return {"type": "subscribed", "id": id_, "views": [info | {"mode": mode}]}


def snapshot(view, cls, fields, *rows, seq=10, last=True):
    keys = [key for key, *_ in rows]
    values = [list(values) for _, *values in rows]
    message = {"type": "snapshot", "view": view, "seq": seq, "last": last, "class": cls}
    return message | {"fields": fields, "keys": keys, "rows": values}


def machines(*rows, view=20, seq=10, last=True):
    fields = ["$ref", "name_label", "power_state", "guest_metrics"]
    full = ((key, f"R:{key}", name, "Running", f"R:g{key}") for key, name in rows)
    return snapshot(view, "VM", fields, *full, seq=seq, last=last)


def patch(from_, to, *ops, view=20, **more):
    return {"type": "patch", "view": view, "from": from_, "to": to, "ops": list(ops), **more}


def rename(key, name):
    return {"op": "replace", "path": f"/VM/{key}/name_label", "value": name}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser():
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def url():
    async with proxy_on() as proxy:
        yield proxy.url


@pytest_asyncio.fixture(loop_scope="module")
async def opened(browser, url):
    async with tab(browser, url) as there:
        there.script = Script()
        await there.page.route_web_socket("**/ws", there.script.accept)
        await there.page.reload()  # the route holds for documents loaded after it
        await there.sign_in()
        yield there


@pytest_asyncio.fixture(loop_scope="module")
async def loaded(opened):
    """A page that shows VMs "a" (web) and "b" (db) at position 10."""
    await opened.script.welcome()
    opened.script.load(("a", "web"), ("b", "db"))
    await opened.see("web", "db")
    return opened


async def test_messages_may_come_as_an_array(loaded):
    loaded.script.say([patch(10, 11, rename("a", "one")), patch(11, 12, rename("b", "two"))])
    await loaded.see("one", "two")


async def test_parts_of_a_patch_are_applied_together(loaded):
    loaded.script.say(patch(10, 12, rename("a", "half"), more=True))
    loaded.script.say({"type": "pong"})
    await asyncio.sleep(0.3)
    assert await loaded.names() == ["db", "web"]
    loaded.script.say(patch(10, 12, rename("b", "whole")))
    await loaded.see("half", "whole")


async def test_paths_are_unescaped_and_names_of_javascript_are_names(loaded):
    add = {"op": "add", "path": "/VM_guest_metrics/ga", "value": {"$ref": "R:ga", "networks": {}}}
    proto = {"op": "add", "path": "/VM_guest_metrics/ga/networks/__proto__", "value": "evil"}
    address = {"op": "add", "path": "/VM_guest_metrics/ga/networks/0~1ip", "value": "10.1.2.3"}
    loaded.script.say(patch(10, 11, add, proto, address))
    await loaded.see("10.1.2.3")
    removal = {"op": "remove", "path": "/VM_guest_metrics/ga/networks/0~1ip"}
    loaded.script.say(patch(11, 12, removal))
    await expect(loaded.cell("10.1.2.3")).to_have_count(0)
    assert await loaded.page.evaluate("({}).ip") is None


async def test_objects_come_and_go(loaded):
    machine = {"$ref": "R:c", "name_label": "new", "power_state": "Halted", "tags": ["x"]}
    add = {"op": "add", "path": "/VM/c", "value": machine}
    loaded.script.say(patch(10, 11, add, {"op": "remove", "path": "/VM/a"}))
    await loaded.see("new", "x")
    assert await loaded.names() == ["db", "new"]
    whole = {"op": "replace", "path": "/VM/c", "value": machine | {"name_label": "newer"}}
    loaded.script.say(patch(11, 12, whole))
    await loaded.see("newer")


async def test_a_view_goes_on_under_another_number(loaded):
    loaded.script.say({"type": "moved", "view": 20, "as": 31, "seq": 10})
    loaded.script.say(patch(10, 11, rename("a", "moved"), view=31))
    await loaded.see("moved")


async def test_a_reset_shows_what_was_known_until_the_new_snapshot_is_whole(loaded):
    reset = {"type": "reset", "view": 20, "reason": "journal_expired", "epoch": "e", "seq": 50}
    loaded.script.say(reset, machines(("a", "web"), seq=50, last=False))
    await asyncio.sleep(0.3)
    assert await loaded.names() == ["db", "web"]
    loaded.script.say(machines(("c", "new"), seq=50), patch(50, 51, rename("c", "newer")))
    await loaded.see("newer", "web")
    assert await loaded.names() == ["newer", "web"]


async def test_a_pool_that_ends_goes(loaded):
    gone = {"type": "reset", "view": 20, "reason": "pool_removed", "epoch": "e", "seq": 10}
    loaded.script.say(gone | {"gone": True})
    await expect(loaded.page.locator("#count")).to_have_text("0 VMs")


async def test_a_pool_that_comes_later_is_shown(loaded):
    classes = ["VM", "VM_guest_metrics", "host"]
    loaded.script.say(subscribed(MACHINES, 21, "q", classes), machines(("z", "other"), view=21))
    await loaded.see("other", "web", "db")


async def test_a_proxy_that_has_not_read_the_pool_yet_does_not_empty_the_table(loaded):
    await loaded.script.close(4301)
    await loaded.script.welcome()
    link = ("k", "R:l", "p", "lab", "connecting")
    classes = ["VM", "VM_guest_metrics", "host"]
    loaded.script.say(
        subscribed(LINKS, 10, "proxy", ["pool_link"], epoch="f"),
        snapshot(10, "pool_link", ["$ref", "pool", "name", "state"], link),
        subscribed(MACHINES, 20, "p", classes, epoch="f", seq=0),
        machines(seq=0),
    )
    await expect(loaded.page.locator("#pools")).to_contain_text("connecting")
    assert await loaded.names() == ["db", "web"]
    live = {"op": "replace", "path": "/pool_link/k/state", "value": "live"}
    loaded.script.say(
        {"type": "reset", "view": 20, "reason": "loaded", "epoch": "f", "seq": 2},
        patch(10, 11, live, view=10),
        machines(("x", "web"), seq=2),
    )
    await expect(loaded.page.locator("#count")).to_have_text("1 VM")
    assert await loaded.names() == ["web"]


@pytest.mark.parametrize("code", [4301, 4308, 4310, 1011])
async def test_reconnects_and_resumes_where_it_stood(loaded, code):
    loaded.script.say(patch(10, 14, rename("a", "newest")))
    await loaded.see("newest")
    await loaded.script.close(code)
    asked = await loaded.script.welcome()
    assert asked[MACHINES]["resume"] == [{"token": "token", "seq": 14}]
    assert asked[LINKS]["resume"] == []  # no bookmark of it came
    loaded.script.say(
        subscribed(MACHINES, 3, "p", ["VM"], mode="resume", seq=15),
        patch(15, 16, rename("b", "resumed"), view=3),
    )
    await loaded.see("resumed", "newest")


async def test_a_patch_from_elsewhere_begins_the_view_afresh(loaded):
    loaded.script.say(patch(9, 11, rename("a", "wrong")))
    asked = await loaded.script.welcome()
    assert asked[MACHINES]["resume"] == []
    loaded.script.load(("a", "right"), epoch="e", seq=11)
    await loaded.see("right")
    (complaint,) = loaded.complaints
    assert "a patch leads from 9, not from 10" in complaint
    loaded.complaints.clear()


async def test_a_revoked_credential_leads_to_signing_in(loaded):
    await loaded.script.close(4305)
    alert = loaded.page.get_by_role("alert")
    await expect(alert).to_have_text("Your sign-in has ended. Sign in again.")
    assert await loaded.names() == []


async def test_a_refusal_that_may_pass_is_retried_when_signed_in_before(loaded):
    await loaded.script.close(4308)
    await loaded.script.hear("auth")
    busy = {"type": "error", "code": "BUSY", "message": "too many sign-ins at once", "retry": True}
    loaded.script.say(busy)
    await loaded.script.close(4501)
    await loaded.script.welcome()
    assert loaded.script.connections == 3
    assert await loaded.names() == ["db", "web"]
