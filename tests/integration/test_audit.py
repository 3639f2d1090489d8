"""The audit log of a whole proxy: who did what is in it, and nothing that is secret."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, encode_basic_auth
from sqlalchemy import text

from tests.integration.administration import PASSWORD as ADMIN
from tests.integration.administration import administration, asking
from tests.integration.support import PASSWORD, connected, fast_settings
from xoproxy import app
from xoproxy.app.audit import AuditLog
from xoproxy.auth import Directory
from xoproxy.auth.audit import Action
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.settings import AuditSettings
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.storage import open_storage
from xoproxy.storage.audit import StoredAudit

SECRET = "hunter2-hunter2-hunter2"


@asynccontextmanager
async def proxy(directory: Path) -> AsyncIterator[tuple[app.Proxy, str]]:
    async with SimulatedPool(generate(1, 3, 3)) as pool, app.running(fast_settings(directory)) as p:
        await p.registry.add("lab", pool.url, "root", "x")
        async with asyncio.timeout(30):
            await p.all_loaded()
        yield p, pool.url


async def log(url: str, since: int = 0) -> list[Any]:
    async with asking(url, "admin", PASSWORD) as ask:
        found: list[Any] = await ask("GET", f"/audit?since={since}&limit=200")
        return found


async def until_recorded(url: str, **wanted: Any) -> dict[str, Any]:
    """Wait for a record, and return it."""
    async with asyncio.timeout(20):
        while True:
            for record in await log(url):
                if all(record.get(name) == value for name, value in wanted.items()):
                    return dict(record)
            await asyncio.sleep(0.05)


async def test_administration_is_recorded_before_it_is_answered(tmp_path):
    async with (
        proxy(tmp_path) as (running, pool_url),
        asking(running.url, "admin", PASSWORD) as ask,
    ):
        bob = await ask("POST", "/users", {"name": "bob", "password": SECRET}, 201)
        scope = {"kind": "tag", "value": "prod"}
        grant = await ask("POST", "/grants", {"user": "bob", "role": "viewer", "scope": scope}, 201)
        await ask.refused(404, "DELETE", f"/grants/{SECRET}")
        await ask("DELETE", f"/grants/{grant['id']}", status=204)
        await ask("PATCH", "/users/bob", {"password": SECRET[::-1]})
        body = {"name": "two", "url": pool_url, "username": SECRET, "password": SECRET}
        two = await ask("POST", "/pools", body, 201)

        records = await log(running.url)
        assert [(r["operation"], r["object"], r["result"]) for r in records] == [
            ("addFirstUser", "", "done"),
            ("addUser", f"/users/{bob['id']}", "done"),
            ("addGrant", f"/grants/{grant['id']}", "done"),
            ("removeGrant", "/grants/{id}", "NOT_FOUND"),
            ("removeGrant", f"/grants/{grant['id']}", "done"),
            ("changeUser", "/users/bob", "done"),
            ("addPool", f"/pools/{two['id']}", "done"),
        ]
        added = records[1]
        assert (added["user"], added["peer"]) == ("admin", "127.0.0.1")
        assert added["credential"].startswith("password:")
        assert added["parameters"] == ["name", "password"]
        assert added["details"] == {"name": "bob"}
        assert records[2]["details"] == {"role": "viewer", "scope": "tag prod", "user": "bob"}
        assert SECRET not in json.dumps(await log(running.url))


async def test_sign_ins_are_recorded_and_refused_ones_with_them(tmp_path):
    async with proxy(tmp_path) as (running, _):
        async with connected(running.url):
            pass
        for name in ("admin", SECRET):
            async with connected(running.url, auth=None) as client:
                await client.send({"type": "auth", "username": name, "password": SECRET})
                await client.until(lambda: client.close_code)
        async with connected(running.url, auth=None) as client:
            await client.send({"type": "auth", "token": f"xop_{SECRET}"})
            await client.until(lambda: client.close_code)
        async with ClientSession() as http:
            wrong = {"Authorization": encode_basic_auth("admin", SECRET)}
            async with http.get(f"{running.url}/api/v1/pools", headers=wrong) as reply:
                assert reply.status == 401

        good = await until_recorded(running.url, operation="signIn", result="done", user="admin")
        assert good["credential"].startswith("password:")
        assert good["peer"] == "127.0.0.1"
        refused = {"operation": "signIn", "result": "UNAUTHORISED"}
        await until_recorded(running.url, **refused, user="admin", credential="password")
        await until_recorded(running.url, **refused, user="", credential="password")
        await until_recorded(running.url, **refused, user="", credential="token")
        assert SECRET not in json.dumps(await log(running.url))


async def test_calls_are_recorded_by_method_object_and_names(tmp_path):
    async with proxy(tmp_path) as (running, _), connected(running.url) as client:
        (view,) = await client.subscribe(classes=["VM"])
        ref, vm = next(
            (ref, vm)
            for ref, vm in view.records("VM").items()
            if vm["power_state"] == "Running" and not vm["is_control_domain"]
        )
        calls = [
            ("VM.add_to_other_config", {"self": ref, "key": SECRET, "value": SECRET}),
            ("VM.start", {"vm": ref, "start_paused": False, "force": False}),
            ("VM.start", {"vm": ref, SECRET: SECRET}),
            (f"{SECRET}.{SECRET}", {SECRET: SECRET}),
            ("session.login_with_password", {"uname": "root", "pwd": SECRET}),
        ]
        for number, (method, params) in enumerate(calls, 10):
            call = {"type": "call", "id": number, "pool": view.pool, "method": method}
            await client.send({**call, "params": params})
            await client.answer(number)

        about = {"object": f"VM {vm['uuid']}", "pool": view.pool, "user": "admin"}
        done = await until_recorded(
            running.url, operation="VM.add_to_other_config", result="done", **about
        )
        assert done["parameters"] == ["key", "self", "value"]
        failed = await until_recorded(
            running.url, operation="VM.start", result="XAPI_FAILURE", **about
        )
        assert failed["details"] == {"code": "VM_BAD_POWER_STATE"}
        wrong = await until_recorded(running.url, operation="VM.start", result="BAD_MESSAGE")
        assert wrong["parameters"] == ["vm"]
        await until_recorded(running.url, operation="call", result="BAD_MESSAGE", parameters=[])
        await until_recorded(running.url, result="FORBIDDEN")
        assert SECRET not in json.dumps(await log(running.url))


async def test_only_administrators_read_it(tmp_path):
    async with proxy(tmp_path) as (running, _):
        async with asking(running.url, "admin", PASSWORD) as ask:
            body = {"name": "bob", "password": SECRET, "role": "operator"}
            await ask("POST", "/users", body, 201)
            for wrong in ("yesterday", "2026-01-01", "-1", ""):
                code, _ = await ask.refused(400, "GET", f"/audit?since={wrong}")
                assert code == "BAD_MESSAGE"
            assert (
                await ask("GET", "/audit?since=2020-01-01T00:00:00Z&limit=1")
                == (await log(running.url))[:1]
            )
            assert await ask("GET", "/audit?since=2999-01-01T00:00:00Z") == []
        async with asking(running.url, "bob", SECRET) as ask:
            await ask.refused(403, "GET", "/audit")
            await ask.refused(403, "GET", "/audit/verify")
        await until_recorded(running.url, user="bob", operation="listAudit", result="FORBIDDEN")


async def test_it_goes_on_after_a_restart_and_what_waits_at_the_end_is_stored(tmp_path):
    async with proxy(tmp_path) as (running, _), connected(running.url):
        pass
    async with app.running(fast_settings(tmp_path)) as running:
        records = await log(running.url)
        assert [r["number"] for r in records] == list(range(1, len(records) + 1))
        assert [r["operation"] for r in records] == ["addFirstUser", "signIn"]
        async with asking(running.url, "admin", PASSWORD) as ask:
            checked = await ask("GET", "/audit/verify?after=0&limit=1000")
            assert checked["fault"] is None
            assert checked["head_hash"] == records[-1]["hash"]


async def test_nothing_is_acknowledged_that_could_not_be_recorded(tmp_path):
    async with administration(tmp_path) as served, asking(served.url, "admin", ADMIN) as ask:
        await ask("POST", "/users", {"name": "one", "password": SECRET}, 201)
        await broken(served.storage)
        code, message = await ask.refused(
            500, "POST", "/users", {"name": "two", "password": SECRET}
        )
        assert (code, message.split(",")[0]) == ("INTERNAL", "it was done")
        for method, path, body in (
            ("POST", "/users", {"name": "three", "password": SECRET}),
            ("DELETE", "/users/one", None),
            ("POST", "/tokens", {"name": "cli"}),
        ):
            code, message = await ask.refused(503, method, path, body)
            assert code == "BUSY"
            assert "nothing is changed" in message
        assert {user["name"] for user in await ask("GET", "/users")} == {"admin", "one", "two"}
        await mended(served.storage)
        async with asyncio.timeout(20):
            while [r["details"] for r in await ask("GET", "/audit")] != [  # noqa: ASYNC110
                {"name": "one"},
                {"name": "two"},
            ]:
                await asyncio.sleep(0.05)
        await ask("DELETE", "/users/one", status=204)


async def broken(storage) -> None:
    async with storage.database.writing() as connection:
        await connection.execute(text("ALTER TABLE audit RENAME TO audit_away"))


async def mended(storage) -> None:
    async with storage.database.writing() as connection:
        await connection.execute(text("ALTER TABLE audit_away RENAME TO audit"))


@asynccontextmanager
async def writing(place: Path, **bounds: int) -> AsyncIterator[tuple[AuditLog, Any]]:
    async with open_storage(f"sqlite:///{place}/x.db", place / "key") as storage:
        stored = StoredAudit(storage.database, storage.audit_key)
        audit = AuditLog(stored, Directory(), AuditSettings(**bounds))
        await audit.open()
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(audit.run())
            yield audit, storage
            writer.cancel()
        await audit.close()


async def test_what_is_noted_while_the_database_is_away_is_stored_later_and_counted(tmp_path):
    async with writing(tmp_path, queue=20) as (audit, storage):
        await audit.record(Action("one"))
        await broken(storage)
        with pytest.raises(RequestRefused) as caught:
            await audit.record(Action("two"))
        assert caught.value.code is ErrorCode.INTERNAL
        with pytest.raises(RequestRefused) as caught:
            audit.ready()
        assert caught.value.code is ErrorCode.BUSY
        for _ in range(50):
            audit.note(Action("call"))
        assert audit.lost_total == 30
        await mended(storage)
        async with asyncio.timeout(20):
            while audit.stored_count < 22:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        audit.ready()
        await audit.record(Action("last"))
        found = [json.loads(r.content) for r in await audit.read(0, 1_000)]
        names = [record["operation"] for record in found]
        assert names == ["one", "two", *["call"] * 20, "auditLost", "last"]
        assert found[-2]["count"] == 30
        assert (await audit.check(0, 1_000)).fault is None


async def test_what_is_old_goes_by_itself_and_the_rest_is_whole(tmp_path):
    async with writing(tmp_path) as (audit, _):
        for number in range(10):
            await audit.record(Action(f"op{number}"))
    async with writing(tmp_path, keep_records=3) as (audit, _):
        await audit.record(Action("last"))
        async with asyncio.timeout(20):
            while len(found := await audit.read(0, 100)) > 3:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        assert [record.number for record in found] == [9, 10, 11]
        assert (await audit.check(0, 100)).fault is None


async def test_those_who_wait_share_transactions(tmp_path):
    async with writing(tmp_path) as (audit, _):
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(audit.record(Action(f"op{number}")))
        assert audit.stored_count == 200
        assert len(await audit.read(0, 1_000)) == 200


async def test_a_log_that_was_cut_says_so_itself(tmp_path):
    async with writing(tmp_path) as (audit, storage):
        for number in range(5):
            await audit.record(Action(f"op{number}"))
        async with storage.database.writing() as connection:
            await connection.execute(text("DELETE FROM audit WHERE number > 3"))
    async with writing(tmp_path) as (audit, _):
        await audit.record(Action("next"))
        found = [json.loads(r.content) for r in await audit.read(3, 10)]
        assert [(r["number"], r["operation"]) for r in found] == [(6, "auditDamaged"), (7, "next")]
        fault = (await audit.check(0, 1_000)).fault
        assert fault is not None
        assert fault.number == 4
