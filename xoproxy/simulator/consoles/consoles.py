"""Which consoles there are, who looks at them, and when that has to end.

A console exists while its VM runs; it is served by the host where the VM runs. What it shows
stays while its row does, so that the next viewer sees what the last one left.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from xoproxy.simulator.consoles.screen import Screen
from xoproxy.simulator.consoles.terminal import Terminal, TerminalViewer
from xoproxy.simulator.consoles.viewer import ScreenViewer
from xoproxy.simulator.database import Database, Write
from xoproxy.simulator.dates import seconds_of

PROTOCOLS: Final = ("rfb", "vt100")


class NoConsoleError(LookupError):
    """What was asked for is no console, or none that this host can show."""


class Viewer(Protocol):
    """One who looks at a console."""

    def receive(self, data: bytes) -> bool:
        """Take what came; says whether somebody was at work."""

    def take(self) -> bytes:
        """Return what is to be sent now; nothing if there is nothing."""

    def close(self) -> None: ...


@dataclass(eq=False, slots=True)
class Viewing:
    """That somebody looks at a console of a VM on a host. `ended`: it must end."""

    console: str
    vm: str
    host: str
    user: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Consoles:
    """The consoles of a pool."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._machines: dict[str, Screen | Terminal] = {}
        self._viewings: list[Viewing] = []

    def find(self, ref: str | None, uuid: str | None) -> str:
        """Return the console that a request means: a VM's reference or uuid means its screen.

        Raises NoConsoleError.
        """
        db = self._db
        if uuid is not None:
            ref = db.by_uuid("VM", uuid) or db.by_uuid("console", uuid)
        if ref is not None and db.exists("VM", ref):
            consoles = [c for c in db.get("VM", ref, "consoles") if db.exists("console", c)]
            screens = [c for c in consoles if db.get("console", c, "protocol") == "rfb"]
            ref = next(iter(screens), None)
        if ref is None or not db.exists("console", ref):
            raise NoConsoleError
        return ref

    def is_shown(self, console: str, host: str) -> bool:
        """Say whether the VM of a console runs on a host."""
        vm = self._db.get("console", console, "VM")
        return (
            self._db.exists("VM", vm)
            and self._db.get("VM", vm, "power_state") == "Running"
            and self._db.get("VM", vm, "resident_on") == host
        )

    def viewers_of(self, vm: str) -> list[str]:
        """List the users who look at any console of a VM."""
        return [viewing.user for viewing in self._viewings if viewing.vm == vm]

    def begin(self, console: str, host: str, user: str) -> Viewing:
        """Count a viewer in."""
        if not self._viewings:
            self._db.observers.append(self._observe)
        viewing = Viewing(console, self._db.get("console", console, "VM"), host, user)
        self._viewings.append(viewing)
        return viewing

    def end(self, viewing: Viewing) -> None:
        self._viewings.remove(viewing)
        if not self._viewings:
            self._db.observers.remove(self._observe)

    def viewer(self, viewing: Viewing, wake: Callable[[], None]) -> Viewer:
        """Let somebody look; `wake` is called when there is something to send."""
        machine = self._machine(viewing.console)
        if isinstance(machine, Screen):
            return ScreenViewer(machine, self._name(viewing.vm), wake)
        return TerminalViewer(machine, wake)

    def screen(self, console: str) -> Screen:
        """Return a console's screen. Raises NoConsoleError if it has none."""
        machine = self._machine(console)
        if not isinstance(machine, Screen):
            raise NoConsoleError
        return machine

    def _machine(self, console: str) -> Screen | Terminal:
        for gone in [ref for ref in self._machines if not self._db.exists("console", ref)]:
            del self._machines[gone]
        machine = self._machines.get(console)
        if machine is None:
            vm = self._db.get("console", console, "VM")
            if self._db.get("console", console, "protocol") == "rfb":
                machine = Screen(self._name(vm))
            else:
                machine = Terminal(lambda: self._name(vm), lambda: self._uptime_s(vm))
            self._machines[console] = machine
        return machine

    def _name(self, vm: str) -> str:
        """Return what a machine is called, without what would move a terminal's cursor."""
        name = str(self._db.get("VM", vm, "name_label")) if self._db.exists("VM", vm) else ""
        return "".join(filter(str.isprintable, name))

    def _uptime_s(self, vm: str) -> float:
        if not self._db.exists("VM", vm):
            return 0.0
        metrics = self._db.get("VM", vm, "metrics")
        if not self._db.exists("VM_metrics", metrics):
            return 0.0
        started = seconds_of(self._db.get("VM_metrics", metrics, "start_time"))
        return max(0.0, self._db.time() - started) if started else 0.0

    def _observe(self, write: Write) -> None:
        """Follow the VMs that somebody looks at."""
        if write.cls not in {"VM", "console"}:
            return
        for viewing in self._viewings:
            if write.row.ref not in {viewing.vm, viewing.console}:
                continue
            if not self._goes_on(viewing):
                viewing.ended.set()
            elif isinstance(machine := self._machines.get(viewing.console), Screen):
                machine.set_title(self._name(viewing.vm))

    def _goes_on(self, viewing: Viewing) -> bool:
        """Say whether a viewer may stay. A VM that is paused keeps those it has."""
        db = self._db
        return (
            db.exists("console", viewing.console)
            and db.exists("VM", viewing.vm)
            and db.get("VM", viewing.vm, "resident_on") == viewing.host
        )
