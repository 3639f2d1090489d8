"""The calls on data sources."""

import json

import pytest

from tests.unit.simulator.worlds import DOM0, HOST, VM, client
from xoproxy.simulator.dispatch import encode
from xoproxy.simulator.jsonrpc import JsonRpc


async def records(world, method: str, ref: str) -> dict[str, dict]:
    kind, value = await world.dispatcher.run(method, [world.session, ref])
    text = encode(JsonRpc().codec, kind, value).decode().replace("Infinity", '"Infinity"')
    return {record["name_label"]: record for record in json.loads(text)}


async def test_a_host_lists_what_it_can_measure():
    async with client() as world:
        found = await records(world, "host.get_data_sources", HOST)

    assert found["loadavg"] == {
        "name_label": "loadavg",
        "name_description": "Load average of domain 0",
        "enabled": True,
        "standard": True,
        "units": "(fraction)",
        "min": 0.0,
        "max": "Infinity",
        "value": 0.0,
    }


async def test_the_value_of_a_data_source_is_the_newest():
    async with client() as world:
        value = await world.call("host.query_data_source", HOST, "loadavg")
        memory = await world.call("VM.query_data_source", DOM0, "memory_target")

    assert value > 0
    assert memory == 0.0  # as the world's control domain says


async def test_recording_and_forgetting_show_in_the_list():
    async with client() as world:
        await world.call("VM.record_data_source", DOM0, "runstate_blocked")
        await world.call("VM.forget_data_source_archives", DOM0, "memory")
        found = await records(world, "VM.get_data_sources", DOM0)
        gone = await world.error("VM.query_data_source", DOM0, "memory")

    assert found["runstate_blocked"]["enabled"]
    assert not found["runstate_blocked"]["standard"]
    assert not found["memory"]["enabled"]
    assert gone == ["INTERNAL_ERROR", 'Rrd.Invalid_data_source("memory")']


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("VM.query_data_source", "running;paused"),
        ("VM.record_data_source", "running"),
        ("VM.forget_data_source_archives", "running"),
    ],
)
async def test_a_vm_must_run(method, expected):
    async with client() as world:
        assert await world.error(method, VM, "memory") == [
            "VM_BAD_POWER_STATE",
            VM,
            expected,
            "halted",
        ]


@pytest.mark.parametrize("cls", ["host", "VM", "SR"])
async def test_what_is_not_there_is_refused(cls):
    async with client() as world:
        assert await world.error(f"{cls}.get_data_sources", "OpaqueRef:none") == [
            "HANDLE_INVALID",
            cls,
            "OpaqueRef:none",
        ]
        if cls != "SR":
            ref = HOST if cls == "host" else DOM0
            assert await world.error(f"{cls}.query_data_source", ref, "nope") == [
                "INTERNAL_ERROR",
                'Rrd.Invalid_data_source("nope")',
            ]
