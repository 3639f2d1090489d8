"""Random calls on storage, devices and networks leave a pool whole, and keep what it promises.

Whatever is called in whatever order: the sums of repositories are right, nothing points at what is
gone, everything advertises what the rules say, each refusal is one that XAPI has; and what was
advertised fails for reasons only that no object can know of, while what was not never succeeds.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.simulator.calls.support import (
    GIB,
    add_nic,
    add_sm,
    add_sr,
    add_vbd,
    add_vdi,
    broken,
    run,
    settle,
    untrue,
)
from tests.unit.simulator.worlds import HOST, OTHER, VM, Client, client
from xoproxy.simulator.dispatch import Dispatcher
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.lifecycle import devices
from xoproxy.simulator.lifecycle import nics as nic_rows
from xoproxy.simulator.wiretypes import NULL

SPEED = 1e7
# What an object cannot know when it says what it allows: other objects, arguments, space.
_UNFORESEEN = {
    "HANDLE_INVALID", "SR_HAS_NO_PBDS", "SR_BACKEND_FAILURE_44", "SR_BACKEND_FAILURE_79",
    "VDI_READONLY", "VDI_TOO_SMALL", "VDI_IS_NOT_ISO", "SR_OPERATION_NOT_SUPPORTED",
}  # fmt: skip
_UNFORESEEN_BY = {
    "VBD.plug": {"VDI_IN_USE"},  # by another VM
    "VDI.data_destroy": {"VDI_IN_USE"},  # VBDs that did not go in time
    "VDI.set_on_boot": {"VM_BAD_POWER_STATE"},
}
_UNDOCUMENTED = {"VDI_IS_SHARABLE", "VM_IS_SNAPSHOT"}


_NAS = {"server": "nas", "serverpath": "/vms"}


@dataclass(frozen=True)
class Kind:
    """A call on an object of a class; what it is called where it is advertised."""

    cls: str
    name: str
    advertised: str | None = None
    on_sr: str | None = None

    @property
    def method(self) -> str:
        return f"{self.cls}.{self.name}"


def _disk(name: str, on_sr: str | None = None) -> Kind:
    return Kind("VDI", name, name, on_sr)


KINDS = (
    *(Kind("VBD", name, name) for name in ("plug", "unplug", "unplug_force", "insert", "eject")),
    *(Kind("VIF", name, name) for name in ("plug", "unplug")),
    *(_disk(n, f"vdi_{n}") for n in ("destroy", "resize", "snapshot", "clone", "data_destroy")),
    *(_disk(n, f"vdi_{n}") for n in ("enable_cbt", "disable_cbt", "set_on_boot")),
    *(_disk(n) for n in ("copy", "update", "forget")),
    *(Kind("SR", name, name) for name in ("scan", "update", "forget", "destroy")),
    *(Kind("PBD", name) for name in ("plug", "unplug", "destroy")),
    *(Kind("VBD", name) for name in ("create", "destroy")),
    *(Kind("VIF", name) for name in ("create", "destroy", "move")),
    *(Kind("VDI", name) for name in ("create", "pool_migrate", "set_sharable", "set_name_label")),
    *(Kind("SR", name) for name in ("create", "introduce")),
    *(Kind("network", name) for name in ("create", "destroy")),
    *(Kind("VLAN", name) for name in ("create", "destroy")),
    *(Kind("Bond", name) for name in ("create", "destroy")),
    *(Kind("PIF", name) for name in ("plug", "unplug", "forget", "scan")),
)
# Long ones: short lists, which are drawn by default, hardly get anywhere.
steps = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 99), st.integers(0, 99)),
    min_size=12,
    max_size=60,
)


class Player:
    """Makes calls from numbers: the same numbers, the same calls."""

    def __init__(self, user: Client) -> None:
        self.user = user
        self.db = user.db

    def pick(self, cls: str, number: int) -> str:
        """Choose an object, by age: references differ from run to run."""
        rows = sorted(self.db.tables[cls].rows.values(), key=lambda row: row.created)
        return rows[number % len(rows)].ref if rows else f"OpaqueRef:no-{cls}"

    def arguments(self, kind: Kind, one: int, two: int) -> list[Any]:
        pick = self.pick
        made: dict[str, Callable[[], list[Any]]] = {
            "VBD.create": lambda: [self._vbd(one, two)],
            "VIF.create": lambda: [self._vif(one, two)],
            "VDI.create": lambda: [self._vdi(one, two)],
            "SR.create": lambda: [HOST, _NAS, 0, "new", "", "nfs", "user", bool(one % 2), {}],
            "SR.introduce": lambda: ["", "known", "", "nfs", "user", True, {}],
            "network.create": lambda: [{"other_config": {}}],
            "VLAN.create": lambda: [pick("PIF", one), two % 3, pick("network", two)],
            "Bond.create": lambda: [
                pick("network", one),
                [pick("PIF", two), pick("PIF", two + 1)],
                "",
            ],
            "PIF.scan": lambda: [HOST],
        }
        if kind.method in made:
            return made[kind.method]()
        return [pick(kind.cls, one), *self._more(kind, two)]

    def _more(self, kind: Kind, number: int) -> list[Any]:
        more: dict[str, list[Any]] = {
            "VBD.insert": [self.pick("VDI", number)],
            "VIF.move": [self.pick("network", number)],
            "VDI.resize": [number * GIB // 10],
            "VDI.copy": [self.pick("SR", number)],
            "VDI.pool_migrate": [self.pick("SR", number), {}],
            "VDI.set_on_boot": [("reset", "persist")[number % 2]],
            "VDI.set_sharable": [bool(number % 2)],
            "VDI.set_name_label": [f"name {number}"],
        }
        return more.get(kind.method, [])

    def _vbd(self, one: int, two: int) -> dict[str, Any]:
        is_cd = one % 4 == 0
        return {
            "VM": (VM, OTHER)[one % 2],
            "VDI": NULL if is_cd else self.pick("VDI", two),
            "userdevice": "autodetect",
            "bootable": False,
            "mode": "RO" if is_cd or two % 3 == 0 else "RW",
            "type": "CD" if is_cd else "Disk",
            "empty": is_cd,
            "other_config": {},
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }

    def _vif(self, one: int, two: int) -> dict[str, Any]:
        return {
            "VM": (VM, OTHER)[one % 2],
            "network": self.pick("network", two),
            "device": str(two % 5),
            "MAC": f"02:00:00:00:01:{two:02x}",
            "MTU": 1500,
            "other_config": {},
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }

    def _vdi(self, one: int, two: int) -> dict[str, Any]:
        return {
            "SR": self.pick("SR", one),
            "virtual_size": two * GIB // 7,
            "type": "user",
            "sharable": False,
            "read_only": two % 5 == 0,
            "other_config": {},
        }

    def offered(self, kind: Kind, ref: str) -> bool | None:
        """Tell whether an object advertises a call; None for calls that are not advertised."""
        if kind.advertised is None or not self.db.exists(kind.cls, ref):
            return None
        fits = kind.advertised in self.db.get(kind.cls, ref, "allowed_operations")
        if kind.on_sr is None or not fits:
            return fits
        sr = self.db.get("VDI", ref, "SR")
        return kind.on_sr in self.db.get("SR", sr, "allowed_operations")

    async def play(self, kind: Kind, one: int, two: int) -> None:
        arguments = self.arguments(kind, one, two)
        offered = self.offered(kind, arguments[0]) if isinstance(arguments[0], str) else None
        error = await self._error_of(kind, arguments)
        if error is None:
            assert offered is not False, kind.method
        else:
            self.require_known(error)
            unforeseen = error[0] in _UNFORESEEN | _UNFORESEEN_BY.get(kind.method, set())
            assert not offered or unforeseen, (kind.method, error)

    def require_known(self, error: list[str]) -> None:
        known = (self.db.model.errors | _UNDOCUMENTED) - {"INTERNAL_ERROR"}
        assert error[0] in known or error[0].startswith("SR_BACKEND_FAILURE_"), error

    async def _error_of(self, kind: Kind, arguments: list[Any]) -> list[str] | None:
        try:
            await self.user.call(kind.method, *arguments)
        except XapiError as error:
            return error.description
        return None

    def check(self) -> None:
        assert untrue(self.db, "SR", "VBD", "VDI", "VIF", "VM") == []
        assert broken(self.db) == []
        for sr in self.db.refs("SR"):
            sizes = [self.db.get("VDI", v, "virtual_size") for v in self.db.get("SR", sr, "VDIs")]
            assert sum(sizes) == self.db.get("SR", sr, "virtual_allocation")
            assert self.db.get("SR", sr, "current_operations") == {}
        for vbd in self.db.refs("VBD"):
            record = self.db.record("VBD", vbd)
            assert record["empty"] == (record["VDI"] == NULL)
            assert record["empty"] or self.db.exists("VDI", record["VDI"])
            if record["currently_attached"]:
                assert self.db.get("VM", record["VM"], "power_state") == "Running"


def furnish(user: Client) -> None:
    """Set up a VM that runs and one that does not, repositories, NICs and networks."""
    nfs, lvm = add_sr(user), add_sr(user, "lvm")
    add_sm(user, "iso", ("VDI_CREATE", "VDI_DELETE"))
    isos = add_sr(user, "iso", content="iso")
    user.db.write("SR", lvm, "physical_size", 40 * GIB)
    for sr in (nfs, nfs, lvm):
        add_vdi(user, sr)
    add_vdi(user, isos, read_only=True)
    add_vbd(user, user.db.get("SR", nfs, "VDIs")[0])
    add_vbd(user, type="CD", mode="RO", userdevice="3")
    nics = [add_nic(user, 0), add_nic(user, 1)]
    lan = user.db.create("network", {"bridge": "xapi0"})
    user.db.create("network", {"bridge": "xapi1"})
    nic_rows.add_vlan(user.db, nics[0], 9, lan)
    devices.add_vif(user.db, {"VM": VM, "network": lan, "device": "0"})
    run(user)
    guest = user.db.get("VM", VM, "guest_metrics")
    user.db.write("VM_guest_metrics", guest, "other", {"feature-suspend": "1"})
    for vm in user.db.refs("VM"):
        settle(user, "VM", vm)


async def _play(history: list[tuple[Kind, int, int]], *, at_once: int) -> None:
    async with client() as user:
        user.world = replace(user.world, speed=SPEED)
        user.dispatcher = Dispatcher(user.db.model, user.world)
        furnish(user)
        player = Player(user)
        player.check()
        if at_once == 1:
            for kind, one, two in history:
                await player.play(kind, one, two)
                player.check()
            return
        tasks = []
        for kind, one, two in history:
            arguments = player.arguments(kind, one, two)
            messages = user.db.model.classes[kind.cls].messages
            if not messages[kind.name].has_async:
                continue
            tasks.append(await user.call(f"Async.{kind.method}", *arguments))
            await asyncio.sleep(0)
        await _ended(user, tasks)
        for task in tasks:
            if user.db.get("task", task, "status") != "success":
                player.require_known(user.db.get("task", task, "error_info"))
        player.check()


async def _ended(user: Client, tasks: list[str]) -> None:
    """Wait until tasks have ended."""
    bell = asyncio.Event()
    user.db.changed.append(bell.set)
    while any(user.db.get("task", task, "status") == "pending" for task in tasks):
        bell.clear()
        await bell.wait()


@given(steps)
def test_one_call_after_the_other(history: list[tuple[Kind, int, int]]) -> None:
    asyncio.run(_play(history, at_once=1))


# A control domain's drive is being unplugged when its copy ends.
_COPY, _PLUG, _UNPLUG = _disk("copy"), Kind("VBD", "plug", "plug"), Kind("VBD", "unplug", "unplug")


@given(steps)
@example([(_COPY, 0, 0), *[(_PLUG, 0, 0)] * 7, (_UNPLUG, 3, 0)])
def test_many_calls_beside_each_other(history: list[tuple[Kind, int, int]]) -> None:
    asyncio.run(_play(history, at_once=len(KINDS)))
