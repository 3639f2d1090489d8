"""NICs of hosts."""

from typing import Any

import pytest

from tests.unit.simulator.calls.support import Journal, add_nic, broken
from tests.unit.simulator.worlds import HOST, POOL, VM, client

MANAGEMENT: dict[str, Any] = {
    "management": True,
    "ip_configuration_mode": "Static",
    "IP": "10.0.0.2",
}


async def test_up_and_down():
    async with client() as user:
        pif = add_nic(user)
        journal = Journal(user.db)
        await user.call("PIF.unplug", pif)
        await user.call("PIF.plug", pif)
        assert journal.lines == ["mod PIF.currently_attached"] * 2


async def test_what_cannot_go_down():
    async with client() as user:
        main = add_nic(user, 0, **MANAGEMENT)
        assert await user.error("PIF.unplug", main) == ["PIF_IS_MANAGEMENT_INTERFACE", main]
        kept = add_nic(user, 1, disallow_unplug=True)
        assert await user.error("PIF.unplug", kept) == ["PIF_DOES_NOT_ALLOW_UNPLUG", kept]
        used = add_nic(user, 2)
        network = user.db.get("PIF", used, "network")
        vif = user.db.create("VIF", {"VM": VM, "network": network, "currently_attached": True})
        user.db.write("VM", VM, "power_state", "Running")
        user.db.write("VM", VM, "resident_on", HOST)
        assert await user.error("PIF.unplug", used) == ["VIF_IN_USE", network, vif]
        foreign = add_nic(user, 3, managed=False)
        for name in ("plug", "unplug"):
            assert await user.error(f"PIF.{name}", foreign) == ["PIF_UNMANAGED", foreign]
        user.db.write("pool", POOL, "ha_enabled", value=True)
        assert await user.error("PIF.unplug", main) == ["HA_IS_ENABLED"]


async def test_addresses():
    async with client() as user:
        pif = add_nic(user)
        static = ("Static", "10.0.0.5", "255.255.0.0", "10.0.0.1", "9.9.9.9")
        journal = Journal(user.db)
        await user.call("PIF.reconfigure_ip", pif, *static)
        assert journal.lines == [
            *("mod PIF.ip_configuration_mode", "mod PIF.IP", "mod PIF.netmask"),
            *("mod PIF.gateway", "mod PIF.DNS"),
            *("mod PIF.currently_attached", "mod PIF.currently_attached"),
        ]
        await user.call("PIF.reconfigure_ip", pif, "DHCP", "", "", "", "")
        leased = user.db.get("PIF", pif, "IP")
        assert leased.startswith("10.")
        await user.call("PIF.reconfigure_ip", pif, "None", "", "", "", "")
        assert user.db.get("PIF", pif, "IP") == ""


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("Static", "", "255.0.0.0", "", ""), "IP"),
        (("Static", "10.0.0.1", "x", "", ""), "netmask"),
        (("None", "", "", "x", ""), "gateway"),
    ],
)
async def test_addresses_that_are_refused(arguments: tuple[str, ...], field: str):
    async with client() as user:
        pif = add_nic(user)
        bad = ["INVALID_IP_ADDRESS_SPECIFIED", field]
        assert await user.error("PIF.reconfigure_ip", pif, *arguments) == bad


async def test_the_management_interface_keeps_an_address():
    async with client() as user:
        pif = add_nic(user, **MANAGEMENT)
        refused = ["PIF_IS_MANAGEMENT_INTERFACE", pif]
        none = ("None", "", "", "", "")
        assert await user.error("PIF.reconfigure_ip", pif, *none) == refused
        assert await user.error("PIF.set_primary_address_type", pif, "IPv6") == refused
        await user.call("PIF.reconfigure_ip", pif, "DHCP", "", "", "", "")
        assert user.db.get("PIF", pif, "IP") == "10.0.0.2"


async def test_ipv6():
    async with client() as user:
        pif = add_nic(user)
        for address in ("fe80::1", "x/64", "fe80::1/129"):
            error = await user.error("PIF.reconfigure_ipv6", pif, "Static", address, "", "")
            assert error[0] == "INVALID_IP_ADDRESS_SPECIFIED"
        await user.call("PIF.reconfigure_ipv6", pif, "Static", "fe80::1/64", "", "")
        assert user.db.get("PIF", pif, "IPv6") == ["fe80::1/64"]
        await user.call("PIF.set_primary_address_type", pif, "IPv6")
        assert user.db.get("PIF", pif, "primary_address_type") == "IPv6"


async def test_a_forgotten_nic_is_found_again():
    async with client() as user:
        pif = add_nic(user)
        mac = user.db.get("PIF", pif, "MAC")
        await user.call("PIF.forget", pif)
        assert user.db.count("PIF") == user.db.count("PIF_metrics") == 0
        await user.call("PIF.scan", HOST)
        (found,) = user.db.get("host", HOST, "PIFs")
        record = user.db.record("PIF", found)
        assert (record["device"], record["MAC"], record["physical"]) == ("eth0", mac, True)
        assert user.db.get("PIF_metrics", record["metrics"], "speed") == 10000
        assert not record["currently_attached"]
        assert broken(user.db) == []
        await user.call("PIF.scan", HOST)
        assert user.db.count("PIF") == 1


async def test_introducing_a_nic():
    async with client() as user:
        known = add_nic(user)
        user.world.hardware.put_nic(HOST, {"device": "eth1", "MAC": "02:00:00:00:00:99"})
        twice = ["DUPLICATE_PIF_DEVICE_NAME", "eth0"]
        assert await user.error("PIF.introduce", HOST, "", "eth0") == twice
        assert await user.error("PIF.introduce", HOST, "zz", "eth1") == ["MAC_INVALID", "zz"]
        other = user.db.get("PIF", known, "MAC")
        error = await user.error("PIF.introduce", HOST, other, "eth1")
        assert error[1:] == ["eth1", other]
        pif = await user.call("PIF.introduce", HOST, "02:00:00:00:00:99", "eth1")
        network = user.db.get("PIF", pif, "network")
        assert user.db.get("network", network, "bridge") == "xenbr1"
        assert broken(user.db) == []


async def test_what_cannot_be_forgotten():
    async with client() as user:
        first, second = add_nic(user, 0), add_nic(user, 1)
        network = await user.call("network.create", {"other_config": {}})
        await user.call("VLAN.create", first, 5, network)
        assert await user.error("PIF.forget", first) == ["PIF_VLAN_STILL_EXISTS", first]
        bonded = await user.call("network.create", {"other_config": {}})
        await user.call("Bond.create", bonded, [second], "")
        assert await user.error("PIF.forget", second) == ["PIF_ALREADY_BONDED", second]
        member = user.db.create("host", {"uuid": "member"})
        its = add_nic(user, 2, member, **MANAGEMENT)
        assert await user.error("PIF.forget", its) == ["PIF_IS_MANAGEMENT_INTERFACE", its]


async def test_properties():
    async with client() as user:
        pif = add_nic(user)
        await user.call("PIF.set_property", pif, "gro", "off")
        assert user.db.get("PIF", pif, "properties") == {"gro": "off"}
        bad = ["INVALID_VALUE", "properties", "gro = maybe"]
        assert await user.error("PIF.set_property", pif, "gro", "maybe") == bad
        network = await user.call("network.create", {"other_config": {}})
        vlan = await user.call("VLAN.create", pif, 5, network)
        untagged = user.db.get("VLAN", vlan, "untagged_PIF")
        refused = ["CANNOT_CHANGE_PIF_PROPERTIES", untagged]
        assert await user.error("PIF.set_property", untagged, "gro", "on") == refused
        await user.call("PIF.set_disallow_unplug", pif, True)
        assert user.db.get("PIF", pif, "disallow_unplug")


async def test_rows_as_they_are_told():
    async with client() as user:
        lan = await user.call("network.create", {"other_config": {}})
        address = ("Static", "10.0.0.9", "255.0.0.0", "", "")
        head = ("eth5", lan, HOST, "02:00:00:00:00:05", 1500, -1, True)
        null = "OpaqueRef:NULL"
        pif = await user.call("PIF.db_introduce", *head, *address, null, null, False, {})
        record = user.db.record("PIF", pif)
        assert (record["IP"], record["currently_attached"]) == ("10.0.0.9", False)
        assert broken(user.db) == []
        await user.call("PIF.db_forget", pif)
        assert user.db.count("PIF") == user.db.count("PIF_metrics") == 0
