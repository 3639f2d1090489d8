"""Tasks: rows of class `task`, the jobs behind them, and when finished ones are removed."""

import calendar
import time
import uuid as uuids
from collections.abc import Callable
from typing import Final

from xoproxy.simulator.database import Database
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import EPOCH

FINISHED_KEPT_S: Final = 3900.0
PENDING_KEPT_S: Final = 24 * 3600.0  # without any progress
TASK_LIMIT: Final = 200
COMPLETED: Final = ("success", "failure", "cancelled")
MARK: Final = "task"  # the key under which a running task is marked to be destroyed
BACKTRACE: Final = "(((process xapi)(filename simulated)(line 0)))"


class Tasks:
    """The pool's tasks. Clients must wait for `status`: it is the last field to be written.

    There are at most 200, but for those that have not ended: a new one pushes the one out that
    ended first.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self._cancellers: dict[str, Callable[[], None]] = {}
        self._doomed: dict[str, XapiError] = {}
        self._sessions: dict[str, str] = {}
        self._stuck: dict[str, tuple[float, float]] = {}  # progress, and since when it is so

    def create(self, label: str, description: str = "", session: str = "") -> str:
        """Add a task of a session, which lives as long as it."""
        pools = self._db.refs("pool")
        record = {
            "name_label": label,
            "name_description": description,
            "created": self._db.now(),
            "status": "pending",
            "type": "<none/>",
            "resident_on": self._db.get("pool", pools[0], "master") if pools else "OpaqueRef:NULL",
        }
        ref = self._db.create("task", record)
        if session:
            self._sessions[ref] = session
            self._list(session)
        self._make_room()
        return ref

    def busy_sessions(self) -> set[str]:
        """Return the sessions whose tasks have not ended; those are not idle."""
        return {session for ref, session in self._sessions.items() if self._is_pending(ref)}

    def succeed(self, ref: str, result: str) -> None:
        self._finish(ref, "success", result=result)

    def fail(self, ref: str, error: XapiError) -> None:
        status = "cancelled" if error.code == "TASK_CANCELLED" else "failure"
        self._finish(ref, status, error_info=error.description)

    def doom(self, ref: str, error: XapiError) -> None:
        """Let what runs in a task fail at its next step."""
        if self._db.exists("task", ref):
            self._doomed[ref] = error

    def require_going(self, ref: str) -> None:
        """Raise why the operation of a task cannot go on, if it cannot."""
        if (error := self._doomed.get(ref)) is not None:
            raise error
        if not self._db.exists("task", ref):
            raise XapiError("TASK_CANCELLED", ref)

    def destroy(self, ref: str) -> None:
        """Remove a task; one that still runs is only marked and goes when it ends."""
        if self._db.get("task", ref, "status") in COMPLETED:
            self._remove(ref)
            return
        current = self._db.get("task", ref, "current_operations")
        if MARK in current:
            raise XapiError("MAP_DUPLICATE_KEY", "task", "current_operations", ref, MARK)
        self._db.write("task", ref, "current_operations", {**current, MARK: "destroy"})

    def drop(self, ref: str) -> None:
        """Remove the task of a synchronous call, which nobody waits for."""
        if self._db.exists("task", ref):
            self._remove(ref)

    def cancellable(self, ref: str, canceller: Callable[[], None]) -> None:
        """Let a running task be cancelled by calling `canceller`."""
        self._cancellers[ref] = canceller
        self._db.write("task", ref, "allowed_operations", ["cancel"])

    def cancel(self, ref: str) -> None:
        if self._db.get("task", ref, "status") != "pending":
            return
        canceller = self._cancellers.get(ref)
        if canceller is None:
            raise XapiError("OPERATION_NOT_ALLOWED", f"task {ref} is not cancellable")
        asker = f"DummyRef:|{uuids.uuid4()}|task.cancel"
        self._db.write("task", ref, "current_operations", {asker: "cancel"})
        canceller()

    def collect(self) -> None:
        """Remove tasks that ended long ago, and those that make no progress."""
        now = self._db.time()
        for ref in self._db.refs("task"):
            task = self._db.row("task", ref).fields
            if task["status"] in COMPLETED:
                if 0 < _seconds(task["finished"]) < now - FINISHED_KEPT_S:
                    self._remove(ref)
            elif self._stuck.get(ref, (-1.0, 0.0))[0] != task["progress"]:
                self._stuck[ref] = task["progress"], now
            elif self._stuck[ref][1] < now - PENDING_KEPT_S:
                self._remove(ref)
        self._make_room()
        self._stuck = {ref: seen for ref, seen in self._stuck.items() if self._is_pending(ref)}
        for ref in [ref for ref in self._sessions if not self._db.exists("task", ref)]:
            del self._sessions[ref]

    def _make_room(self) -> None:
        """Remove the oldest of the ended tasks above the limit."""
        surplus = self._db.count("task") - TASK_LIMIT
        if surplus <= 0:
            return
        rows = (self._db.row("task", ref) for ref in self._db.refs("task"))
        ended = [row for row in rows if row.fields["status"] in COMPLETED]
        ended.sort(key=lambda row: (_seconds(row.fields["finished"]), row.modified))
        for row in ended[:surplus]:
            self._remove(row.ref)

    def _is_pending(self, ref: str) -> bool:
        return self._db.exists("task", ref) and self._db.get("task", ref, "status") not in COMPLETED

    def _remove(self, ref: str) -> None:
        self._doomed.pop(ref, None)
        self._db.destroy("task", ref)
        session = self._sessions.pop(ref, "")
        if session:
            self._list(session)

    def _list(self, session: str) -> None:
        """Keep session.tasks: XAPI's database derives it from a field that clients do not see."""
        if self._db.exists("session", session):
            tasks = [ref for ref, owner in self._sessions.items() if owner == session]
            self._db.correct("session", session, "tasks", tasks)

    def _finish(
        self, ref: str, status: str, result: str | None = None, error_info: list[str] | None = None
    ) -> None:
        self._cancellers.pop(ref, None)
        self._doomed.pop(ref, None)
        if not self._db.exists("task", ref):
            return
        if self._db.get("task", ref, "status") == "pending":  # a client may have ended it
            self._write_end(ref, status, result, error_info)
        if "destroy" in self._db.get("task", ref, "current_operations").values():
            self._remove(ref)

    def _write_end(
        self, ref: str, status: str, result: str | None, error_info: list[str] | None
    ) -> None:
        write = self._db.write
        if error_info is None:
            write("task", ref, "allowed_operations", [])
            write("task", ref, "finished", self._db.now())
            write("task", ref, "progress", 1.0)
            write("task", ref, "result", result)
        else:
            write("task", ref, "progress", 1.0)
            write("task", ref, "error_info", error_info)
            write("task", ref, "backtrace", BACKTRACE)
            write("task", ref, "finished", self._db.now())
            write("task", ref, "allowed_operations", [])
        write("task", ref, "status", status)


def _seconds(date: str) -> float:
    if date == EPOCH:
        return 0.0
    return float(calendar.timegm(time.strptime(date, "%Y%m%dT%H:%M:%SZ")))
