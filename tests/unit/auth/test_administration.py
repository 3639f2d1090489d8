"""Who there is and what is granted, on a real database: checked, stored, in force, told."""

import asyncio

import pytest

from xoproxy.auth import (
    ADMINISTRATOR,
    SECRETS,
    VIEW,
    Administration,
    Directory,
    Kind,
    Passwords,
    Scope,
    by_filter,
)
from xoproxy.auth.grants import EVERYTHING
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PoolId

GOOD = "a good long one"
RED = Scope(Kind.TAG, value="red")
POOL = PoolId("p")


class Told:
    """Writes down what is told."""

    def __init__(self):
        self.said = []

    def rights_changed(self, account_ids):
        if account_ids:
            self.said.append(("rights", *sorted(account_ids)))

    def account_ended(self, account_id):
        self.said.append(("ended", account_id))

    def revoked(self, credential):
        self.said.append(("revoked", credential))

    def take(self):
        said, self.said = self.said, []
        return said


class World:
    """Everything that administration works on."""

    def __init__(self, storage, passwords):
        self.storage = storage
        self.directory = Directory()
        self.told = Told()
        self.administration = Administration(
            self.directory, storage.directory, passwords, self.told
        )

    async def is_stored(self):
        """Tell whether a proxy that starts now has the same in force."""
        stored = Directory(await self.storage.directory.contents()).contents
        now = self.directory.contents
        return all(
            set(a) == set(b)
            for a, b in (
                (stored.accounts, now.accounts),
                (stored.groups, now.groups),
                (stored.roles, now.roles),
                (stored.grants, now.grants),
            )
        )

    async def refused(self, attempt, code, text=""):
        """Make an attempt that must fail, and see that nothing has changed."""
        before = self.directory.contents
        self.told.take()
        with pytest.raises(RequestRefused) as error:
            await attempt
        assert error.value.code is code, error.value
        assert text in error.value.message
        assert self.directory.contents == before
        assert self.told.take() == []
        assert await self.is_stored()


@pytest.fixture
def world(storage, quick_passwords):
    return World(storage, quick_passwords)


@pytest.fixture
def quick_passwords():
    passwords = Passwords()
    yield passwords
    passwords.close()


@pytest.fixture
async def root(world):
    account = await world.administration.add_account("root", GOOD, ADMINISTRATOR)
    world.told.take()
    return account


@pytest.fixture
async def bob(world, root):  # noqa: ARG001 - he is not the last one who may administer
    account = await world.administration.add_account("bob", GOOD)
    world.told.take()
    return account


class TestAccounts:
    async def test_are_made_stored_and_told(self, world):
        bob = await world.administration.add_account("bob", GOOD, "viewer")
        assert world.told.take() == [("rights", bob.id)]
        assert world.directory.account_named("bob") == bob
        assert GOOD not in bob.password_hash
        assert world.directory.rights(bob.id).visibility(POOL) is not None
        assert await world.is_stored()

    async def test_without_a_role_see_nothing(self, world, bob):
        assert world.directory.rights(bob.id).visibility(POOL) is None

    @pytest.mark.parametrize("name", ["", " bob", "bob ", "b\nob", "b\0b", "x" * 101, "\u202ebob"])
    @pytest.mark.usefixtures("root")
    async def test_with_a_name_that_is_none_are_refused(self, world, name):
        attempt = world.administration.add_account(name, GOOD)
        await world.refused(attempt, ErrorCode.BAD_MESSAGE, "a name has")

    @pytest.mark.usefixtures("bob")
    async def test_with_a_name_that_is_taken_are_refused(self, world):
        await world.refused(world.administration.add_account("bob", GOOD), ErrorCode.CONFLICT)

    async def test_with_a_role_that_there_is_not_are_refused(self, world, bob):
        admin = world.administration
        await world.refused(admin.add_account("ann", GOOD, "king"), ErrorCode.NOT_FOUND, "'king'")
        await world.refused(admin.change_account(bob.id, role="king"), ErrorCode.NOT_FOUND)

    @pytest.mark.parametrize("password", ["", "short", "aaaaaaaaaaaa", "bob bob bob bob bob"])
    @pytest.mark.usefixtures("root")
    async def test_with_a_bad_password_are_refused(self, world, password):
        attempt = world.administration.add_account("bob", password)
        await world.refused(attempt, ErrorCode.BAD_MESSAGE)

    @pytest.mark.usefixtures("root")
    async def test_of_one_name_made_at_once_are_one(self, world):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.attempt(world)) for _ in range(3)]
        assert sorted(task.result() for task in tasks) == ["CONFLICT", "CONFLICT", "made"]
        assert await world.is_stored()

    async def attempt(self, world):
        try:
            await world.administration.add_account("bob", GOOD)
        except RequestRefused as refused:
            return refused.code.name
        return "made"

    async def test_that_are_disabled_end_and_have_no_rights(self, world, bob):
        await world.administration.change_account(bob.id, role="viewer")
        assert world.told.take() == [("rights", bob.id)]
        await world.administration.change_account(bob.id, enabled=False)
        assert world.told.take() == [("ended", bob.id), ("rights", bob.id)]
        assert world.directory.rights(bob.id).visibility(POOL) is None
        await world.administration.change_account(bob.id, enabled=True)
        assert world.told.take() == [("rights", bob.id)]
        assert await world.is_stored()

    async def test_a_new_password_ends_what_the_old_one_opened(self, world, bob):
        changed = await world.administration.change_account(bob.id, password="another good one")
        assert ("revoked", f"password:{bob.id}") in world.told.take()
        assert changed.password_hash != bob.password_hash
        assert await world.is_stored()

    async def test_that_go_take_their_grants_along(self, world, bob):
        await world.administration.add_grant("viewer", RED, account_id=bob.id)
        group = await world.administration.add_group("staff", [bob.id])
        world.told.take()
        await world.administration.remove_account(bob.id)
        assert world.told.take() == [("ended", bob.id), ("rights", bob.id)]
        assert world.directory.grants == {}
        assert world.directory.groups[group.id].members == frozenset()
        assert await world.is_stored()

    @pytest.mark.usefixtures("root")
    async def test_that_there_are_not_are_not_found(self, world):
        admin = world.administration
        for attempt in (
            admin.change_account("x", enabled=False),
            admin.change_account("x", password=GOOD),
            admin.remove_account("x"),
            admin.add_grant("viewer", RED, account_id="x"),
            admin.add_group("g", ["x"]),
        ):
            await world.refused(attempt, ErrorCode.NOT_FOUND, "'x'")


class TestTheLastAdministrator:
    """Nothing locks everybody out: neither at once nor by the back door."""

    async def test_cannot_go(self, world, root, bob):
        admin = world.administration
        for attempt in (
            admin.remove_account(root.id),
            admin.change_account(root.id, enabled=False),
            admin.change_account(root.id, role="operator"),
            admin.change_account(root.id, role=""),
        ):
            await world.refused(attempt, ErrorCode.CONFLICT, "nobody would be left")
        await admin.change_account(bob.id, role=ADMINISTRATOR)
        await admin.remove_account(root.id)
        await world.refused(admin.remove_account(bob.id), ErrorCode.CONFLICT)

    async def test_cannot_be_denied_anything(self, world, root, bob):
        admin = world.administration
        group = await admin.add_group("all", [root.id, bob.id])
        outer = await admin.add_group("outer")
        await admin.add_grant("viewer", RED, group_id=outer.id, deny=True)
        for attempt in (
            admin.add_grant("viewer", RED, account_id=root.id, deny=True),
            admin.add_grant(ADMINISTRATOR, EVERYTHING, group_id=group.id, deny=True),
            admin.change_group(outer.id, groups=[group.id]),
            admin.change_group(outer.id, members=[root.id]),
        ):
            await world.refused(attempt, ErrorCode.CONFLICT, "nobody would be left")
        await admin.add_group("third", [root.id], [outer.id])  # he is not in the one it holds

    async def test_who_administers_by_a_grant_cannot_lose_it(self, world, root, bob):
        admin = world.administration
        await admin.put_role("root", ["*"])
        group = await admin.add_group("admins", [bob.id])
        grant = await admin.add_grant("root", EVERYTHING, group_id=group.id)
        await admin.remove_account(root.id)
        assert world.directory.rights(bob.id).administers
        for attempt in (
            admin.remove_grant(grant.id),
            admin.remove_group(group.id),
            admin.change_group(group.id, members=[]),
            admin.put_role("root", [VIEW]),
            admin.change_account(bob.id, enabled=False),
            admin.remove_account(bob.id),
        ):
            await world.refused(attempt, ErrorCode.CONFLICT, "nobody would be left")

    async def test_where_nobody_administers_anything_may_be_mended(self, world, bob, root):
        world.directory.put_account(bob)
        world.directory.remove_account(root.id)
        await world.storage.directory.remove_account(root.id)
        await world.administration.change_account(bob.id, enabled=False)
        await world.administration.change_account(bob.id, enabled=True, role=ADMINISTRATOR)
        assert world.directory.is_administered


class TestGroups:
    async def test_grant_and_take_when_their_members_change(self, world, bob):
        admin = world.administration
        inner = await admin.add_group("inner")
        outer = await admin.add_group("outer", groups=[inner.id])
        await admin.add_grant("viewer", RED, group_id=outer.id)
        assert world.told.take() == []
        await admin.change_group(inner.id, members=[bob.id])
        assert world.told.take() == [("rights", bob.id)]
        assert world.directory.rights(bob.id).visibility(POOL) is not None
        await admin.change_group(outer.id, groups=[])
        assert world.told.take() == [("rights", bob.id)]
        assert world.directory.rights(bob.id).visibility(POOL) is None
        assert await world.is_stored()

    @pytest.mark.usefixtures("root")
    async def test_are_never_in_themselves(self, world):
        admin = world.administration
        inner = await admin.add_group("inner")
        middle = await admin.add_group("middle", groups=[inner.id])
        outer = await admin.add_group("outer", groups=[middle.id])
        for attempt in (
            admin.change_group(inner.id, groups=[outer.id]),
            admin.change_group(inner.id, groups=[inner.id]),
            admin.change_group(middle.id, groups=[inner.id, outer.id]),
        ):
            await world.refused(attempt, ErrorCode.CONFLICT, "in itself")

    @pytest.mark.usefixtures("root")
    async def test_with_a_name_that_is_taken_or_unknown_members_are_refused(self, world):
        admin = world.administration
        await admin.add_group("staff")
        await world.refused(admin.add_group("staff"), ErrorCode.CONFLICT)
        await world.refused(admin.add_group("x", groups=["y"]), ErrorCode.NOT_FOUND, "group 'y'")
        await world.refused(admin.change_group("y", members=[]), ErrorCode.NOT_FOUND)
        await world.refused(admin.remove_group("y"), ErrorCode.NOT_FOUND)

    async def test_that_go_take_their_grants_along(self, world, bob):
        admin = world.administration
        group = await admin.add_group("staff", [bob.id])
        await admin.add_grant("viewer", RED, group_id=group.id)
        world.told.take()
        await admin.remove_group(group.id)
        assert world.told.take() == [("rights", bob.id)]
        assert world.directory.grants == {}
        assert await world.is_stored()


class TestRoles:
    async def test_that_change_change_the_rights_of_who_has_them(self, world, bob):
        admin = world.administration
        await admin.put_role("looker", ["vm.console"])
        await admin.add_grant("looker", EVERYTHING, account_id=bob.id)
        world.told.take()
        assert world.directory.rights(bob.id).visibility(POOL) is None
        await admin.put_role("looker", [VIEW])
        assert world.told.take() == [("rights", bob.id)]
        seen = world.directory.rights(bob.id).visibility(POOL)
        assert seen is not None
        assert not seen.everything
        await admin.put_role("looker", [VIEW, SECRETS])
        seen = world.directory.rights(bob.id).visibility(POOL)
        assert seen is not None
        assert seen.everything
        assert await world.is_stored()

    @pytest.mark.usefixtures("root")
    async def test_that_are_built_in_stay_what_they_are(self, world):
        admin = world.administration
        await world.refused(admin.put_role("viewer", ["*"]), ErrorCode.CONFLICT, "built in")
        await world.refused(admin.remove_role("viewer"), ErrorCode.CONFLICT, "built in")

    async def test_in_use_cannot_go(self, world, bob):
        admin = world.administration
        await admin.put_role("looker", [VIEW])
        grant = await admin.add_grant("looker", RED, account_id=bob.id)
        await world.refused(admin.remove_role("looker"), ErrorCode.CONFLICT, "in use")
        await admin.remove_grant(grant.id)
        await admin.remove_role("looker")
        assert "looker" not in world.directory.roles
        assert await world.is_stored()
        await world.refused(admin.remove_role("looker"), ErrorCode.NOT_FOUND)

    @pytest.mark.usefixtures("root")
    async def test_of_permissions_that_there_are_not_are_refused(self, world):
        attempt = world.administration.put_role("odd", [VIEW, "vm.fly"])
        await world.refused(attempt, ErrorCode.BAD_MESSAGE, "'vm.fly'")


class TestGrants:
    async def test_give_and_take_and_are_told(self, world, bob):
        admin = world.administration
        grant = await admin.add_grant("viewer", by_filter("tags:red"), account_id=bob.id)
        assert world.told.take() == [("rights", bob.id)]
        assert world.directory.rights(bob.id).visibility(POOL) is not None
        assert await world.is_stored()
        await admin.remove_grant(grant.id)
        assert world.told.take() == [("rights", bob.id)]
        assert world.directory.rights(bob.id).visibility(POOL) is None
        await world.refused(admin.remove_grant(grant.id), ErrorCode.NOT_FOUND)

    async def test_are_there_once(self, world, bob):
        admin = world.administration
        await admin.add_grant("viewer", RED, account_id=bob.id)
        again = admin.add_grant("viewer", RED, account_id=bob.id)
        await world.refused(again, ErrorCode.CONFLICT, "granted already")
        await admin.add_grant("viewer", RED, account_id=bob.id, deny=True)

    async def test_to_nobody_or_of_nothing_are_refused(self, world, bob):
        admin = world.administration
        await world.refused(admin.add_grant("viewer", RED), ErrorCode.NOT_FOUND)
        await world.refused(admin.add_grant("", RED, account_id=bob.id), ErrorCode.NOT_FOUND)
        await world.refused(admin.add_grant("king", RED, group_id="x"), ErrorCode.NOT_FOUND)


async def test_what_cannot_be_stored_has_not_happened(world, bob):
    async with world.storage.database.writing() as connection:
        await connection.exec_driver_sql("DROP TABLE grants")
    with pytest.raises(Exception, match="grants"):
        await world.administration.add_grant("viewer", RED, account_id=bob.id)
    assert world.directory.grants == {}
    assert world.told.take() == []
