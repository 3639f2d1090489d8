"""Networks: their bridges, purposes and ends."""

import pytest

from tests.unit.simulator.calls.support import add_nic
from tests.unit.simulator.worlds import VM, Client, client


async def network(user: Client, **members) -> str:
    ref: str = await user.call("network.create", {"other_config": {}, **members})
    return ref


@pytest.mark.parametrize(
    ("members", "bridge", "error"),
    [
        ({"bridge": "xenbr7"}, None, ["INVALID_VALUE", "bridge", "xenbr7"]),
        ({"bridge": "a-very-long-name"}, None, ["INVALID_VALUE", "bridge", "a-very-long-name"]),
        ({"bridge": "used"}, None, ["BRIDGE_NAME_EXISTS", "used"]),
        ({"bridge": "mine", "MTU": 0}, "mine", None),
        ({}, "xapi1", None),
    ],
)
async def test_bridges(members: dict, bridge: str | None, error: list[str] | None):
    async with client() as user:
        for taken in ("used", "xapi0"):
            user.db.create("network", {"bridge": taken})
        if error is not None:
            assert await user.error("network.create", {"other_config": {}, **members}) == error
            return
        made = user.db.record("network", await network(user, **members))
        assert (made["bridge"], made["MTU"]) == (bridge, 1500)


async def test_destroying_a_network_takes_its_vifs_unless_they_are_attached():
    async with client() as user:
        lan = await network(user)
        vif = user.db.create("VIF", {"VM": VM, "network": lan, "currently_attached": True})
        assert await user.error("network.destroy", lan) == ["NETWORK_CONTAINS_VIF", vif]
        mode = ["VIF_IN_USE", lan, vif]
        assert await user.error("network.set_default_locking_mode", lan, "disabled") == mode
        user.db.write("VIF", vif, "currently_attached", value=False)
        await user.call("network.set_default_locking_mode", lan, "disabled")
        await user.call("network.destroy", lan)
        assert user.db.get("VM", VM, "VIFs") == []


async def test_networks_that_stay():
    async with client() as user:
        pif = add_nic(user)
        lan = user.db.get("PIF", pif, "network")
        assert await user.error("network.destroy", lan) == ["NETWORK_CONTAINS_PIF", pif]
        key = "is_host_internal_management_network"
        internal = await network(user, other_config={key: "true"})
        kept = ["CANNOT_DESTROY_SYSTEM_NETWORK", internal]
        assert await user.error("network.destroy", internal) == kept


async def test_purposes_that_exclude_each_other():
    async with client() as user:
        first, second = await network(user), await network(user)
        await user.call("network.add_purpose", first, "nbd")
        await user.call("network.add_purpose", first, "nbd")
        conflict = ["NETWORK_INCOMPATIBLE_PURPOSES", "insecure_nbd", "nbd"]
        assert await user.error("network.add_purpose", second, "insecure_nbd") == conflict
        await user.call("network.remove_purpose", first, "nbd")
        await user.call("network.add_purpose", second, "insecure_nbd")
        assert user.db.get("network", second, "purpose") == ["insecure_nbd"]
