"""VLANs and tunnels, on one host or on all."""

import pytest

from tests.unit.simulator.calls.support import Journal, add_nic, broken
from tests.unit.simulator.worlds import HOST, VM, Client, client


async def network(user: Client) -> str:
    ref: str = await user.call("network.create", {"other_config": {}})
    return ref


async def test_a_vlan_from_its_creation_to_its_end():
    async with client() as user:
        pif, lan = add_nic(user), await network(user)
        journal = Journal(user.db)
        vlan = await user.call("VLAN.create", pif, 42, lan)
        record = user.db.record("PIF", user.db.get("VLAN", vlan, "untagged_PIF"))

        assert journal.lines == [
            *("add PIF", "mod host.PIFs", "mod network.PIFs"),
            *("add VLAN", "mod PIF.VLAN_slave_of"),
            "mod PIF.currently_attached",
        ]
        assert (record["VLAN"], record["VLAN_master_of"], record["device"]) == (42, vlan, "eth0")
        assert record["metrics"] == user.db.get("PIF", pif, "metrics")
        assert broken(user.db) == []
        del journal.lines[:]
        await user.call("VLAN.destroy", vlan)
        assert [line for line in journal.lines if line.startswith("del")] == ["del VLAN", "del PIF"]
        assert user.db.get("PIF", pif, "VLAN_slave_of") == []
        assert user.db.count("PIF_metrics") == 1
        await user.call("network.destroy", lan)


@pytest.mark.parametrize("tag", [-1, 4095])
async def test_tags_have_bounds(tag: int):
    async with client() as user:
        error = ["VLAN_TAG_INVALID", str(tag)]
        assert await user.error("VLAN.create", add_nic(user), tag, await network(user)) == error


async def test_what_is_refused():
    async with client() as user:
        pif, lan, other = add_nic(user), await network(user), await network(user)
        vlan = await user.call("VLAN.create", pif, 5, lan)
        untagged = user.db.get("VLAN", vlan, "untagged_PIF")
        connected = ["NETWORK_ALREADY_CONNECTED", HOST, untagged]
        assert await user.error("VLAN.create", pif, 6, lan) == connected
        assert await user.error("VLAN.create", pif, 5, other) == ["PIF_VLAN_EXISTS", "eth0"]
        assert await user.error("VLAN.create", untagged, 7, other) == ["PIF_IS_VLAN", untagged]
        member = add_nic(user, 1)
        await user.call("Bond.create", await network(user), [member], "")
        slave = ["CANNOT_ADD_VLAN_TO_BOND_SLAVE", member]
        assert await user.error("VLAN.create", member, 5, other) == slave
        vif = user.db.create("VIF", {"VM": VM, "network": lan, "currently_attached": True})
        user.db.write("VM", VM, "power_state", "Running")
        user.db.write("VM", VM, "resident_on", HOST)
        assert await user.error("VLAN.destroy", vlan) == ["VIF_IN_USE", lan, vif]
        foreign = add_nic(user, 3, managed=False)
        assert await user.error("VLAN.create", foreign, 5, other) == ["PIF_UNMANAGED", foreign]
        user.db.write("network", other, "managed", value=False)
        assert await user.error("VLAN.create", pif, 9, other) == ["NETWORK_UNMANAGED", other]
        assert broken(user.db) == []


async def test_a_vlan_by_the_name_of_its_nic():
    async with client() as user:
        physical, lan = add_nic(user), await network(user)
        bad = ["INVALID_VALUE", "device", "eth7"]
        assert await user.error("PIF.create_VLAN", "eth7", lan, HOST, 5) == bad
        pif = await user.call("PIF.create_VLAN", "eth0", lan, HOST, 5)
        assert user.db.get("PIF", pif, "VLAN") == 5
        assert await user.error("PIF.destroy", physical) == ["PIF_IS_PHYSICAL", physical]
        await user.call("PIF.destroy", pif)
        assert user.db.count("VLAN") == 0


async def test_a_vlan_on_all_hosts_or_on_none():
    async with client() as user:
        other = user.db.create("host", {"uuid": "other-host"})
        nics = [add_nic(user), add_nic(user, 0, other)]
        lan, second = await network(user), await network(user)
        pifs = await user.call("pool.create_VLAN", "eth0", lan, 5)
        assert {user.db.get("PIF", pif, "host") for pif in pifs} == {HOST, other}
        # The tag is taken on the second one already: the first one loses its new VLAN again.
        vlan = next(v for v in user.db.get("PIF", nics[0], "VLAN_slave_of"))
        await user.call("VLAN.destroy", vlan)
        taken = ["PIF_VLAN_EXISTS", "eth0"]
        assert await user.error("pool.create_VLAN_from_PIF", nics[0], second, 5) == taken
        assert user.db.get("network", second, "PIFs") == []
        assert len(await user.call("pool.create_VLAN_from_PIF", nics[0], second, 6)) == 2
        add_nic(user, 1)
        missing = ["INVALID_VALUE", "device", "eth1"]
        assert await user.error("pool.create_VLAN", "eth1", await network(user), 7) == missing
        assert broken(user.db) == []


async def test_a_tunnel():
    async with client() as user:
        pif, lan = add_nic(user), await network(user)
        assert await user.error("tunnel.create", pif, lan) == ["OPENVSWITCH_NOT_ACTIVE"]
        user.db.write("host", HOST, "software_version", {"network_backend": "openvswitch"})
        bare = ["TRANSPORT_PIF_NOT_CONFIGURED", pif]
        assert await user.error("tunnel.create", pif, lan) == bare
        user.db.write("PIF", pif, "ip_configuration_mode", "DHCP")
        tunnel = await user.call("tunnel.create", pif, lan)
        access = user.db.get("tunnel", tunnel, "access_PIF")
        assert user.db.get("tunnel", tunnel, "status") == {"active": "true"}
        other = await network(user)
        nested = ["IS_TUNNEL_ACCESS_PIF", access]
        assert await user.error("VLAN.create", access, 5, other) == nested
        assert await user.error("PIF.forget", pif) == ["PIF_TUNNEL_STILL_EXISTS", pif]
        await user.call("PIF.unplug", pif)
        assert not user.db.get("PIF", access, "currently_attached")
        await user.call("tunnel.destroy", tunnel)
        assert user.db.get("PIF", pif, "tunnel_transport_PIF_of") == []
        assert broken(user.db) == []
