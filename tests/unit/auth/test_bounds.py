"""What somebody may by the credential that he came with: bounded tokens, forced new passwords."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from xoproxy.auth import Account, Contents, Directory, Identity, KeptGrant, Role
from xoproxy.auth.grants import EVERYTHING
from xoproxy.cache.view import Everything
from xoproxy.model import PoolId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POOL = PoolId("p")
OWN = Role("own", frozenset({"view", "vm.power"}))


def account(name, role):
    return Account(name, name, role, "$h", True, NOW)


def grant(to, role, *, deny=False):
    return KeptGrant(f"{to}-{role}-{deny}", to, "", role, EVERYTHING, deny, NOW)


def came(name, within="", credential="token:1", origin=""):
    return Identity(name, name, "", credential, None, within, origin)


@pytest.fixture
def directory():
    accounts = (account("ada", "administrator"), account("bob", "operator"), account("cy", ""))
    return Directory(Contents(accounts=accounts, roles=(OWN,)))


def test_a_bound_leaves_what_both_have(directory):
    rights = directory.rights_of(came("ada", "operator"))
    assert not rights.administers
    assert rights.allows_everywhere("vm.power.start")
    assert not rights.allows_everywhere("vm.edit.label")
    assert directory.rights_of(came("ada")).administers


def test_a_bound_gives_nothing(directory):
    rights = directory.rights_of(came("bob", "administrator"))
    assert not rights.administers
    assert rights.allows_everywhere("vm.power.start")
    assert directory.rights_of(came("cy", "administrator")).visibility(POOL) is None


def test_denials_hold_within_a_bound(directory):
    directory.put_grant(grant("bob", "operator", deny=True))
    assert directory.rights_of(came("bob", "operator")).visibility(POOL) is None


def test_who_sees_the_same_sees_it_through_the_same_scope(directory):
    bounded = directory.rights_of(came("ada", "viewer")).visibility(POOL)
    assert bounded == directory.rights_of(came("bob")).visibility(POOL)
    assert hash(bounded) == hash(directory.rights_of(came("bob", "own")).visibility(POOL))
    assert directory.rights_of(came("ada")).visibility(POOL) == Everything()


def test_a_role_that_is_no_more_leaves_nothing(directory):
    identity = came("ada", "own")
    assert directory.rights_of(identity).visibility(POOL) is not None
    assert directory.remove_role("own") == {"ada"}
    assert directory.rights_of(identity).visibility(POOL) is None


def test_a_role_that_changes_changes_what_it_bounds(directory):
    identity = came("ada", "own")
    assert directory.rights_of(identity).allows_everywhere("vm.power.start")
    assert directory.put_role(Role("own", frozenset({"view"}))) == {"ada"}
    assert not directory.rights_of(identity).allows_everywhere("vm.power.start")
    assert directory.rights_of(identity).visibility(POOL) is not None


def test_a_new_grant_reaches_bounded_rights(directory):
    assert directory.rights_of(came("cy", "operator")).visibility(POOL) is None
    directory.put_grant(grant("cy", "viewer"))
    assert directory.rights_of(came("cy", "operator")).visibility(POOL) is not None


def test_who_must_change_his_password_may_nothing_by_it(directory):
    changed = directory.put_account(replace(directory.accounts["ada"], must_change=True))
    assert changed == {"ada"}
    by_password = came("ada", credential="password:ada")
    by_session = came("ada", credential="session:1", origin="password:ada")
    assert directory.rights_of(by_password).visibility(POOL) is None
    assert directory.rights_of(by_session).visibility(POOL) is None
    assert directory.rights_of(came("ada")).administers
    assert directory.rights_of(came("ada", credential="session:2", origin="token:1")).administers


def test_a_new_hash_alone_changes_nobodys_rights(directory):
    before = directory.accounts["ada"]
    assert directory.put_account(replace(before, password_hash="$other", generation=4)) == set()
