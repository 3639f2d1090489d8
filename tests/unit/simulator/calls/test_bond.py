"""Bonds: what they take over from their members, and give back."""

import pytest

from tests.unit.simulator.calls.support import add_nic, broken
from tests.unit.simulator.worlds import HOST, VM, Client, client

ADDRESS = {"ip_configuration_mode": "Static", "IP": "10.0.0.2", "netmask": "255.0.0.0"}


async def network(user: Client) -> str:
    ref: str = await user.call("network.create", {"other_config": {}})
    return ref


async def test_a_bond_takes_over_and_gives_back():
    async with client() as user:
        db = user.db
        nics = [add_nic(user, 0), add_nic(user, 1, management=True, **ADDRESS)]
        lan, tagged = await network(user), await network(user)
        vlan = await user.call("VLAN.create", nics[0], 7, tagged)
        below = db.get("PIF", nics[0], "network")
        vif = db.create("VIF", {"VM": VM, "network": below, "device": "0"})
        bond = await user.call("Bond.create", lan, nics, "", "active-backup")
        record = db.record("Bond", bond)
        master = db.record("PIF", record["master"])

        assert set(record["slaves"]) == set(nics)
        assert (record["primary_slave"], record["links_up"]) == (nics[1], 2)
        assert (master["device"], master["MAC"]) == ("bond0", db.get("PIF", nics[1], "MAC"))
        assert (master["IP"], master["management"]) == ("10.0.0.2", True)
        assert master["currently_attached"]
        assert db.get("PIF", nics[1], "IP") == ""
        assert not db.get("PIF", nics[1], "management")
        assert db.get("VIF", vif, "network") == lan
        assert not db.exists("VLAN", vlan)
        (moved,) = master["VLAN_slave_of"]
        untagged = db.record("PIF", db.get("VLAN", moved, "untagged_PIF"))
        assert (untagged["network"], untagged["device"]) == (tagged, "bond0")
        assert untagged["currently_attached"]
        assert broken(db) == []

        await user.call("Bond.destroy", bond)
        assert not db.exists("PIF", record["master"])
        assert db.get("PIF", nics[1], "IP") == "10.0.0.2"
        assert db.get("PIF", nics[1], "management")
        assert db.get("VIF", vif, "network") == db.get("PIF", nics[1], "network")
        assert len(db.get("PIF", nics[1], "VLAN_slave_of")) == 1
        assert all(db.get("PIF", nic, "bond_slave_of") == "OpaqueRef:NULL" for nic in nics)
        assert broken(db) == []


async def test_members_that_are_refused():
    async with client() as user:
        lan, other = await network(user), await network(user)
        first, second = add_nic(user, 0), add_nic(user, 1)
        foreign = add_nic(user, 2, user.db.create("host", {"uuid": "other-host"}))
        create = "Bond.create"
        assert await user.error(create, lan, [], "") == ["PIF_BOND_NEEDS_MORE_MEMBERS"]
        assert await user.error(create, lan, [first], "zz") == ["MAC_INVALID", "zz"]
        assert await user.error(create, lan, [first, foreign], "") == ["PIF_CANNOT_BOND_CROSS_HOST"]
        vlan = await user.call("VLAN.create", first, 7, other)
        untagged = user.db.get("VLAN", vlan, "untagged_PIF")
        assert await user.error(create, lan, [second, untagged], "") == ["PIF_VLAN_EXISTS", "eth0"]
        user.db.write("PIF", first, "properties", {"gro": "on"})
        assert await user.error(create, lan, [first, second], "") == ["INCOMPATIBLE_PIF_PROPERTIES"]
        user.db.write("PIF", first, "properties", {})
        for nic in (first, second):
            user.db.write("PIF", nic, "ip_configuration_mode", "DHCP")
        assert await user.error(create, lan, [first, second], "") == ["PIF_BOND_MORE_THAN_ONE_IP"]
        user.db.write("PIF", first, "ip_configuration_mode", "None")
        bond = await user.call(create, lan, [first, second], "")
        master = user.db.get("Bond", bond, "master")
        connected = ["NETWORK_ALREADY_CONNECTED", HOST, master]
        assert await user.error(create, lan, [first], "") == connected
        bonded = ["PIF_ALREADY_BONDED", first]
        assert await user.error(create, await network(user), [first], "") == bonded
        assert await user.error("PIF.plug", first) == ["CANNOT_PLUG_BOND_SLAVE", first]
        assert broken(user.db) == []


@pytest.mark.parametrize("mode", ["lacp", "balance-slb"])
async def test_settings(mode: str):
    async with client() as user:
        lan, nics = await network(user), [add_nic(user, 0), add_nic(user, 1)]
        bond = await user.call("Bond.create", lan, nics, "02:00:00:00:00:77")
        master = user.db.get("Bond", bond, "master")
        assert user.db.get("PIF", master, "MAC") == "02:00:00:00:00:77"
        await user.call("Bond.set_mode", bond, mode)
        await user.call("Bond.set_property", bond, "hashing_algorithm", "tcpudp_ports")
        record = user.db.record("Bond", bond)
        assert record["mode"] == mode
        assert record["properties"] == {"hashing_algorithm": "tcpudp_ports"}
        await user.call("PIF.set_property", master, "gro", "off")
        assert {user.db.get("PIF", nic, "properties")["gro"] for nic in nics} == {"off"}


async def test_a_bond_whose_members_are_gone():
    async with client() as user:
        lan, nics = await network(user), [add_nic(user, 0), add_nic(user, 1)]
        bond = await user.call("Bond.create", lan, nics, "")
        master = user.db.get("Bond", bond, "master")
        await user.call("VLAN.create", master, 7, await network(user))
        for nic in nics:
            await user.call("PIF.db_forget", nic)
        await user.call("Bond.destroy", bond)
        assert user.db.count("PIF") == user.db.count("VLAN") == user.db.count("Bond") == 0
