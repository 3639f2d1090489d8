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
TASK_LIMIT: Final = 200
COMPLETED: Final = ("success", "failure", "cancelled")
MARK: Final = "task"  # the key under which a running task is marked to be destroyed


class Tasks:
    """The pool's tasks. Clients must wait for `status`: it is the last field to be written."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._cancellers: dict[str, Callable[[], None]] = {}

    def create(self, label: str, description: str = "") -> str:
        pools = self._db.refs("pool")
        record = {
            "name_label": label,
            "name_description": description,
            "created": self._db.now(),
            "status": "pending",
            "type": "<none/>",
            "resident_on": self._db.get("pool", pools[0], "master") if pools else "OpaqueRef:NULL",
        }
        return self._db.create("task", record)

    def succeed(self, ref: str, result: str) -> None:
        self._finish(ref, "success", result=result)

    def fail(self, ref: str, error: XapiError) -> None:
        status = "cancelled" if error.code == "TASK_CANCELLED" else "failure"
        self._finish(ref, status, error_info=error.description)

    def destroy(self, ref: str) -> None:
        """Remove a task; one that still runs is only marked and goes when it ends."""
        if self._db.get("task", ref, "status") in COMPLETED:
            self._db.destroy("task", ref)
            return
        current = self._db.get("task", ref, "current_operations")
        if MARK in current:
            raise XapiError("MAP_DUPLICATE_KEY", "task", "current_operations", ref, MARK)
        self._db.write("task", ref, "current_operations", {**current, MARK: "destroy"})

    def drop(self, ref: str) -> None:
        """Remove the task of a synchronous call, which nobody waits for."""
        if self._db.exists("task", ref):
            self._db.destroy("task", ref)

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
        """Remove tasks that finished long ago, and the oldest finished ones above the limit."""
        tasks = {ref: self._db.record("task", ref) for ref in self._db.refs("task")}
        ended = sorted(
            (_seconds(task["finished"]), ref)
            for ref, task in tasks.items()
            if task["status"] in COMPLETED
        )
        surplus = max(0, len(tasks) - TASK_LIMIT)
        for i, (finished, ref) in enumerate(ended):
            if i < surplus or 0 < finished < self._db.time() - FINISHED_KEPT_S:
                self._db.destroy("task", ref)

    def _finish(
        self, ref: str, status: str, result: str | None = None, error_info: list[str] | None = None
    ) -> None:
        self._cancellers.pop(ref, None)
        if not self._db.exists("task", ref):
            return
        if self._db.get("task", ref, "status") == "pending":  # a client may have ended it
            self._write_end(ref, status, result, error_info)
        if "destroy" in self._db.get("task", ref, "current_operations").values():
            self._db.destroy("task", ref)

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
            write("task", ref, "finished", self._db.now())
            write("task", ref, "allowed_operations", [])
        write("task", ref, "status", status)


def _seconds(date: str) -> float:
    if date == EPOCH:
        return 0.0
    return float(calendar.timegm(time.strptime(date, "%Y%m%dT%H:%M:%SZ")))
