"""What an operator and a self-service user may do to a pool, over a whole proxy and a simulator."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, encode_basic_auth

from tests.integration.sim import Sim
from tests.integration.support import PASSWORD, Client, View, connected, proxy_on
from xoproxy.simulator.estate import generate
from xoproxy.simulator.pool import SimulatedPool

AUTHORIZATION = encode_basic_auth("admin", PASSWORD)
HIDDEN = "OpaqueRef:NULL"
NOWHERE = "OpaqueRef:00000000-0000-0000-0000-00000000abcd"
FORBIDDEN_RAW = ("FORBIDDEN", "raw XAPI calls are for administrators")


class Scene:
    """A proxy on one pool, its administrator, and what he does."""

    def __init__(self, url: str, pool: SimulatedPool, http: ClientSession, admin: Client) -> None:
        self.url = url
        self.pool = pool
        self.admin = admin
        self.view: View
        self._http = http

    async def begin(self) -> None:
        (self.view,) = await self.admin.subscribe(classes=["*"])

    async def post(self, path: str, **body: Any) -> Any:
        async with self._http.post(f"{self.url}/api/v1/{path}", json=body) as reply:
            assert reply.status == 201, await reply.text()
            return await reply.json()

    async def grants(self) -> list[Any]:
        async with self._http.get(f"{self.url}/api/v1/grants") as reply:
            found: list[Any] = await reply.json()
            return found

    async def remove_grant(self, id_: str) -> None:
        async with self._http.delete(f"{self.url}/api/v1/grants/{id_}") as reply:
            assert reply.status == 204

    async def user(self, name: str) -> None:
        await self.post("users", name=name, password=PASSWORD)

    async def maker(self, template: str) -> None:
        """Let ada make VMs from a template."""
        path = f"{self.url}/api/v1/roles/maker"
        async with self._http.put(path, json={"permissions": ["view", "vm.create"]}) as reply:
            assert reply.status in {200, 201}, await reply.text()
        await self.user("ada")
        await self.on("ada", "maker", template)

    async def on(self, user: str, role: str, ref: str, cls: str = "VM") -> Any:
        uuid = self.view.records(cls)[ref]["uuid"]
        scope = {"kind": "object", "pool": self.view.pool, "value": uuid}
        return await self.post("grants", user=user, role=role, scope=scope)

    def vms(self, **fields: Any) -> list[str]:
        """Find VMs that are like that."""
        fields = {"is_control_domain": False, "is_a_snapshot": False, **fields}
        return [
            ref
            for ref, record in self.view.records("VM").items()
            if all(record[name] == value for name, value in fields.items())
        ]

    def template(self) -> str:
        """Find a template that has a disk by itself."""
        found = self.vms(is_a_template=True)
        return next(
            r for r in found if "provision" in str(self.view.records("VM")[r]["other_config"])
        )

    @asynccontextmanager
    async def signed_in(self, name: str) -> AsyncIterator[Client]:
        async with connected(self.url, auth=None) as client:
            await client.send({"type": "auth", "username": name, "password": PASSWORD})
            await client.until(lambda: client.welcome)
            yield client


@asynccontextmanager
async def scene(speed: float = 200.0) -> AsyncIterator[Scene]:
    async with (
        SimulatedPool(generate(2, 20, 3), speed=speed) as pool,
        proxy_on(pool.url) as proxy,
        ClientSession(headers={"Authorization": AUTHORIZATION}) as http,
        connected(proxy.url) as admin,
    ):
        made = Scene(proxy.url, pool, http, admin)
        await made.begin()
        yield made


async def call(client: Client, pool: str, method: str, **params: Any) -> Any:
    """Call, and return the result, or the code and the text of the refusal."""
    id_ = f"{method} {len(params)}"
    await client.send({"type": "call", "id": id_, "pool": pool, "method": method, "params": params})
    answer = await client.answer(id_)
    if answer["type"] == "error":
        return answer["code"], answer["message"], *answer.get("data", ())
    return answer["result"]


async def test_an_operator_may_do_what_his_role_has_to_what_he_sees():
    async with scene() as world:
        mine, other = world.vms(is_a_template=False, power_state="Halted")[:2]
        await world.user("bob")
        grant = await world.on("bob", "operator", mine)
        async with world.signed_in("bob") as bob:
            (view,) = await bob.subscribe(classes=["VM"])
            assert list(view.records("VM")) == [mine]
            pool = view.pool
            start = {"start_paused": False, "force": False}
            assert await call(bob, pool, "VM.start", vm=mine, **start) == ""
            await bob.until(lambda: view.records("VM")[mine]["power_state"] == "Running")

            hidden = await call(bob, pool, "VM.start", vm=other, **start)
            missing = await call(bob, pool, "VM.start", vm=NOWHERE, **start)
            assert hidden == ("NOT_FOUND", f"there is no VM {other!r}")
            assert missing == ("NOT_FOUND", f"there is no VM {NOWHERE!r}")
            assert await call(bob, pool, "VM.destroy", self=mine) == (
                "FORBIDDEN",
                "VM.destroy needs the permission vm.destroy on this VM",
            )
            assert await call(bob, pool, "VM.create", args={}) == FORBIDDEN_RAW
            assert await call(bob, pool, "VM.add_tags", self=mine, value="x") == FORBIDDEN_RAW
            assert await call(bob, "nowhere", "VM.start", vm=mine) == (
                "NOT_FOUND",
                "there is no pool 'nowhere'",
            )

            await world.remove_grant(grant["id"])
            assert await call(bob, pool, "VM.hard_shutdown", vm=mine) == (
                "NOT_FOUND",
                f"there is no pool {pool!r}",
            )
        assert world.view.records("VM")[other]["power_state"] == "Halted"


async def test_who_makes_a_vm_from_a_template_has_it_and_nobody_else():
    async with scene() as world:
        template = world.template()
        await world.maker(template)
        await world.user("bob")
        await world.on("bob", "viewer", template)
        async with world.signed_in("ada") as ada, world.signed_in("bob") as bob:
            (view,) = await ada.subscribe(classes=["VM", "VBD", "VDI"])
            (others,) = await bob.subscribe(classes=["VM"])
            pool = view.pool
            assert await call(bob, pool, "VM.clone", vm=template, new_name="no") == (
                "FORBIDDEN",
                "VM.clone needs the permission vm.create on this VM",
            )
            assert (await call(ada, pool, "VM.provision", vm=template))[0] == "FORBIDDEN"

            made = await call(ada, pool, "VM.clone", vm=template, new_name="hers")
            assert len(await world.grants()) == 3
            # At once: it is hers when the result says that it is there.
            assert await call(ada, pool, "VM.provision", vm=made) == ""
            assert await call(ada, pool, "VM.set_name_label", self=made, value="mine") == ""
            await ada.until(lambda: view.records("VM").get(made, {}).get("name_label") == "mine")
            assert set(view.records("VM")) == {template, made}
            assert await call(bob, pool, "VM.start", vm=made) == (
                "NOT_FOUND",
                f"there is no VM {made!r}",
            )
            assert set(others.records("VM")) == {template}

            snapshot = await call(ada, pool, "VM.snapshot", vm=made, new_name="then")
            await ada.until(lambda: snapshot in view.records("VM"))
            await ada.until(lambda: len(_disks(view, made)) == len(_disks(view, snapshot)) == 1)
            for vm in (snapshot, made):
                for disk in _disks(view, vm):
                    assert await call(ada, pool, "VDI.destroy", self=disk) == ""
                assert await call(ada, pool, "VM.destroy", self=vm) == ""
            await ada.until(lambda: set(view.records("VM")) == {template})
        await _until_granted(world, 2)


async def test_who_leaves_before_it_is_made_gets_it_all_the_same():
    async with scene(speed=4) as world:
        template = world.template()
        await world.maker(template)
        async with world.signed_in("ada") as ada:
            (view,) = await ada.subscribe(classes=["VM"])
            params = {"vm": template, "new_name": "hers"}
            message = {"type": "call", "id": 9, "pool": view.pool, "method": "VM.clone"}
            await ada.send({**message, "params": params})
            await world.admin.until(
                lambda: "clone" in world.view.records("VM")[template]["current_operations"].values()
            )
            assert not [a for a in ada.answers if a["id"] == 9]
        await _until_granted(world, 2)
        async with world.signed_in("ada") as ada:
            (view,) = await ada.subscribe(classes=["VM"])
            (made,) = set(view.records("VM")) - {template}
            assert view.records("VM")[made]["name_label"] == "hers"
            assert await call(ada, view.pool, "VM.set_name_label", self=made, value="x") == ""


async def test_a_task_goes_with_what_it_is_at_work_on():
    async with scene(speed=2) as world:
        mine = world.vms(is_a_template=False, power_state="Running")[0]
        await world.user("bob")
        await world.on("bob", "operator", mine)
        async with world.signed_in("bob") as bob:
            (view,) = await bob.subscribe(classes=["task", "VM"])
            message = {"type": "call", "id": 9, "pool": view.pool, "method": "VM.clean_reboot"}
            await bob.send({**message, "params": {"vm": mine}})
            await bob.until(lambda: view.records("task"))
            (task,) = view.records("task")
            assert await call(bob, view.pool, "task.cancel", task=task) == ""
            answer = await bob.answer(9)
            assert (answer["code"], answer["data"]) == ("XAPI_FAILURE", ["TASK_CANCELLED", HIDDEN])
            await bob.until(lambda: not view.records("task"))


async def test_an_error_of_the_pool_tells_nothing_of_what_is_hidden():
    async with scene() as world, ClientSession() as http:
        mine, other = world.vms(is_a_template=False, power_state="Halted")[:2]
        uuid = world.view.records("VM")[other]["uuid"]
        await world.user("bob")
        await world.on("bob", "operator", mine)
        params = ["VM", mine, other, f"{uuid} is busy", "busy"]
        await Sim(http, world.pool.url).fault(
            "fail", method="Async.VM.start", count=2, code="VM_IS_USING_NESTED_VIRT", params=params
        )
        start = {"vm": mine, "start_paused": False, "force": False}
        async with world.signed_in("bob") as bob:
            (view,) = await bob.subscribe(classes=["VM"])
            assert (await call(bob, view.pool, "VM.start", **start))[2:] == (
                "VM_IS_USING_NESTED_VIRT",
                *("VM", mine, HIDDEN, f"{HIDDEN} is busy", "busy"),
            )
        assert (await call(world.admin, world.view.pool, "VM.start", **start))[3:] == tuple(params)


def _disks(view: View, vm: str) -> list[str]:
    devices = view.records("VBD").values()
    return [d["VDI"] for d in devices if d["VM"] == vm and d["VDI"] in view.records("VDI")]


async def _until_granted(world: Scene, count: int) -> None:
    """Wait until there are so many grants: the proxy's own objects tell of each."""
    (own,) = await world.admin.subscribe(id_="own", pools=["proxy"], classes=["grant"])
    await world.admin.until(lambda: len(own.records("grant")) == count)
    assert len(await world.grants()) == count
