"""Clients that nobody here wrote keep house: repositories, disks, drives, NICs, networks.

After each part they hold what the database holds.
"""

from collections.abc import AsyncIterator

import pytest

from tests.foreign.clients import CallError
from tests.integration.test_foreign_clients import CLIENTS, Scene, opened

GIB = 1 << 30
NAS = {"server": "nas", "serverpath": "/new"}


@pytest.fixture(params=CLIENTS)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with opened(*CLIENTS[request.param]) as made:
        yield made


def disk(sr: str, **members: object) -> dict:
    return {
        "name_label": "theirs",
        "name_description": "",
        "SR": sr,
        "virtual_size": str(2 * GIB),
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
        "xenstore_data": {},
        "sm_config": {},
        "tags": [],
        **members,
    }


def drive(vm: str, vdi: str, **members: object) -> dict:
    return {
        "VM": vm,
        "VDI": vdi,
        "userdevice": "autodetect",
        "bootable": False,
        "mode": "RW",
        "type": "Disk",
        "unpluggable": True,
        "empty": False,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        **members,
    }


async def test_a_repository_from_its_making_to_its_end(scene: Scene):
    client, database = scene.client, scene.pool.database
    host = database.refs("host")[0]
    sr = await client.call("SR.create", host, NAS, "0", "new", "", "nfs", "user", True, {})
    pbds = database.get("SR", sr, "PBDs")
    assert len(pbds) == database.count("host")
    vdi = await client.call_async("VDI.create", disk(sr))
    with pytest.raises(CallError) as refused:
        await client.call("SR.forget", sr)
    assert (refused.value.code, refused.value.params) == ("SR_HAS_PBD", [sr])
    for pbd in pbds:
        await client.call_async("PBD.unplug", pbd)
    await scene.agrees()

    uuid = database.get("SR", sr, "uuid")
    await client.call_async("SR.forget", sr)
    assert not database.exists("VDI", vdi)
    sr = await client.call("SR.introduce", uuid, "back", "", "nfs", "user", True, {})
    record = {"host": host, "SR": sr, "device_config": NAS, "other_config": {}}
    await client.call_async("PBD.plug", await client.call("PBD.create", record))
    await client.call_async("SR.scan", sr)
    (found,) = database.get("SR", sr, "VDIs")
    assert database.get("VDI", found, "name_label") == "theirs"
    await client.call_async("VDI.destroy", found)
    await scene.agrees()


async def test_a_disk_in_a_running_machine(scene: Scene):
    client, database = scene.client, scene.pool.database
    (pool,) = database.refs("pool")
    sr = database.get("pool", pool, "default_SR")
    vm = next(
        ref
        for ref in database.refs("VM")
        if "clean_shutdown" in database.get("VM", ref, "allowed_operations")
    )
    vdi = await client.call("VDI.create", disk(sr))
    vbd = await client.call("VBD.create", drive(vm, vdi))
    await client.call_async("VBD.plug", vbd)
    assert database.get("VBD", vbd, "currently_attached")
    with pytest.raises(CallError) as refused:
        await client.call_async("VDI.destroy", vdi)
    assert (refused.value.code, refused.value.params) == ("VDI_IN_USE", [vdi, "destroy"])
    snapshot = await client.call_async("VDI.snapshot", vdi)
    assert database.get("VDI", snapshot, "snapshot_of") == vdi
    await client.call("VBD.unplug", vbd)
    await client.call("VDI.resize", vdi, str(3 * GIB))
    copy = await client.call_async("VDI.copy", vdi, sr)
    assert database.get("VDI", copy, "virtual_size") == 3 * GIB
    for one in (snapshot, copy, vdi):
        await client.call("VDI.destroy", one)
    assert not database.exists("VBD", vbd)
    await scene.agrees()


async def test_a_medium_goes_in_and_out(scene: Scene):
    client, database = scene.client, scene.pool.database
    vbd = next(
        ref
        for ref in database.refs("VBD")
        if "insert" in database.get("VBD", ref, "allowed_operations")
    )
    iso = next(ref for ref in database.refs("VDI") if database.get("VDI", ref, "read_only"))
    await client.call_async("VBD.insert", vbd, iso)
    assert database.get("VBD", vbd, "VDI") == iso
    await client.call_async("VBD.eject", vbd)
    assert database.get("VBD", vbd, "empty")
    await scene.agrees()


async def test_a_network_on_all_hosts(scene: Scene):
    client, database = scene.client, scene.pool.database
    pif = next(ref for ref in database.refs("PIF") if database.get("PIF", ref, "management"))
    network = await client.call("network.create", {"name_label": "lab", "other_config": {}})
    made = await client.call("pool.create_VLAN_from_PIF", pif, network, "77")
    assert len(made) == database.count("host")
    with pytest.raises(CallError) as refused:
        await client.call("network.destroy", network)
    assert refused.value.code == "NETWORK_CONTAINS_PIF"
    await scene.agrees()
    for one in made:
        vlan = await client.call("PIF.get_VLAN_master_of", one)
        await client.call_async("VLAN.destroy", vlan)
    await client.call("network.destroy", network)
    await scene.agrees()
