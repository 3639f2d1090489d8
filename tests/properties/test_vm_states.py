"""Whatever is done to VMs: what they advertise is what can be done, and a pool stays in order.

Walks at random through operations on VMs of all kinds, by the real dispatcher, in virtual time.
An operation that is advertised fails only for want of room (memory, hosts, storage); one that is
not advertised never succeeds, but for those that XAPI never advertises (xapi_vm_lifecycle.ml).
Each error is one that the data model knows. Then operations at once, cancelled at any time.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.vm_world import (
    GIB,
    LOCAL,
    OTHER_HOST,
    SHARED,
    Estate,
    disorder,
    orphans,
    pick,
)
from tests.unit.simulator.worlds import HOST, Client, client
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.rules import allow
from xoproxy.simulator.wiretypes import NULL

ERRORS = DataModel.load().errors

NEVER_ADVERTISED = {
    *("create_template", "power_state_reset", "csvm", "get_boot_record", "send_sysrq"),
    *("send_trigger", "query_services", "shutdown", "call_plugin", "changing_memory_live"),
    *("awaiting_memory_live", "changing_memory_limits", "changing_shadow_memory_live"),
    *("changing_VCPUs", "assert_operation_valid", "data_source_op", "update_allowed_operations"),
    *("import", "reverting"),
}
NO_ROOM = {
    *("NO_HOSTS_AVAILABLE", "HOST_NOT_ENOUGH_FREE_MEMORY", "HOST_DISABLED", "HOST_NOT_LIVE"),
    *(
        "VM_REQUIRES_SR",
        "VM_NO_SUSPEND_SR",
        "SR_HAS_NO_PBDS",
        "SR_BACKEND_FAILURE_44",
        "VDI_IN_USE",
    ),
}
# What a VM cannot know when it says what it allows: where it will be sent, what others became.
UNFORESEEN = {
    "start_on": {"OPERATION_NOT_ALLOWED"},  # a control domain on another host than its own
    "revert": {"VM_IS_TEMPLATE"},  # the snapshot's VM
}

Arguments = Callable[[random.Random], list[Any]]


def _nothing(_rng: random.Random) -> list[Any]:
    return []


def _host(rng: random.Random) -> list[Any]:
    return [rng.choice((HOST, OTHER_HOST))]


# What is advertised, the call, its arguments after the VM.
OPERATIONS: dict[str, tuple[str, Arguments]] = {
    "start": ("VM.start", lambda rng: [rng.random() < 0.2, False]),
    "start_on": ("VM.start_on", lambda rng: [*_host(rng), False, False]),
    "resume": ("VM.resume", lambda rng: [rng.random() < 0.2, False]),
    "resume_on": ("VM.resume_on", lambda rng: [*_host(rng), False, False]),
    "pool_migrate": ("VM.pool_migrate", lambda rng: [*_host(rng), {}]),
    "clone": ("VM.clone", lambda _: ["clone"]),
    "copy": ("VM.copy", lambda rng: ["copy", rng.choice((NULL, LOCAL, SHARED))]),
    "snapshot": ("VM.snapshot", lambda _: ["snapshot", []]),
    "checkpoint": ("VM.checkpoint", lambda _: ["checkpoint"]),
    "make_into_template": ("VM.set_is_a_template", lambda _: [True]),
    "create_vtpm": ("VTPM.create", lambda _: [False]),
    "changing_NVRAM": ("VM.set_NVRAM", lambda rng: [{"key": str(rng.random())}]),
    "changing_dynamic_range": ("VM.set_memory_dynamic_range", lambda _: [GIB, 2 * GIB]),
    "changing_static_range": ("VM.set_memory_static_range", lambda _: [GIB // 2, 2 * GIB]),
    "changing_shadow_memory": (
        "VM.set_HVM_shadow_multiplier",
        lambda rng: [rng.choice((1.0, 2.0))],
    ),
    "changing_VCPUs_live": ("VM.set_VCPUs_number_live", lambda _: [1]),
    "changing_VCPUs": ("VM.set_VCPUs_max", lambda _: [2]),
    "changing_memory_limits": (
        "VM.set_memory_limits",
        lambda _: [GIB // 2, 2 * GIB, GIB, 2 * GIB],
    ),
    "changing_shadow_memory_live": ("VM.set_shadow_multiplier_live", lambda _: [1.0]),
    "send_sysrq": ("VM.send_sysrq", lambda _: ["s"]),
    "send_trigger": ("VM.send_trigger", lambda _: ["power"]),
    **{
        name: (f"VM.{name}", _nothing)
        for name in (
            *("pause", "unpause", "suspend", "revert", "provision", "destroy", "shutdown"),
            *("clean_shutdown", "hard_shutdown", "clean_reboot", "hard_reboot"),
            *("power_state_reset", "get_boot_record", "query_services"),
        )
    },
}
# No call asks for them here but this one, with the name.
ONLY_ASKED = ("export", "metadata_export", "migrate_send")
# Those that change the state come more often.
WEIGHTS = dict.fromkeys(("start", "suspend", "resume", "checkpoint", "pool_migrate"), 4)


class Walk:
    """Makes steps at random on a pool."""

    def __init__(self, user: Client, seed: int) -> None:
        self.user = user
        self.db = user.db
        self.rng = random.Random(seed)
        self.done: list[str] = []  # for whoever reads a failure

    def choose(self) -> tuple[str, str, str, list[Any]]:
        vm = pick(self.rng, self.db)
        advertised = self.db.get("VM", vm, "allowed_operations")
        names = [*OPERATIONS, *ONLY_ASKED]
        weights = [WEIGHTS.get(n, 1) * (3 if n in advertised else 1) for n in names]
        name = self.rng.choices(names, weights)[0]
        if name in ONLY_ASKED:
            return vm, name, "VM.assert_operation_valid", [name]
        method, arguments = OPERATIONS[name]
        return vm, name, method, arguments(self.rng)

    async def step(self) -> None:
        vm, name, method, arguments = self.choose()
        label = self.db.get("VM", vm, "name_label")
        state = self.db.get("VM", vm, "power_state")
        advertised = name in self.db.get("VM", vm, "allowed_operations")
        images = orphans(self.db)
        error = await self.outcome(method, vm, *arguments)
        self.done.append(f"{method} {label} ({state}) {arguments}: {error}")
        if error is None:
            assert advertised or name in NEVER_ADVERTISED, self.done[-1]
            assert name == "destroy" or orphans(self.db) == images  # XAPI destroys no disks
            return
        assert error[0] in ERRORS, self.done[-1]
        if advertised:
            assert error[0] in NO_ROOM | UNFORESEEN.get(name, set()), self.done[-1]

    async def outcome(self, method: str, *arguments: Any) -> list[str] | None:
        try:
            await self.user.call(method, *arguments)
        except XapiError as error:
            return error.description
        return None

    async def disturb(self) -> None:
        """Change what operations depend on, or let time pass."""
        vm = pick(self.rng, self.db)
        host = self.rng.choice((HOST, OTHER_HOST))
        name = self.rng.choice(("start", "snapshot", "hard_shutdown", "suspend", "destroy"))
        blocked = name in self.db.get("VM", vm, "blocked_operations")
        changes: list[Callable[[], Awaitable[Any]]] = [
            lambda: self.user.call("VM.set_affinity", vm, host),
            lambda: self.switch(host),
            *([lambda: asyncio.sleep(20)] * 4),
        ]
        if blocked:
            changes.append(lambda: self.user.call("VM.remove_from_blocked_operations", vm, name))
        else:
            changes.append(lambda: self.user.call("VM.set_blocked_operations", vm, {name: "no"}))
        await self.rng.choice(changes)()

    async def switch(self, host: str) -> None:
        """Disable a host, or enable it."""
        enabled = not self.db.get("host", host, "enabled") or self.rng.random() < 0.5
        self.db.write("host", host, "enabled", enabled)
        allow(self.db, "host", host)

    async def settle(self) -> None:
        """Wait until nothing is under way any more, guests included."""
        for _ in range(1000):
            await asyncio.sleep(60)
            if not self.db.refs("task"):
                return


def run(walk: Callable[[Walk], Awaitable[None]], seed: int) -> None:
    async def main() -> None:
        async with client() as user:
            user.db.restore(Estate().db.snapshot())
            user.session = await user.world.sessions.login("root", "secret", "walk")
            await walk(Walk(user, seed))

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(main())


async def one_by_one(walk: Walk) -> None:
    for _ in range(50):
        if walk.rng.random() < 0.25:
            await walk.disturb()
        await walk.step()
        assert (walk.done[-3:], disorder(walk.db)) == (walk.done[-3:], [])


async def at_once(walk: Walk) -> None:
    """Start operations without waiting for others, and cancel some."""
    tasks: list[str] = []
    for _ in range(20):
        vm, _, method, arguments = walk.choose()
        cls, message = method.split(".")
        if walk.db.model.classes[cls].messages[message].has_async:
            tasks.append(await walk.user.call(f"Async.{method}", vm, *arguments))
        await asyncio.sleep(walk.rng.choice((0.0, 0.05, 0.5, 2.0)))
        if tasks and walk.rng.random() < 0.4:
            await walk.outcome("task.cancel", walk.rng.choice(tasks))
    for task in tasks:
        while walk.db.get("task", task, "status") == "pending":  # noqa: ASYNC110  (time is virtual)
            await asyncio.sleep(30)
        error = walk.db.get("task", task, "error_info")
        assert not error or error[0] in ERRORS, error
        walk.db.destroy("task", task)
    await walk.settle()
    assert disorder(walk.db) == []


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_what_is_advertised_is_what_can_be_done(seed: int):
    run(one_by_one, seed)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_operations_at_once_leave_order(seed: int):
    run(at_once, seed)
