"""The HTTP API over loopback: users, groups, roles, grants, and why; what everybody may."""

import asyncio
import json

import pytest
from aiohttp import encode_basic_auth

from tests.integration.administration import PASSWORD, administration, asking
from tests.integration.sim import until
from xoproxy.auth import BUILT_IN, PERMISSIONS
from xoproxy.cache.store import Store
from xoproxy.model import PoolId, Ref, Upsert, XapiClass

SECRET = "correct horse battery"
NEW_SECRET = "staple correct horse"


@pytest.fixture
async def server(tmp_path):
    async with administration(tmp_path) as served:
        yield served


@pytest.fixture
async def admin(server):
    async with asking(server.url, "admin", PASSWORD) as api:
        yield api


@pytest.fixture
async def bob(server, admin):
    """Return what Bob may ask, who has no role."""
    await admin("POST", "/users", {"name": "bob", "password": SECRET}, 201)
    async with asking(server.url, "bob", SECRET) as api:
        yield api


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


@pytest.fixture
async def paris(server):
    """Return the id of a pool: VMs 1 and 2, a disk 3 of both, disk 4 of VM 1 alone."""
    pool = (await server.storage.pools.add("Paris", "https://xcp1", "root", "x")).id
    store = server.stores[pool] = Store(PoolId(pool), "epoch")
    objects = (
        ("VM", 1, {"name_label": "web", "tags": ["prod"], "VBDs": ["OpaqueRef:a", "OpaqueRef:b"]}),
        ("VM", 2, {"name_label": "db", "tags": [], "VBDs": ["OpaqueRef:c"]}),
        ("VDI", 3, {"name_label": "shared", "VBDs": ["OpaqueRef:a", "OpaqueRef:c"]}),
        ("VDI", 4, {"name_label": "own", "VBDs": ["OpaqueRef:b"]}),
    )
    disks = (("a", 1, 3), ("b", 1, 4), ("c", 2, 3))
    events = [
        Upsert(
            XapiClass(cls),
            Ref(f"OpaqueRef:{number}"),
            json.dumps({"uuid": uuid(number), **fields}).encode(),
        )
        for cls, number, fields in objects
    ]
    events += [
        Upsert(
            XapiClass("VBD"),
            Ref(f"OpaqueRef:{name}"),
            json.dumps({"VM": f"OpaqueRef:{vm}", "VDI": f"OpaqueRef:{vdi}"}).encode(),
        )
        for name, vm, vdi in disks
    ]
    prepared = store.prepare(events)
    while prepared.step():
        pass
    store.commit(prepared, 0)
    return pool


async def granted(admin, role="viewer", kind="everything", to=None, **scope):
    """Grant something, and return it; to Bob unless it says otherwise."""
    deny = scope.pop("deny", False)
    body = {"role": role, "scope": {"kind": kind, **scope}, "deny": deny, **(to or {"user": "bob"})}
    return await admin("POST", "/grants", body, 201)


# Users


async def test_a_user_is_added_shown_changed_and_removed(admin, server):
    added = await admin(
        "POST", "/users", {"name": "bob", "password": SECRET, "role": "viewer"}, 201
    )
    expected = {"name": "bob", "role": "viewer", "enabled": True, "groups": []}
    assert added | expected == added
    assert await admin("GET", "/users/bob") == await admin("GET", f"/users/{added['id']}") == added
    assert [user["name"] for user in await admin("GET", "/users")] == ["admin", "bob"]
    changed = await admin("PATCH", "/users/bob", {"role": "none", "enabled": False})
    assert changed == added | {"role": "none", "enabled": False}
    assert server.told.ended == [added["id"]]
    await admin("DELETE", "/users/bob", status=204)
    assert await admin.refused(404, "GET", "/users/bob") == ("NOT_FOUND", "there is no user 'bob'")


async def test_a_disabled_user_is_nobody_until_he_is_enabled(admin, bob):
    await bob("GET", "/me")
    await admin("PATCH", "/users/bob", {"enabled": False})
    assert (await bob.refused(401, "GET", "/me"))[1] == "wrong user name or password"
    await admin("PATCH", "/users/bob", {"enabled": True})
    await bob("GET", "/me")


async def test_users_that_cannot_be_are_refused(admin):
    for change, status, message in (
        ({"name": "admin"}, 409, "there is already a user named 'admin'"),
        ({"role": "king"}, 404, "there is no role 'king'; there are administrator, operator"),
        ({"password": "short"}, 400, "a password has at least 10 characters"),
        ({"password": "carol-carol-1"}, 400, "this password "),
        ({"password": ""}, 400, "password: "),
        ({"name": "a\nb"}, 400, "name: must not hold control characters"),
        ({"id": "mine"}, 400, "id: there is no such member"),
        ({"password_hash": "x"}, 400, "password_hash: there is no such member"),
    ):
        body = {"name": "carol", "password": SECRET} | change
        refused = await admin.refused(status, "POST", "/users", body)
        assert refused[1].startswith(message)
    assert [user["name"] for user in await admin("GET", "/users")] == ["admin"]


async def test_the_last_administrator_stays(admin):
    for method, body in (
        ("DELETE", None),
        ("PATCH", {"enabled": False}),
        ("PATCH", {"role": "viewer"}),
    ):
        code, text = await admin.refused(409, method, "/users/admin", body)
        assert (code, text.partition(":")[0]) == (
            "CONFLICT",
            "nobody would be left who may administer",
        )
    other = {"name": "second", "password": SECRET, "role": "administrator"}
    await admin("POST", "/users", other, 201)
    await admin("PATCH", "/users/admin", {"role": "viewer"})
    assert (await admin.refused(403, "GET", "/users"))[0] == "FORBIDDEN"


async def test_who_loses_his_rights_while_his_body_comes_may_not_do_it(admin, server):
    second = {"name": "second", "password": SECRET, "role": "administrator"}
    await admin("POST", "/users", second, 201)
    body = json.dumps({"name": "mole", "password": SECRET, "role": "administrator"}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = (
        "POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: {encode_basic_auth('second', SECRET)}\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    before = server.accounts.logins["password", "accepted"]
    writer.write(head.encode() + body[:10])
    await until(lambda: server.accounts.logins["password", "accepted"] > before)
    await admin("PATCH", "/users/second", {"enabled": False})
    writer.write(body[10:])
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"this needs an administrator" in answer
    await admin.refused(404, "GET", "/users/mole")


async def test_a_password_that_an_administrator_sets_replaces_the_old_one(admin, bob, server):
    await admin("PATCH", "/users/bob", {"password": NEW_SECRET})
    assert (await bob.refused(401, "GET", "/me"))[0] == "UNAUTHORISED"
    async with asking(server.url, "bob", NEW_SECRET) as again:
        user = await again("GET", "/me")
    assert server.revoked == [f"password:{user['id']}"]


async def test_who_must_change_his_password_may_do_nothing_else_first(admin, server):
    new = {"name": "bob", "password": SECRET, "role": "viewer", "must_change": True}
    assert (await admin("POST", "/users", new, 201))["must_change"] is True
    async with asking(server.url, "bob", SECRET) as bob:
        assert (await bob("GET", "/me"))["must_change"] is True
        for method, path, body in (("GET", "/tokens", None), ("POST", "/tokens", {"name": "x"})):
            assert (await bob.refused(403, method, path, body))[0] == "FORBIDDEN"
        await bob("PUT", "/me/password", {"old": SECRET, "new": NEW_SECRET}, 204)
    async with asking(server.url, "bob", NEW_SECRET) as bob:
        assert (await bob("GET", "/me"))["must_change"] is False
        assert await bob("GET", "/tokens") == []
    changed = await admin("PATCH", "/users/bob", {"must_change": True})
    assert changed["must_change"] is True


async def test_who_is_locked_out_is_shown_and_unlocked(admin, server):
    await admin("POST", "/users", {"name": "bob", "password": SECRET}, 201)
    assert (await admin("GET", "/users/bob"))["locked"] is False
    for number in range(200):  # one guess from each of many places
        server.accounts._throttle.failed(f"203.0.{number}.1", "bob")
    assert (await admin("GET", "/users/bob"))["locked"] is True
    assert (await admin("POST", "/users/bob/unlock"))["locked"] is False
    async with asking(server.url, "bob", SECRET) as bob:
        await bob("GET", "/me")
    await admin.refused(404, "POST", "/users/nobody/unlock")


# What everybody may


async def test_everybody_is_told_who_he_is(admin, bob):
    await admin("POST", "/groups", {"name": "inner", "members": ["bob"]}, 201)
    await admin("POST", "/groups", {"name": "outer", "groups": ["inner"]}, 201)
    me = await bob("GET", "/me")
    assert (me["name"], me["role"], me["administers"]) == ("bob", "none", False)
    assert me["bound_by"] is None
    assert [group["name"] for group in me["groups"]] == ["inner", "outer"]
    assert (await admin("GET", "/me"))["administers"] is True


async def test_everybody_changes_his_own_password_by_the_old_one(bob, server):
    change = {"old": "something else", "new": NEW_SECRET}
    expected = ("FORBIDDEN", "the old password is wrong")
    assert await bob.refused(403, "PUT", "/me/password", change) == expected
    change = {"old": SECRET, "new": "short"}
    assert (await bob.refused(400, "PUT", "/me/password", change))[0] == "BAD_MESSAGE"
    await bob("PUT", "/me/password", {"old": SECRET, "new": NEW_SECRET}, 204)
    assert (await bob.refused(401, "GET", "/me"))[0] == "UNAUTHORISED"
    async with asking(server.url, "bob", NEW_SECRET) as again:
        user = await again("GET", "/me")
    assert server.revoked == [f"password:{user['id']}"]


async def test_the_old_password_cannot_be_guessed_with_a_stolen_token(bob, server):
    made = await bob("POST", "/tokens", {"name": "stolen"}, 201)
    async with asking(server.url, token=made["token"]) as thief:
        change = {"old": "something else", "new": NEW_SECRET}
        for _ in range(5):
            await thief.refused(403, "PUT", "/me/password", change)
        await thief.refused(429, "PUT", "/me/password", change | {"old": SECRET})


async def test_everybody_has_tokens_of_his_own_and_sees_no_others(admin, bob, server):
    his = await bob("POST", "/tokens", {"name": "his"}, 201)
    other = await admin("POST", "/tokens", {"name": "other"}, 201)
    assert [token["name"] for token in await bob("GET", "/tokens")] == ["his"]
    assert [token["name"] for token in await admin("GET", "/tokens")] == ["his", "other"]
    unknown = await bob.refused(404, "DELETE", "/tokens/aaaaaaaaaa")
    foreign = await bob.refused(404, "DELETE", f"/tokens/{other['id']}")
    assert foreign[1].replace(other["id"], "") == unknown[1].replace("aaaaaaaaaa", "")
    await bob("DELETE", f"/tokens/{his['id']}", status=204)
    assert server.revoked == [f"token:{his['id']}"]


async def test_only_an_administrator_makes_tokens_for_others(admin, bob, server):
    made = await admin("POST", "/tokens", {"name": "for bob", "user": "bob"}, 201)
    assert made["user"] == "bob"
    async with asking(server.url, token=made["token"]) as script:
        assert (await script("GET", "/me"))["name"] == "bob"
        await script.refused(403, "GET", "/users")
    expected = ("FORBIDDEN", "only an administrator makes tokens for others")
    for name in ("admin", "nobody"):  # who is there, and who is not
        body = {"name": "x", "user": name}
        assert await bob.refused(403, "POST", "/tokens", body) == expected
    await bob("POST", "/tokens", {"name": "x", "user": "bob"}, 201)
    await admin.refused(404, "POST", "/tokens", {"name": "x", "user": "nobody"})


async def test_a_bound_token_has_only_itself(admin, server):
    await admin("POST", "/tokens", {"name": "other"}, 201)
    made = await admin("POST", "/tokens", {"name": "bound", "role": "viewer"}, 201)
    async with asking(server.url, token=made["token"]) as script:
        assert [token["name"] for token in await script("GET", "/tokens")] == ["bound"]
        me = await script("GET", "/me")
        assert (me["bound_by"], me["administers"]) == ("viewer", False)
        await script.refused(403, "GET", "/users")
        await script("DELETE", f"/tokens/{made['id']}", status=204)
    assert [token["name"] for token in await admin("GET", "/tokens")] == ["other"]


async def test_with_a_user_go_his_tokens_and_grants(admin, bob, server):
    made = await bob("POST", "/tokens", {"name": "his"}, 201)
    await granted(admin)
    await admin("DELETE", "/users/bob", status=204)
    assert await admin("GET", "/tokens") == await admin("GET", "/grants") == []
    async with asking(server.url, token=made["token"]) as script:
        assert (await script.refused(401, "GET", "/me"))[1] == "the API token is unknown"
    again = {"name": "bob", "password": SECRET}
    await admin("POST", "/users", again, 201)
    assert await admin("GET", "/grants?user=bob") == []


# Groups


async def test_a_group_is_made_changed_and_removed(admin, bob, server):
    del bob
    made = await admin("POST", "/groups", {"name": "staff", "members": ["bob", "admin"]}, 201)
    assert [member["name"] for member in made["members"]] == ["admin", "bob"]
    outer = await admin("POST", "/groups", {"name": "all", "groups": [made["id"]]}, 201)
    assert [group["name"] for group in outer["groups"]] == ["staff"]
    changed = await admin("PATCH", "/groups/staff", {"members": ["bob"]})
    assert changed == await admin("GET", f"/groups/{made['id']}")
    assert [member["name"] for member in changed["members"]] == ["bob"]
    code, text = await admin.refused(409, "PUT", "/groups/staff/groups/all")
    assert (code, text) == ("CONFLICT", "a group cannot be in itself")
    server.told.judged.clear()
    await admin("DELETE", "/groups/staff", status=204)
    assert server.told.judged == [{changed["members"][0]["id"]}]
    assert (await admin("GET", "/groups"))[0]["groups"] == []


async def test_members_come_and_go_one_by_one_whoever_else_changes_them(admin):
    names = [f"user-{number}" for number in range(6)]
    for name in names:
        await admin("POST", "/users", {"name": name, "password": SECRET}, 201)
    await admin("POST", "/groups", {"name": "staff"}, 201)
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(admin("PUT", f"/groups/staff/members/{name}"))
    staff = await admin("GET", "/groups/staff")
    assert [member["name"] for member in staff["members"]] == names
    async with asyncio.TaskGroup() as group:
        for name in names[1:]:
            group.create_task(admin("DELETE", f"/groups/staff/members/{name}"))
    staff = await admin("GET", "/groups/staff")
    assert [member["name"] for member in staff["members"]] == names[:1]
    expected = ("NOT_FOUND", "user 'user-1' is not in group 'staff'")
    assert await admin.refused(404, "DELETE", "/groups/staff/members/user-1") == expected


async def test_groups_of_what_is_not_there_are_refused(admin):
    await admin("POST", "/groups", {"name": "staff"}, 201)
    for status, body, message in (
        (404, {"name": "x", "members": ["nobody"]}, "there is no user 'nobody'"),
        (404, {"name": "x", "groups": ["nobody"]}, "there is no group 'nobody'"),
        (409, {"name": "staff"}, "there is already a group named 'staff'"),
        (400, {"name": "x", "members": "bob"}, "members: "),
    ):
        assert (await admin.refused(status, "POST", "/groups", body))[1].startswith(message)
    code, text = await admin.refused(400, "PATCH", "/groups/staff", {})
    assert (code, text) == ("BAD_MESSAGE", "give at least one of members, groups")
    await admin.refused(404, "PUT", "/groups/staff/members/nobody")
    await admin.refused(404, "DELETE", "/groups/staff/groups/nobody")


# Roles


async def test_roles_are_listed_made_changed_and_removed(admin, bob):
    del bob
    listed = {role["name"]: role for role in await admin("GET", "/roles")}
    assert listed.keys() == BUILT_IN.keys()
    assert all(role["built_in"] for role in listed.values())
    assert listed["administrator"]["permissions"] == ["*"]
    made = await admin("PUT", "/roles/console", {"permissions": ["view", "vm.console"]})
    assert made == {"name": "console", "permissions": ["view", "vm.console"], "built_in": False}
    changed = await admin("PUT", "/roles/console", {"permissions": ["vm"]})
    assert await admin("GET", "/roles/console") == changed
    await granted(admin, role="console")
    expected = ("CONFLICT", "role 'console' is in use; remove its grants first")
    assert await admin.refused(409, "DELETE", "/roles/console") == expected
    (grant,) = await admin("GET", "/grants")
    await admin("DELETE", f"/grants/{grant['id']}", status=204)
    await admin("DELETE", "/roles/console", status=204)
    await admin.refused(404, "GET", "/roles/console")


async def test_roles_that_cannot_be_are_refused(admin):
    for status, name, permissions, message in (
        (409, "viewer", ["view"], "role 'viewer' is built in"),
        (409, "none", ["view"], "'none' means no role"),
        (400, "mine", ["vm.fly"], "there is no permission 'vm.fly'; there are *, "),
        (400, "mine", [], "permissions: "),
    ):
        body = {"permissions": permissions}
        refused = await admin.refused(status, "PUT", f"/roles/{name}", body)
        assert refused[1].startswith(message)
    await admin.refused(409, "DELETE", "/roles/viewer")


async def test_permissions_are_listed_with_what_they_are_for(admin):
    listed = await admin("GET", "/permissions")
    assert {one["name"]: one["purpose"] for one in listed} == PERMISSIONS


# Grants


async def test_grants_of_each_kind_are_added_listed_and_taken_back(admin, bob, paris, server):
    del bob
    await admin("POST", "/groups", {"name": "staff", "members": ["bob"]}, 201)
    account = (await admin("GET", "/users/bob"))["id"]
    for kind, scope, text in (
        ("everything", {}, "everything"),
        ("pool", {"pool": "Paris"}, "pool Paris"),
        ("object", {"pool": paris, "value": uuid(1)}, f"object Paris/{uuid(1)}"),
        ("tag", {"value": "prod"}, "tag prod"),
        ("filter", {"value": "power_state:Running"}, 'filter power_state:"Running"'),
    ):
        server.told.judged.clear()
        grant = await granted(admin, kind=kind, to={"group": "staff"}, **scope)
        assert server.told.judged == [{account}]
        assert (grant["user"], grant["group"]["name"]) == (None, "staff")
        assert grant["scope"]["text"] == text
        assert await admin("GET", f"/grants/{grant['id']}") == grant
        assert await admin("GET", "/grants") == [grant]
        assert await admin("GET", "/grants?user=bob") == [grant]
        assert await admin("GET", "/grants?group=staff") == [grant]
        assert await admin("GET", "/grants?user=admin") == []
        await admin("DELETE", f"/grants/{grant['id']}", status=204)
        await admin.refused(404, "DELETE", f"/grants/{grant['id']}")
        assert server.told.judged == [{account}] * 2


async def test_grants_that_cannot_be_are_refused(admin, bob, paris):
    del bob, paris
    for change, status, message in (
        ({"user": "nobody"}, 404, "there is no user 'nobody'"),
        ({"group": "staff"}, 400, "give either user or group"),
        ({"user": None}, 400, "give either user or group"),
        ({"role": "king"}, 404, "there is no role 'king'"),
        ({"scope": {"kind": "world"}}, 400, "scope.kind: "),
        ({"scope": {"kind": "everything", "value": "x"}}, 400, "scope: a scope of kind everything"),
        ({"scope": {"kind": "pool"}}, 400, "scope: a scope of kind pool needs pool beside"),
        ({"scope": {"kind": "pool", "pool": "Rome"}}, 404, "there is no pool 'Rome'"),
        ({"scope": {"kind": "object", "pool": "Paris"}}, 400, "scope: a scope of kind object"),
        (
            {"scope": {"kind": "object", "pool": "Paris", "value": "web"}},
            400,
            "'web' is no object's uuid",
        ),
        (
            {"scope": {"kind": "object", "pool": "Paris", "value": uuid(9)}},
            404,
            f"the pool has no object with uuid '{uuid(9)}'",
        ),
        ({"scope": {"kind": "tag", "value": ""}}, 400, "scope.value: "),
        ({"scope": {"kind": "tag", "value": "a\0b"}}, 400, "scope.value: must not hold"),
        ({"scope": {"kind": "filter", "value": "a:b:("}}, 400, ""),
        ({"scope": {"kind": "filter", "value": "no_such_field:x"}}, 400, ""),
        ({"scope": {"kind": "filter", "value": "web"}}, 400, "the filter of a grant names a field"),
        ({"deny": "yes"}, 400, "deny: "),
        ({"id": "mine"}, 400, "id: there is no such member"),
    ):
        body = {"user": "bob", "role": "viewer", "scope": {"kind": "everything"}} | change
        refused = await admin.refused(status, "POST", "/grants", body)
        assert refused[1].startswith(message)
    assert await admin("GET", "/grants") == []


async def test_the_same_grant_is_not_given_twice(admin, bob):
    del bob
    grant = await granted(admin)
    body = {"user": "bob", "role": "viewer", "scope": {"kind": "everything"}}
    code, text = await admin.refused(409, "POST", "/grants", body)
    assert (code, text) == ("CONFLICT", f"that is granted already: {grant['id']}")
    await admin("POST", "/grants", body | {"deny": True}, 201)


async def test_objects_of_a_pool_that_was_never_listed_may_be_granted(admin, bob, server):
    del bob
    pool = (await server.storage.pools.add("Lyon", "https://xcp2", "root", "x")).id
    server.stores[pool] = Store(PoolId(pool), "epoch")
    grant = await granted(admin, kind="object", pool="Lyon", value=uuid(1))
    assert grant["scope"]["text"] == f"object Lyon/{uuid(1)}"
    refused = await admin.refused(503, "GET", f"/grants/why?user=bob&pool=Lyon&object={uuid(1)}")
    assert refused[0] == "POOL_UNAVAILABLE"


async def test_a_grant_on_a_pool_that_is_gone_is_shown_by_its_id(admin, bob, paris, server):
    del bob
    await granted(admin, kind="pool", pool="Paris")
    await server.storage.pools.remove(paris)
    (grant,) = await admin("GET", "/grants")
    assert grant["scope"]["text"] == f"pool {paris}"


# Why


async def why(admin, number, permission="view"):
    path = f"/grants/why?user=bob&pool=Paris&object={uuid(number)}&permission={permission}"
    answer = await admin("GET", path)
    return answer["allowed"], [reason["grant"] for reason in answer["because"]], answer


async def test_nothing_granted_is_nothing_allowed(admin, bob, paris):
    del bob, paris
    allowed, because, answer = await why(admin, 1)
    assert (allowed, because) == (False, [])
    assert answer["text"] == "bob may not 'view' on VM web: nothing that he was granted gives it"
    assert answer["object"]["class"] == "VM"


async def test_a_grant_on_an_object_decides_for_it_and_for_what_goes_with_it(admin, bob, paris):
    del bob
    await admin("POST", "/groups", {"name": "staff", "members": ["bob"]}, 201)
    grant = await granted(
        admin, kind="object", pool="Paris", value=uuid(1), to={"group": "staff"}, role="operator"
    )
    allowed, because, answer = await why(admin, 4)
    assert (allowed, because) == (True, [grant["id"]])
    (reason,) = answer["because"]
    assert reason["through"] == {"pool": paris, "class": "VM", "uuid": uuid(1), "name": "web"}
    assert answer["text"] == (
        "bob may 'view' on VDI own: role operator is given to group staff on object "
        f"Paris/{uuid(1)}, through VM web"
    )
    assert (await why(admin, 1, "vm.power.start"))[:2] == (True, [grant["id"]])
    assert (await why(admin, 1, "vm.destroy"))[:2] == (False, [])
    assert (await why(admin, 2))[:2] == (False, [])


async def test_a_denial_decides_where_it_takes_something_away(admin, bob, paris):
    del bob, paris
    given = await granted(admin, kind="pool", pool="Paris")
    denied = await granted(admin, kind="object", pool="Paris", value=uuid(1), deny=True)
    allowed, because, answer = await why(admin, 4)
    assert (allowed, because) == (False, [denied["id"]])
    assert "role viewer is denied to user bob" in answer["text"]
    assert (await why(admin, 2))[:2] == (True, [given["id"]])
    # a disk that two machines share is seen by who sees one of them
    assert (await why(admin, 3))[:2] == (True, [given["id"]])


async def test_of_several_grants_those_are_told_that_count(admin, bob, paris):
    del bob, paris
    await granted(admin, kind="object", pool="Paris", value=uuid(1))
    await granted(admin, kind="object", pool="Paris", value=uuid(1), deny=True)
    other = await granted(admin, kind="object", pool="Paris", value=uuid(2))
    assert (await why(admin, 3))[:2] == (True, [other["id"]])


async def test_the_role_of_an_account_is_told_as_such_and_a_disabled_one_may_nothing(
    admin, bob, paris
):
    del bob, paris
    await admin("PATCH", "/users/bob", {"role": "viewer"})
    allowed, because, answer = await why(admin, 1)
    assert (allowed, because) == (True, [None])
    assert answer["text"].endswith("role viewer is given to user bob on everything")
    await admin("PATCH", "/users/bob", {"enabled": False})
    allowed, because, answer = await why(admin, 1)
    assert (allowed, because) == (False, [])
    assert answer["text"].endswith("the account is disabled")


async def test_questions_that_cannot_be_answered_are_refused(admin, bob, paris):
    del bob, paris
    asked = f"/grants/why?user=bob&pool=Paris&object={uuid(1)}"
    for status, path, message in (
        (400, "/grants/why", "user: is missing"),
        (400, f"{asked}&user=admin", "give each parameter once"),
        (400, f"{asked}&colour=red", "colour: there is no such member"),
        (400, f"{asked}&permission=vm.fly", "there is no permission 'vm.fly'"),
        (404, asked.replace("bob", "nobody"), "there is no user 'nobody'"),
        (404, asked.replace("Paris", "Rome"), "there is no pool 'Rome'"),
        (404, asked.replace(uuid(1), uuid(9)), "the pool has no object with uuid"),
        (400, "/grants?user=bob&group=staff", "give user or group, not both"),
    ):
        assert (await admin.refused(status, "GET", path))[1].startswith(message)


# The description


async def test_the_description_says_who_may_ask_and_with_which_parameters(admin):
    document = await admin("GET", "/openapi.json")
    paths = document["paths"]
    assert paths["/tokens"]["get"]["description"] == "For everybody who has signed in."
    assert paths["/users"]["get"]["description"] == "For administrators."
    parameters = {p["name"]: p for p in paths["/grants/why"]["get"]["parameters"]}
    assert {name: p["required"] for name, p in parameters.items()} == {
        "user": True,
        "pool": True,
        "object": True,
        "permission": False,
    }
    assert all(p["in"] == "query" for p in parameters.values())
    schemas = document["components"]["schemas"]
    for name in ("UserInfo", "Me", "GroupInfo", "GrantInfo", "TokenInfo"):
        members = " ".join(schemas[name]["properties"])
        assert not {"password", "hash", "secret", "digest"} & set(members.replace("_", " ").split())
