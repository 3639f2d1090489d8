"""What users get over real sockets while grants, tags and the pool change, byte by byte."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, encode_basic_auth

from tests.integration.deaf import DeafClient
from tests.integration.sim import until
from tests.integration.support import JSON, MSGPACK, PASSWORD, Client, proxy_on
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

SECRET = "open-sesame"
KEYS = {"chappassword": SECRET, "my_secret": SECRET, "plain": "to-be-seen"}


class Recorded:
    """A WebSocket whose frames are kept as they came, inflated."""

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        self._ws = ws
        self.send_str, self.send_bytes, self.close = ws.send_str, ws.send_bytes, ws.close
        self.frames: list[bytes] = []

    def __aiter__(self) -> "Recorded":
        return self

    async def __anext__(self) -> Any:
        frame = await self._ws.__anext__()
        self.frames.append(frame.data.encode() if isinstance(frame.data, str) else frame.data)
        return frame

    @property
    def close_code(self) -> int | None:
        return self._ws.close_code

    def take(self) -> bytes:
        frames, self.frames = self.frames, []
        return b"\n".join(frames)


class User:
    """Somebody who is connected; `bytes` is what he got since the last time."""

    def __init__(self, client: Client, recorded: Recorded) -> None:
        self.client = client
        self.take = recorded.take
        self._ids = itertools.count(1000)

    async def caught_up(self) -> None:
        """Wait until all that was written to him before now was read."""
        id_ = next(self._ids)
        await self.client.send({"type": "ping", "id": id_})
        await self.client.answer(id_)

    async def ask(self, **message: Any) -> bytes:
        """Return the bytes of an answer."""
        self.take()
        await self.client.send(message)
        await self.client.answer(message["id"])
        return self.take()


class World:
    """A proxy, its pool, and the administrator's HTTP."""

    def __init__(self, url: str, pool: SimulatedPool, http: ClientSession) -> None:
        self.url = url
        self.database = pool.database
        self.pool_id = ""
        self._http = http
        self._marks = itertools.count(1)

    async def ask(self, method: str, path: str, **body: Any) -> Any:
        async with self._http.request(
            method, f"{self.url}/api/v1/{path}", json=body or None
        ) as reply:
            assert reply.status < 300, await reply.text()
            return await reply.json() if reply.status != 204 else None

    async def grant(self, kind: str = "everything", role: str = "viewer", **scope: str) -> str:
        made = await self.ask(
            "POST", "grants", user="ann", role=role, scope={"kind": kind, **scope}
        )
        return str(made["id"])

    async def revoke(self, grant: str) -> None:
        await self.ask("DELETE", f"grants/{grant}")

    def write(self, ref: str, **fields: Any) -> None:
        for field, value in fields.items():
            self.database.write("VM", ref, field, value)

    def mark(self, ref: str) -> int:
        """Change a VM so that the change can be told from all others; return its number."""
        number = next(self._marks)
        self.write(ref, name_description=f"mark-{number:06}.")
        return number

    def vms(self) -> list[str]:
        return [
            ref
            for ref in self.database.refs("VM")
            if not self.database.record("VM", ref)["is_a_template"]
            and not self.database.record("VM", ref)["is_control_domain"]
        ]

    @asynccontextmanager
    async def user(self, name: str, protocol: str = JSON) -> AsyncIterator[User]:
        async with (
            ClientSession() as http,
            http.ws_connect(
                f"{self.url}/ws", protocols=[protocol], compress=15, max_msg_size=0
            ) as ws,
        ):
            recorded = Recorded(ws)
            client = Client(recorded, protocol)  # type: ignore[arg-type]
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(client.read())
                await client.send({"type": "auth", "username": name, "password": PASSWORD})
                await client.until(lambda: client.welcome)
                yield User(client, recorded)
                await ws.close()
                reader.cancel()

    async def proxy_has(self, admin: User, mark: int) -> None:
        """Wait until the administrator was told of a mark: then all who may know it were."""
        await admin.client.until(
            lambda: any(
                int(record["name_description"][5:-1]) >= mark
                for view in admin.client.views.values()
                for record in view.records("VM").values()
                if record["name_description"].startswith("mark-")
            )
        )


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    auth = {"Authorization": encode_basic_auth("admin", PASSWORD)}
    async with (
        SimulatedPool(generate(2, 10, 1), speed=20) as pool,
        proxy_on(pool.url) as proxy,
        ClientSession(headers=auth) as http,
    ):
        made = World(proxy.url, pool, http)
        (info,) = await made.ask("GET", "pools")
        made.pool_id = info["id"]
        await made.ask("POST", "users", name="ann", password=PASSWORD)
        yield made


def marks_in(data: bytes) -> set[int]:
    return {int(part[:6]) for part in data.split(b"mark-")[1:]}


def held(user: User) -> dict[str, Any]:
    """Return all objects that a user holds, by reference."""
    found: dict[str, Any] = {}
    for view in user.client.views.values():
        for cls in () if view.gone else view.info["classes"]:
            found |= view.records(cls)
    return found


def names_of(w: World, without: set[str]) -> set[bytes]:
    """Return references and uuids of all the pool's objects but some."""
    found = set()
    for cls in ("VM", "VBD", "VIF", "VDI", "host", "SR", "PBD", "network", "pool", "VM_metrics"):
        for ref in set(w.database.refs(cls)) - without:
            found |= {ref.encode(), w.database.record(cls, ref)["uuid"].encode()}
    return found


@pytest.mark.parametrize("protocol", [JSON, MSGPACK])
async def test_who_sees_one_vm_by_its_tag_gets_it_and_what_goes_with_it_until_the_tag_goes(
    protocol,
):
    async with world() as w, w.user("admin") as admin, w.user("ann", protocol) as ann:
        await admin.client.subscribe()
        mine, other = w.vms()[:2]
        await ann.client.subscribe(classes=["*"])
        assert ann.client.views == {}, "he has no grant: there is no pool"
        w.write(mine, tags=["team-a"])
        await w.grant("tag", value="team-a")
        await ann.client.until(lambda: mine in held(ann))
        await ann.caught_up()

        record = w.database.record("VM", mine)
        belongings = {mine, record["metrics"], record["guest_metrics"], *record["VBDs"]}
        belongings |= {*record["VIFs"], *record["consoles"], *record["snapshots"]}
        disks = {w.database.record("VBD", ref)["VDI"] for ref in record["VBDs"]}
        seen = held(ann)
        assert belongings - {"OpaqueRef:NULL"} <= seen.keys()
        assert {ref for ref in seen if ref in w.database.refs("VM")} == {mine, *record["snapshots"]}
        assert seen[mine]["resident_on"] == "OpaqueRef:NULL"
        assert disks - {"OpaqueRef:NULL"} <= seen.keys()
        told = ann.take()
        assert not {name for name in names_of(w, set(seen)) if name in told}

        last = w.mark(mine)
        await ann.client.until(lambda: held(ann)[mine]["name_description"] == f"mark-{last:06}.")
        w.write(mine, tags=[])
        await ann.client.until(lambda: not held(ann))
        await ann.caught_up()
        ann.take()
        for _ in range(20):
            last = w.mark(mine)
        w.write(other, name_description="x")
        await w.proxy_has(admin, last)
        await ann.caught_up()
        assert marks_in(ann.take()) == set()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [JSON, MSGPACK])
async def test_after_a_revoke_not_one_byte_more_while_the_pool_changes_all_the_time(protocol):
    async with world() as w, w.user("admin") as admin, w.user("ann", protocol) as ann:
        await admin.client.subscribe(classes=["VM"], fields={"VM": ["name_description"]})
        await ann.client.subscribe(classes=["*"])
        mine = w.vms()[0]
        uuid = w.database.record("VM", mine)["uuid"]
        latest = w.mark(mine)
        done = asyncio.Event()

        async def churn() -> None:
            nonlocal latest
            while not done.is_set():
                latest = w.mark(mine)
                await asyncio.sleep(0.003)

        async def written(count: int) -> None:
            start = latest
            await until(lambda: latest > start + count)

        async with asyncio.TaskGroup() as group:
            group.create_task(churn())
            for scope in ({"kind": "everything"}, {"kind": "object", "value": uuid}) * 2:
                if scope["kind"] == "object":
                    scope["pool"] = w.pool_id
                grant = await w.grant(**scope)
                await ann.client.until(lambda: mine in held(ann))
                deaf = DeafClient(w.url)
                await deaf.open(username="ann", password=PASSWORD)
                await written(100)  # its frames wait
                await w.revoke(grant)
                revoked = latest
                await ann.client.until(lambda: not held(ann))
                await ann.caught_up()
                ann.take()
                await written(50)
                await w.proxy_has(admin, revoked + 40)
                await ann.caught_up()
                assert marks_in(ann.take()) == set()
                assert not [m for m in await everything_that(deaf) if m > revoked]
            done.set()


async def everything_that(deaf: DeafClient) -> set[int]:
    """Read all that a client which took nothing gets; return the marks in it."""
    found = b""
    loop = asyncio.get_running_loop()
    deaf_socket = deaf._socket
    while True:
        try:
            async with asyncio.timeout(1):
                chunk = await loop.sock_recv(deaf_socket, 1 << 20)
        except TimeoutError:
            break
        assert chunk, "the proxy closed the connection"
        found += chunk
    deaf.close()
    return marks_in(found)


async def test_a_forbidden_pool_and_one_that_there_is_not_answer_with_the_same_bytes():
    async with world() as w, w.user("ann") as ann:
        nowhere = "z" * len(w.pool_id)
        assert nowhere != w.pool_id

        def query(pool: str, **more: Any) -> dict[str, Any]:
            asked = {"classes": ["VM"], "pools": [pool], **more}
            return {"type": "subscribe", "id": 5, "query": asked}

        def call(pool: str) -> dict[str, Any]:
            return {"type": "call", "id": 5, "pool": pool, "method": "VM.start", "params": {}}

        for make in (
            query,
            lambda pool: query(pool, filter="name_label:x"),
            lambda pool: query(pool, window=[0, 5], facets=["power_state"]),
            call,
        ):
            there, not_there = [
                (await ann.ask(**make(pool))).replace(pool.encode(), b"_")
                for pool in (w.pool_id, nowhere)
            ]
            assert there == not_there
            assert b"error" in there


async def test_secrets_are_for_administrators():
    """In snapshots, patches, what is resumed, filters, totals and facets."""
    async with world() as w:
        mine = w.vms()[0]
        pbd = w.database.refs("PBD")[0]
        w.database.write("PBD", pbd, "device_config", KEYS)
        w.write(mine, other_config=KEYS, xenstore_data={"vm-data/x": SECRET})
        await w.grant()
        async with w.user("admin") as admin, w.user("ann", MSGPACK) as ann:
            await admin.client.subscribe()
            (view,) = await ann.client.subscribe(classes=["*"])
            await ann.client.until(lambda: "plain" in held(ann)[mine]["other_config"])
            seen = held(ann)
            assert "device_config" not in seen[pbd]
            assert "xenstore_data" not in seen[mine]
            assert seen[mine]["other_config"] == {"plain": "to-be-seen"}

            w.write(mine, other_config={**KEYS, "plain": "changed", "his_token": f"{SECRET}-2"})
            await ann.client.until(lambda: held(ann)[mine]["other_config"]["plain"] == "changed")
            found = {}
            for number, text in enumerate(
                (
                    f"other_config.chappassword:{SECRET}",
                    "!other_config.my_secret:null",
                    f"device_config.plain:{KEYS['plain']}",
                    f"{SECRET}",
                    "xenstore_data:!null",
                )
            ):
                query = {"classes": ["VM", "PBD"], "filter": text}
                window = {"classes": ["VM"], "filter": text, "window": [0, 5]}
                for more, asked in enumerate((query, {**window, "facets": ["power_state"]})):
                    id_ = 10 * number + more + 10
                    message = {"type": "subscribe", "id": id_, "query": asked}
                    await ann.client.send(message)
                    found[id_] = await ann.client.answer(id_)
            await ann.caught_up()
            assert SECRET.encode() not in ann.take()
            assert held(ann)[mine]["other_config"] == {"plain": "changed"}
            token = view.token
        assert token
        async with w.user("ann") as ann:
            w.write(mine, other_config={**KEYS, "plain": "again", "api_key": SECRET})
            await ann.client.resume([view], classes=["*"])
            await ann.client.until(lambda: held(ann)[mine]["other_config"]["plain"] == "again")
            assert SECRET.encode() not in ann.take()
        async with w.user("admin") as admin:
            await admin.client.subscribe()
            assert SECRET.encode() in admin.take(), "or there was nothing to hide"


async def test_an_old_token_opens_nothing_after_a_revoke():
    async with world() as w, w.user("admin") as admin:
        await admin.client.subscribe()
        mine = w.vms()[0]
        w.write(mine, tags=["team-a"])
        grants = [await w.grant("tag", value="team-a"), await w.grant("tag", value="team-b")]
        async with w.user("ann") as ann:
            (view,) = await ann.client.subscribe(classes=["VM"])
            await ann.client.until(lambda: mine in held(ann))
            await ann.client.until(lambda: view.token)
        await w.revoke(grants[0])
        await w.proxy_has(admin, w.mark(mine))
        async with w.user("ann") as ann:  # still a pool, for the other tag
            (there,) = await ann.client.subscribe(
                classes=["VM"], resume=[{"token": view.token, "seq": view.position}]
            )
            assert there.info["mode"] == "snapshot"
            assert held(ann) == {}
            told = ann.take()
            assert marks_in(told) == set()
            assert w.database.record("VM", mine)["uuid"].encode() not in told
        await w.revoke(grants[1])
        async with w.user("ann") as ann:  # none at all
            answer = await ann.ask(
                type="subscribe",
                id=1,
                query={"classes": ["VM"]},
                resume=[{"token": view.token, "seq": view.position}],
            )
            assert json.loads(answer)["views"] == []


async def test_who_is_disabled_or_removed_is_out_at_once():
    async with world() as w:
        await w.grant()
        (ann_account,) = [u for u in await w.ask("GET", "users") if u["name"] == "ann"]
        async with w.user("ann") as ann:
            await ann.client.subscribe()
            await w.ask("PATCH", f"users/{ann_account['id']}", enabled=False)
            await ann.client.until(lambda: ann.client.close_code)
            assert ann.client.close_code == 4305
        await w.ask("PATCH", f"users/{ann_account['id']}", enabled=True)
        async with w.user("ann") as ann:
            await ann.client.subscribe()
            await w.ask("DELETE", f"users/{ann_account['id']}")
            await ann.client.until(lambda: ann.client.close_code)
            assert ann.client.close_code == 4305
