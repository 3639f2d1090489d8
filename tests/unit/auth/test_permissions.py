"""The tree of permissions, and the roles made of it."""

import pytest

from xoproxy.auth.permissions import ALL, BUILT_IN, PERMISSIONS, SECRETS, VIEW, Role, checked
from xoproxy.errors import ErrorCode, RequestRefused


def having(*permissions):
    return Role("some", frozenset(permissions))


def test_a_permission_covers_all_below_it():
    role = having("vm.power")
    assert role.has("vm.power.shutdown.clean")
    assert role.has("vm.power")
    assert not role.has("vm")
    assert not role.has("vm.console")


def test_names_are_compared_part_by_part():
    assert not having("vm.pow").has("vm.power.start")
    assert not having("vm.power.start").has("vm.power.start_everything")
    assert not having("").has("vm.power.start")


def test_everything_covers_everything():
    assert all(having(ALL).has(name) for name in PERMISSIONS)
    assert not any(having().has(name) for name in PERMISSIONS)
    assert not having(*PERMISSIONS).has(ALL), "there may be more one day"


def test_the_built_in_roles():
    def has(role):
        return {name for name in PERMISSIONS if BUILT_IN[role].has(name)}

    assert has("viewer") == {VIEW}
    assert has("viewer") < has("operator")
    assert has("viewer") < has("user")
    assert has("administrator") == set(PERMISSIONS)
    assert "vm.destroy" not in has("operator")
    assert "vm.migrate" not in has("user")
    assert [role for role in BUILT_IN if BUILT_IN[role].has(SECRETS)] == ["administrator"]
    assert all(role.built_in for role in BUILT_IN.values())


@pytest.mark.parametrize("name", sorted(PERMISSIONS))
def test_every_permission_and_every_name_above_it_makes_a_role(name):
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        above = ".".join(parts[:end])
        assert checked([above]) == {above}
        assert having(above).has(name)


@pytest.mark.parametrize("name", ["", "vm.", ".vm", "vm.power.start.now", "VM", "vm *", "**", "x"])
def test_what_is_no_permission_is_refused_and_said(name):
    with pytest.raises(RequestRefused) as refused:
        checked([VIEW, name])
    assert refused.value.code is ErrorCode.BAD_MESSAGE
    assert repr(name) in refused.value.message
    assert "vm.power" in refused.value.message, "and what there is"
