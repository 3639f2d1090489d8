"""Which calls there are, what is checked, and in which order."""

import asyncio
import json

import pytest

from tests.unit.simulator.worlds import HOST, VM, Client, client
from xoproxy.simulator.calls.registry import OPERATIONS, operation
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.jsonrpc import JsonRpc
from xoproxy.simulator.rpc import Request
from xoproxy.simulator.wiretypes import NULL


async def task_of(user: Client, method: str, *params) -> dict:
    """Run an asynchronous call to its end; returns the task's record."""
    ended = asyncio.Event()
    user.db.observers.append(
        lambda w: ended.set() if w.row.fields.get("status") in {"success", "failure"} else None
    )
    task = await user.call(method, *params)
    await ended.wait()
    return user.db.record("task", task)


@pytest.mark.parametrize(
    "method", ["nope", "", "vm.get_all", "VM.set_power_state", "session.get_all", "role.create"]
)
async def test_unknown_methods(method: str):
    async with client() as user:
        assert await user.error(method) == ["MESSAGE_METHOD_UNKNOWN", method]
        assert await user.error(f"Async.{method}") == ["MESSAGE_METHOD_UNKNOWN", method]


async def test_removed_methods_are_told_to_those_who_are_logged_in():
    async with client() as user:
        assert await user.error("VMPP.get_all") == ["MESSAGE_REMOVED"]
        assert await user.raw_error("VMPP.get_all", "bad") == ["SESSION_INVALID", "bad"]
        mismatch = ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VMPP.get_all", "0", "-1"]
        assert await user.raw_error("VMPP.get_all") == mismatch


async def test_names_with_an_underscore_are_another_way_to_call():
    async with client() as user:
        assert await user.call("VM_get_uuid", VM) == "vm-uuid"
        mismatch = ["MESSAGE_PARAMETER_COUNT_MISMATCH", "event_from", "3", "0"]
        assert await user.error("event_from") == mismatch
        _, methods = await user.dispatcher.run("system.listMethods", [])
        assert "event_from" not in methods


async def test_text_that_xml_cannot_hold_is_refused_before_anything_else():
    async with client() as user:
        broken = Request("nope", ["bad", {"k": ["a\x01b"]}], 7, 2)
        reply = json.loads(await user.dispatcher.answer(JsonRpc(), broken))

        text = "{k:[S(a\x01b)]}"
        error = ["INVALID_VALUE", "Invalid UTF-8 string in parameter", text]
        assert reply == {"jsonrpc": "2.0", "error": error, "id": 0}


@pytest.mark.parametrize(
    ("method", "params", "counts"),
    [
        ("VM.get_all", [], ["0", "-1"]),
        ("VM.get_all", ["bad", 1], ["0", "1"]),
        ("VM.start", ["bad", VM], ["3", "1"]),
        ("VM.set_name_label", ["bad", VM, "a", "b"], ["2", "3"]),
        ("session.login_with_password", ["root"], ["2", "1"]),
    ],
)
async def test_the_number_of_parameters_comes_before_the_session(method, params, counts):
    async with client() as user:
        expected = ["MESSAGE_PARAMETER_COUNT_MISMATCH", method, *counts]
        assert await user.raw_error(method, *params) == expected


async def test_types_come_before_the_session():
    async with client() as user:
        code, text = await user.raw_error("VM.set_name_label", "bad", VM, 5)
        assert code == "INTERNAL_ERROR"
        assert text == "Failure(\"Expected string, got 'I(5)'\")"
        assert (await user.raw_error("VM.get_all", None))[0] == "INTERNAL_ERROR"


async def test_the_session_comes_before_the_object():
    async with client() as user:
        assert await user.raw_error("VM.get_uuid", "bad", "bad") == ["SESSION_INVALID", "bad"]
        assert await user.raw_error("Async.VM.get_uuid", "bad", VM) == ["SESSION_INVALID", "bad"]


async def test_a_call_without_an_asynchronous_form():
    async with client() as user:
        assert await user.error("Async.VM.get_all") == [
            "Fault",
            "No async mode for this operation (rpc: VM.get_all)",
        ]


async def test_optional_parameters_may_be_left_out():
    async with client() as user:
        for extra in ([], ["1.0"], ["1.0", "me"], ["1.0", "me", "surplus"]):
            _, ref = await user.dispatcher.run(
                "session.login_with_password", ["root", "secret", *extra]
            )
            assert user.db.exists("session", ref)


async def test_a_synchronous_call_shows_as_a_task_that_comes_and_goes():
    async with client() as user:
        seen: list[str] = []
        user.db.observers.append(lambda w: seen.append(w.op) if w.cls == "task" else None)
        await user.call("VM.get_possible_hosts", VM)
        await user.error("VM.get_possible_hosts", "OpaqueRef:none")

        assert seen == ["add", "del"] * 2
        assert user.db.count("task") == 0


async def test_an_asynchronous_call_succeeds_in_its_task():
    async with client() as user:
        task = await task_of(user, "Async.VM.clone", VM, "copy")
        (copy,) = await user.call("VM.get_by_name_label", "copy")

        assert task["name_label"] == "Async.VM.clone"
        assert (task["status"], task["progress"]) == ("success", 1.0)
        assert task["result"] == f"<value>{copy}</value>"


async def test_an_asynchronous_call_without_a_result():
    async with client() as user:
        task = await task_of(user, "Async.VM.set_order", VM, 2)

        assert task["result"] == "<value></value>"


async def test_an_asynchronous_call_fails_in_its_task():
    async with client() as user:
        task = await task_of(user, "Async.VM.destroy", "OpaqueRef:none")

        assert task["status"] == "failure"
        assert task["error_info"] == ["HANDLE_INVALID", "VM", "OpaqueRef:none"]


async def test_a_mistake_in_a_call_is_an_internal_error(monkeypatch: pytest.MonkeyPatch):
    def broken(*_):
        raise KeyError("oops")

    monkeypatch.setitem(OPERATIONS, "host.enable", broken)
    async with client() as user:
        assert await user.error("host.enable", HOST) == ["INTERNAL_ERROR", "KeyError('oops')"]


async def test_calls_are_counted_by_method():
    async with client() as user:
        for method in ("VM.get_all", "VM.get_all", "nope"):
            await user.dispatcher.answer(JsonRpc(), Request(method, [user.session]))

        assert user.dispatcher.calls == {"VM.get_all": 2, "nope": 1}


async def test_list_methods_needs_no_session_and_lists_what_can_be_called():
    async with client() as user:
        _, methods = await user.dispatcher.run("system.listMethods", [])

        assert {"VM.start", "event.from", "VM.get_all_records_where"} <= set(methods)
        assert not {"session.get_all", "vm.start", "VMPP.get_all"} & set(methods)


async def test_is_alive_echoes():
    async with client() as user:
        assert (await user.dispatcher.run("system.isAlive:x", ["me"]))[1] == "me"


def test_an_operation_is_registered_once():
    with pytest.raises(ValueError, match="twice"):
        operation("VM.start")(lambda _: None)


@pytest.mark.parametrize(
    "cls", [c.name for c in DataModel.load().classes.values() if "get_all" in c.messages]
)
async def test_every_class_can_be_listed(cls: str):
    async with client() as user:
        if DataModel.load().classes[cls].messages["get_all"].removed:
            assert await user.error(f"{cls}.get_all") == ["MESSAGE_REMOVED"]
            return
        refs = await user.call(f"{cls}.get_all")
        for method in ("get_all_records", "get_all_records_where"):
            filters = ["true"] if method.endswith("where") else []
            records = await user.call(f"{cls}.{method}", *filters)
            assert {row.ref for row in records.rows} == set(refs)


# -- generated calls -----------------------------------------------------------------------


async def test_getters_setters_and_their_errors():
    async with client() as user:
        await user.call("VM.set_name_label", VM, "new")

        assert await user.call("VM.get_name_label", VM) == "new"
        assert await user.error("VM.get_name_label", NULL) == ["HANDLE_INVALID", "VM", NULL]
        assert await user.error("host.get_record", VM) == ["HANDLE_INVALID", "host", VM]
        assert await user.error("VM.set_tags", "bad", []) == ["HANDLE_INVALID", "VM", "bad"]


async def test_hand_written_setters_that_only_write_need_no_code():
    async with client() as user:
        await user.call("VM.set_actions_after_crash", VM, "preserve")
        await user.call("VM.set_appliance", VM, "OpaqueRef:any")

        assert await user.call("VM.get_actions_after_crash", VM) == "preserve"
        assert await user.call("VM.get_appliance", VM) == "OpaqueRef:any"


async def test_maps():
    async with client() as user:
        await user.call("VM.add_to_platform", VM, "k", "v")
        duplicate = ["MAP_DUPLICATE_KEY", "VM", "platform", VM, "k"]

        assert await user.error("VM.add_to_platform", VM, "k", "v") == duplicate
        assert await user.call("VM.get_platform", VM) == {"k": "v"}
        for _ in range(2):
            await user.call("VM.remove_from_platform", VM, "k")
        assert await user.call("VM.get_platform", VM) == {}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("VM.set_platform", [VM, {"": "x"}]),
        ("VM.add_to_platform", [VM, "", "x"]),
        ("secret.create", [{"value": "x", "other_config": {"": "x"}}]),
    ],
)
async def test_empty_keys_are_refused(method: str, params: list):
    async with client() as user:
        expected = ["INTERNAL_ERROR", "Db_exn.Empty_key_in_map"]
        assert await user.error(method, *params) == expected


async def test_sets():
    async with client() as user:
        for tag in ("t1", "t1", "t2"):
            await user.call("VM.add_tags", VM, tag)
        assert await user.call("VM.get_tags", VM) == ["t2", "t1"]

        for _ in range(2):
            await user.call("VM.remove_tags", VM, "t1")
        assert await user.call("VM.get_tags", VM) == ["t2"]


async def test_lookups():
    async with client() as user:
        assert await user.call("VM.get_by_uuid", "vm-uuid") == VM
        assert await user.error("VM.get_by_uuid", VM) == ["UUID_INVALID", "VM", VM]
        assert await user.call("VM.get_by_name_label", "one") == [VM]
        assert await user.call("VM.get_by_name_label", "One") == []


async def test_create_takes_defaults_and_names_what_is_missing():
    async with client() as user:
        ref = await user.call("network.create", {"other_config": {}, "unknown": 1, "uuid": "mine"})
        record = user.db.record("network", ref)
        assert (record["MTU"], record["managed"], record["bridge"]) == (1500, True, "xapi0")
        assert record["uuid"] != "mine"  # not a field that a client may set

        assert await user.error("network.create", {"name_label": "x"}) == [
            "INTERNAL_ERROR",
            'Server_helpers.Dispatcher_FieldNotFound("other_config")',
        ]
        assert (await user.error("network.create", {"other_config": 1}))[0] == "INTERNAL_ERROR"


async def test_destroy():
    async with client() as user:
        ref = await user.call("secret.create", {"value": "x", "other_config": {}})
        await user.call("secret.destroy", ref)

        assert await user.error("secret.destroy", ref) == ["HANDLE_INVALID", "secret", ref]
