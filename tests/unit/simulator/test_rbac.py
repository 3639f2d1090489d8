"""Roles and permissions: made from the data model, the same on every pool, rows on none."""

import json

from tests.shared import shared_path
from tests.unit.simulator.worlds import client
from xoproxy.simulator import rbac
from xoproxy.simulator.datamodel import DataModel

ADMIN = "OpaqueRef:0165f154-ba3e-034e-6b27-5d271af109ba"  # on every pool in the world
START = "vm.start"


def test_permissions_are_granted_as_by_a_real_xapi():
    recorded = json.loads(shared_path("traces/estate_xapi_24.json").read_text())["role"]
    made = rbac.roles(DataModel.load("24.0.0"))
    roles = {ref: row.fields for ref, row in made.items() if row.fields["subroles"]}

    assert {ref: role["name_label"] for ref, role in roles.items()} == {
        ref: role["name_label"] for ref, role in recorded.items() if role["subroles"]
    }
    common = made.keys() & recorded.keys()
    assert len(common) > 1850
    # Five getters of PCI were dated otherwise in 24.0.0.
    assert len(made.keys() - common) == 5
    for ref, role in roles.items():
        assert set(role["subroles"]) & common == set(recorded[ref]["subroles"]) & common
        assert role["is_internal"] == recorded[ref]["is_internal"]


async def test_roles_can_be_listed_looked_up_and_filtered():
    async with client() as user:
        records = await user.call("role.get_all_records")
        assert [row.ref for row in records.rows] == await user.call("role.get_all")
        assert await user.call("role.get_by_name_label", "pool-admin") == [ADMIN]
        assert await user.call("role.get_name_label", ADMIN) == "pool-admin"
        assert await user.call("role.get_by_uuid", ADMIN.removeprefix("OpaqueRef:")) == ADMIN
        found = await user.call("role.get_all_records_where", 'field "name__label"="pool-admin"')
        assert [row.ref for row in found.rows] == [ADMIN]
        assert await user.error("role.get_record", "x") == ["HANDLE_INVALID", "role", "x"]
        assert await user.error("role.get_by_uuid", "x") == ["UUID_INVALID", "role", "x"]


async def test_who_may_do_what():
    async with client() as user:
        (start,) = await user.call("role.get_by_name_label", START)
        holders = await user.call("role.get_by_permission", start)
        labels = {await user.call("role.get_name_label", role) for role in holders}
        assert labels == {
            "pool-admin",
            "pool-operator",
            "vm-power-admin",
            "vm-admin",
            "vm-operator",
        }
        assert await user.call("role.get_by_permission_name_label", START) == holders
        assert await user.call("role.get_permissions", start) == [start]
        assert START in await user.call("role.get_permissions_name_label", ADMIN)
        (reader,) = await user.call("role.get_by_name_label", "read-only")
        assert START not in await user.call("role.get_permissions_name_label", reader)


async def test_subjects_have_roles():
    async with client() as user:
        subject = user.db.create("subject", {"roles": []})
        await user.call("subject.add_to_roles", subject, ADMIN)
        assert await user.error("subject.add_to_roles", subject, ADMIN) == ["ROLE_ALREADY_EXISTS"]
        assert await user.error("subject.add_to_roles", subject, "x") == ["ROLE_NOT_FOUND"]
        assert START in await user.call("subject.get_permissions_name_label", subject)
        await user.call("subject.remove_from_roles", subject, ADMIN)
        assert await user.error("subject.remove_from_roles", subject, ADMIN) == ["ROLE_NOT_FOUND"]


async def test_roles_are_no_rows():
    async with client() as user:
        batch = await user.call("event.from", ["role"], "", 0.0)

        assert batch.events == []
        assert batch.counts["role"] == 0


async def test_the_root_user_needs_no_permissions():
    async with client() as user:
        assert await user.call("session.get_rbac_permissions", user.session) == []
        assert await user.call("session.get_is_local_superuser", user.session) is True
