"""Who there is, who is in which group, and whose rights a change may alter."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from xoproxy.auth.directory import Account, Contents, Directory, Group, KeptGrant
from xoproxy.auth.grants import EVERYTHING, Kind, Scope
from xoproxy.auth.permissions import VIEW, Role
from xoproxy.cache.view import Everything
from xoproxy.model import PoolId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POOL = PoolId("p")
RED = Scope(Kind.TAG, value="red")


def account(name: str, role: str = "") -> Account:
    return Account(name, name, role, "$hash-of-it", True, NOW)


def group(name: str, *members: str, groups: tuple[str, ...] = ()) -> Group:
    return Group(name, f"the {name}", NOW, frozenset(members), frozenset(groups))


def to_user(
    name: str, role: str = "viewer", scope: Scope = RED, *, deny: bool = False
) -> KeptGrant:
    return KeptGrant(f"{name} {role} {scope} {deny}", name, "", role, scope, deny, NOW)


def to_group(name: str, role: str = "viewer", scope: Scope = RED) -> KeptGrant:
    return KeptGrant(f"{name} {role} {scope}", "", name, role, scope, deny=False, created_at=NOW)


@pytest.fixture
def directory() -> Directory:
    """Give a directory: everybody holds staff, staff holds night and ann; bob is in night."""
    return Directory(
        Contents(
            accounts=(account("root", "administrator"), account("ann"), account("bob")),
            groups=(
                group("night", "bob"),
                group("staff", "ann", groups=("night",)),
                group("everybody", groups=("staff",)),
            ),
            roles=(Role("starter", frozenset({"vm.power.start"})),),
        )
    )


def ids(found):
    return {each.id for each in found}


class TestGroups:
    def test_hold_accounts_and_groups_at_any_depth(self, directory):
        assert directory.members_of("everybody") == {"ann", "bob"}
        assert directory.members_of("night") == {"bob"}
        assert directory.members_of("nowhere") == set()
        assert ids(directory.groups_of("bob")) == {"night", "staff", "everybody"}
        assert ids(directory.groups_of("ann")) == {"staff", "everybody"}
        assert ids(directory.groups_of("root")) == set()

    def test_in_a_circle_are_found_out(self, directory):
        assert directory.would_be_circular(group("night", groups=("everybody",)))
        assert directory.would_be_circular(group("night", groups=("night",)))
        assert not directory.would_be_circular(group("everybody", groups=("night", "staff")))

    def test_in_a_circle_would_not_go_round_for_ever(self, directory):
        """A database that somebody mended by hand."""
        directory.put_group(group("night", "bob", groups=("everybody",)))
        assert directory.members_of("night") == {"ann", "bob"}
        assert ids(directory.groups_of("ann")) == {"night", "staff", "everybody"}
        assert directory.would_be_circular(group("other", groups=("other", "night")))

    def test_give_their_grants_to_all_in_them(self, directory):
        directory.put_grant(to_group("staff"))
        for name in ("ann", "bob"):
            (grant,) = directory.rights(name).grants
            assert (grant.to, grant.scope) == ("group the staff", RED)
        assert directory.rights("root").grants[0].role.name == "administrator"


class TestRights:
    def test_of_nobody_are_none(self, directory):
        assert directory.rights("nobody").visibility(POOL) is None
        assert directory.rights("ann").visibility(POOL) is None
        assert directory.rights("nobody").grants == ()

    def test_of_a_disabled_account_are_none(self, directory):
        directory.put_grant(to_user("ann"))
        assert directory.rights("ann").visibility(POOL) is not None
        directory.put_account(replace(account("ann"), enabled=False))
        assert directory.rights("ann").visibility(POOL) is None
        root = replace(account("root", "administrator"), enabled=False)
        directory.put_account(root)
        assert not directory.rights("root").administers
        assert not directory.is_administered

    def test_by_the_own_role_are_on_everything(self, directory):
        assert directory.rights("root").visibility(POOL) == Everything()
        assert directory.rights("root").administers
        assert directory.is_administered

    def test_of_a_role_that_is_not_there_are_none(self, directory):
        directory.put_account(account("ann", "gone"))
        assert directory.rights("ann").visibility(POOL) is None

    def test_are_made_once_until_something_changes_them(self, directory):
        before = directory.rights("ann")
        assert directory.rights("ann") is before
        directory.put_grant(to_user("bob"))
        assert directory.rights("ann") is before
        directory.put_grant(to_user("ann"))
        assert directory.rights("ann") is not before


class TestWhoIsConcerned:
    """Each change tells whose rights may be others; whoever is left out keeps what he had."""

    def test_by_an_account(self, directory):
        assert directory.put_account(account("ann")) == set(), "nothing changed"
        assert directory.put_account(replace(account("ann"), password_hash="$new")) == set()
        assert directory.put_account(account("ann", "viewer")) == {"ann"}
        assert directory.put_account(replace(account("ann"), enabled=False)) == {"ann"}
        assert directory.put_account(account("new")) == {"new"}
        assert directory.remove_account("ann") == {"ann"}
        assert directory.account_named("ann") is None
        assert directory.members_of("everybody") == {"bob"}

    def test_by_a_group_who_was_in_it_and_who_is(self, directory):
        assert directory.put_group(group("night", "ann")) == {"ann", "bob"}
        assert directory.put_group(group("staff", "root")) == {"root", "ann"}
        assert directory.remove_group("everybody") == {"root"}

    def test_by_a_group_that_goes_all_in_it_and_its_grants_go(self, directory):
        directory.put_grant(to_group("staff"))
        assert directory.remove_group("staff") == {"ann", "bob"}
        assert directory.grants == {}
        assert directory.members_of("everybody") == set()
        assert directory.rights("bob").visibility(POOL) is None

    def test_by_a_grant(self, directory):
        assert directory.put_grant(to_user("ann")) == {"ann"}
        assert directory.put_grant(to_group("everybody")) == {"ann", "bob"}
        assert directory.remove_grant(to_group("everybody").id) == {"ann", "bob"}

    def test_by_a_role_all_who_have_it(self, directory):
        directory.put_grant(to_group("night", "starter"))
        directory.put_account(account("root", "starter"))
        assert directory.put_role(Role("starter", frozenset({VIEW}))) == {"bob", "root"}
        assert directory.rights("bob").visibility(POOL) is not None
        assert directory.is_in_use("starter")
        assert not directory.is_in_use("operator")

    def test_by_an_account_that_goes_its_grants_go(self, directory):
        directory.put_grant(to_user("ann"))
        directory.remove_account("ann")
        assert directory.grants == {}

    def test_nobody_else_has_other_rights(self, directory):
        """Whatever is changed: who is not named sees what he saw, as if all were made anew."""
        changes = [
            lambda d: d.put_grant(to_group("night")),
            lambda d: d.put_grant(to_user("ann", "starter", EVERYTHING)),
            lambda d: d.put_grant(to_user("bob", deny=True)),
            lambda d: d.put_role(Role("starter", frozenset({VIEW}))),
            lambda d: d.put_group(group("night", "ann", "bob")),
            lambda d: d.put_group(group("staff", groups=("night",))),
            lambda d: d.put_account(account("bob", "operator")),
            lambda d: d.remove_group("night"),
            lambda d: d.remove_account("ann"),
        ]
        for change in changes:
            before = {id_: directory.rights(id_).visibility(POOL) for id_ in directory.accounts}
            concerned = change(directory)
            anew = Directory(directory.contents)
            for id_ in directory.accounts:
                now = directory.rights(id_).visibility(POOL)
                assert now == anew.rights(id_).visibility(POOL)
                assert id_ in concerned or now == before.get(id_)


def test_a_directory_made_of_what_another_one_holds_holds_the_same(directory):
    directory.put_grant(to_user("ann"))
    anew = Directory(directory.contents)
    assert anew.contents == directory.contents
    assert anew.roles == directory.roles
    anew.remove_account("ann")
    assert "ann" in directory.accounts, "a change of the one is none of the other"


def test_no_hash_stands_in_what_is_printed():
    assert "$hash" not in repr(account("ann"))
    assert "$hash" not in repr(Contents(accounts=(account("ann"),)))
