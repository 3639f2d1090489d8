"""Tasks: how they end, are cancelled, and are removed."""

import time

import pytest

from tests.unit.simulator.worlds import HOST, load
from xoproxy.simulator.database import Database, Write
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.tasks import Tasks
from xoproxy.simulator.wiretypes import EPOCH


@pytest.fixture
def db() -> Database:
    return load()


def test_a_new_task(db: Database):
    record = db.record("task", Tasks(db).create("Async.VM.start", "text"))

    expected = {
        "name_label": "Async.VM.start",
        "name_description": "text",
        "status": "pending",
        "progress": 0.0,
        "finished": EPOCH,
        "type": "<none/>",
        "resident_on": HOST,
    }
    assert expected.items() <= record.items()


def test_status_is_written_last(db: Database):
    tasks = Tasks(db)
    seen: list[tuple[str, float]] = []

    def look(write: Write) -> None:
        seen.append((write.row.fields["status"], write.row.fields["progress"]))

    for end in (lambda t: tasks.succeed(t, "x"), lambda t: tasks.fail(t, XapiError("CODE"))):
        task = tasks.create("t")
        db.observers[:] = [look]
        end(task)
        db.observers.clear()
        assert {status for status, _ in seen[:-1]} == {"pending"}
        assert seen[-1][0] in {"success", "failure"}
        assert seen[-1][1] == 1.0
        seen.clear()


def test_a_failure_is_kept_as_code_and_params(db: Database):
    tasks = Tasks(db)
    task = tasks.create("t")
    tasks.fail(task, XapiError("VM_BAD_POWER_STATE", "r", "running", "halted"))

    assert db.get("task", task, "error_info") == ["VM_BAD_POWER_STATE", "r", "running", "halted"]
    assert db.get("task", task, "status") == "failure"


def test_a_pending_task_is_only_marked_and_goes_when_it_ends(db: Database):
    tasks = Tasks(db)
    task = tasks.create("t")
    tasks.destroy(task)
    assert db.get("task", task, "current_operations") == {"task": "destroy"}
    with pytest.raises(XapiError, match="MAP_DUPLICATE_KEY"):
        tasks.destroy(task)

    tasks.succeed(task, "")
    assert not db.exists("task", task)


def test_a_task_that_a_client_has_ended_keeps_what_the_client_wrote(db: Database):
    tasks = Tasks(db)
    task = tasks.create("t")
    db.write("task", task, "status", "success")
    tasks.fail(task, XapiError("CODE"))

    assert db.get("task", task, "status") == "success"
    assert db.get("task", task, "error_info") == []


def test_a_finished_task_is_destroyed_at_once(db: Database):
    tasks = Tasks(db)
    task = tasks.create("t")
    tasks.succeed(task, "")
    tasks.destroy(task)

    assert not db.exists("task", task)


def test_cancelling(db: Database):
    tasks = Tasks(db)
    task, stuck = tasks.create("t"), tasks.create("stuck")
    asked: list[str] = []
    tasks.cancellable(task, lambda: asked.append(task))
    assert db.get("task", task, "allowed_operations") == ["cancel"]

    tasks.cancel(task)
    assert asked == [task]
    tasks.fail(task, XapiError("TASK_CANCELLED", task))
    assert db.get("task", task, "status") == "cancelled"
    tasks.cancel(task)  # it has ended: nothing to do

    with pytest.raises(XapiError, match="OPERATION_NOT_ALLOWED"):
        tasks.cancel(stuck)


def test_old_finished_tasks_are_removed(db: Database, monkeypatch: pytest.MonkeyPatch):
    tasks = Tasks(db)
    done, pending = tasks.create("done"), tasks.create("pending")
    tasks.succeed(done, "")
    tasks.collect()
    assert db.exists("task", done)

    later = time.time() + 3901
    monkeypatch.setattr(time, "time", lambda: later)
    tasks.collect()
    assert not db.exists("task", done)
    assert db.exists("task", pending)


def test_above_the_limit_finished_tasks_go_and_pending_ones_stay(db: Database):
    tasks = Tasks(db)
    made = [tasks.create(str(i)) for i in range(210)]
    assert db.count("task") == 210
    for task in made[:50]:
        tasks.succeed(task, "")
    tasks.collect()

    assert db.count("task") == 200
    assert all(db.exists("task", task) for task in made[50:])


def test_a_new_task_pushes_out_what_ended_first(db: Database):
    tasks = Tasks(db)
    made = [tasks.create(str(i)) for i in range(200)]
    for task in (made[7], made[3], made[5]):
        tasks.succeed(task, "")
    tasks.create("one more")

    assert [task for task in made if not db.exists("task", task)] == [made[7]]
    assert db.count("task") == 200


def test_pending_tasks_without_progress_go_after_a_day(db: Database):
    tasks = Tasks(db)
    stuck, slow = tasks.create("stuck"), tasks.create("slow")
    for hours in (0, 13, 13):
        db.clock_skew_s += hours * 3600
        db.write("task", slow, "progress", db.get("task", slow, "progress") + 0.1)
        tasks.collect()

    assert not db.exists("task", stuck)
    assert db.exists("task", slow)


def test_a_session_lists_its_tasks_and_is_busy_until_they_end(db: Database):
    tasks = Tasks(db)
    session = db.create("session", {})
    one, two = tasks.create("1", "", session), tasks.create("2", "", session)
    assert db.get("session", session, "tasks") == [one, two]
    tasks.succeed(one, "")
    assert tasks.busy_sessions() == {session}
    tasks.succeed(two, "")
    tasks.destroy(two)

    assert tasks.busy_sessions() == set()
    assert db.get("session", session, "tasks") == [one]


def test_the_order_in_which_a_failure_is_written(db: Database):
    tasks = Tasks(db)
    task = tasks.create("t")
    tasks.cancellable(task, lambda: None)
    before = db.record("task", task)
    written: list[str] = []

    def look(write: Write) -> None:
        nonlocal before
        after = dict(write.row.fields)
        written.extend(name for name in after if after[name] != before[name])
        before = after

    db.observers[:] = [look]
    tasks.fail(task, XapiError("CODE"))

    assert written == [
        *("progress", "error_info", "backtrace", "finished", "allowed_operations", "status")
    ]
