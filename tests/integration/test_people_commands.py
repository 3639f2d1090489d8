"""The commands about users, groups, roles and grants, and what they do to open connections."""

import asyncio
import io
import json
import os
import re
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from tests.integration.sim import simulated
from tests.integration.support import PASSWORD, connected, proxy_on
from tests.integration.terminal import answered
from xoproxy.cli.main import run

AS_ADMIN = ("--as", "admin")
SECRET = "correct horse battery"
NEW_SECRET = "staple correct horse"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("XOPROXY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    with capture_logs():  # the proxy logs in this process
        yield


@pytest.fixture
async def pool():
    async with simulated(hosts=1, vms=3) as (pool, _, _):
        yield pool


@pytest.fixture
async def proxy(pool, monkeypatch):
    async with proxy_on(pool.url) as running:
        monkeypatch.setenv("XOPROXY_URL", running.url)
        monkeypatch.setenv("XOPROXY_PASSWORD", PASSWORD)
        yield running


@pytest.fixture
def xoproxy(capsys, monkeypatch):
    async def command(*arguments, typed=""):
        """Run a command while the proxy runs in this loop; return code, stdout, stderr."""
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = await asyncio.to_thread(run, arguments)
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return command


@pytest.fixture
def told(xoproxy):
    async def as_json(*arguments, **options):
        code, out, err = await xoproxy(*arguments, *AS_ADMIN, "--json", **options)
        assert (code, err) == (0, "")
        assert out.count("\n") == 1
        assert SECRET not in out
        return json.loads(out)

    return as_json


@pytest.fixture
def failure(xoproxy):
    async def failing(*arguments, **options):
        code, out, err = await xoproxy(*arguments, *AS_ADMIN, **options)
        assert out == ""
        assert err.startswith("xoproxy: ")
        assert err.count("\n") == 1, err
        return code, err.removeprefix("xoproxy: ").rstrip("\n")

    return failing


@pytest.fixture
async def bob(proxy, told):
    del proxy
    return await told("user", "add", "bob", typed=SECRET + "\n")


@asynccontextmanager
async def signed_in(proxy, **credentials):
    credentials = credentials or {"username": "bob", "password": SECRET}
    async with connected(proxy.url, auth=None) as client:
        await client.send({"type": "auth", **credentials})
        await client.until(lambda: client.welcome)
        yield client


def machines(pool):
    """Map uuid -> name of the pool's VMs, in an order."""
    rows = pool.database
    return {rows.get("VM", r, "uuid"): rows.get("VM", r, "name_label") for r in rows.refs("VM")}


def seen(client):
    """Return the uuids of the VMs that a client holds; None while something is on its way."""
    views = [view for view in client.views.values() if not view.gone]
    if not all(view.complete for view in views):
        return None
    return {vm["uuid"] for view in views for vm in view.document["VM"].values()}


# On open connections


async def test_what_is_granted_appears_at_once_and_what_is_taken_back_goes(proxy, pool, bob, told):
    del bob
    first, second, *_ = machines(pool)
    async with signed_in(proxy) as client:
        await client.send({"type": "subscribe", "id": 1, "query": {"classes": ["VM"]}})
        assert (await client.answer(1))["views"] == []

        grant = await told(
            "grant", "add", "--user", "bob", "--role", "viewer", "--object", f"pool-0/{first}"
        )
        await client.until(lambda: seen(client) == {first})
        (view,) = client.views.values()

        more = await told(
            "grant", "add", "--user", "bob", "--role", "viewer", "--object", f"pool-0/{second}"
        )
        await client.until(lambda: seen(client) == {first, second})
        assert view.patches == 1

        await told("grant", "remove", grant["id"])
        await client.until(lambda: seen(client) == {second})
        assert (view.patches, view.resets) == (2, [])

        await told("grant", "remove", more["id"])
        await client.until(lambda: view.gone)
        assert seen(client) == set()


async def test_a_denial_hides_at_once_and_a_group_gives_at_once(proxy, pool, bob, told):
    del bob
    first, *others = machines(pool)
    await told("group", "add", "staff")
    await told("grant", "add", "--group", "staff", "--role", "viewer", "--pool", "pool-0")
    async with signed_in(proxy) as client:
        await client.send({"type": "subscribe", "id": 1, "query": {"classes": ["VM"]}})
        assert (await client.answer(1))["views"] == []
        await told("group", "add-member", "staff", "bob")
        await client.until(lambda: seen(client) == {first, *others})
        denied = ("--role", "viewer", "--object", f"pool-0/{first}", "--deny")
        grant = await told("grant", "add", "--user", "bob", *denied)
        await client.until(lambda: seen(client) == set(others))
        await told("grant", "remove", grant["id"])
        await client.until(lambda: seen(client) == {first, *others})
        await told("group", "remove-member", "staff", "bob")
        await client.until(lambda: seen(client) == set())


async def test_a_user_who_is_disabled_or_removed_is_disconnected(proxy, bob, told):
    del bob
    made = await told("token", "add", "script", "--user", "bob")
    async with signed_in(proxy) as by_password, signed_in(proxy, token=made["token"]) as by_token:
        await told("user", "disable", "bob")
        await by_password.until(lambda: by_password.close_code)
        await by_token.until(lambda: by_token.close_code)
        assert (by_password.close_code, by_token.close_code) == (4305, 4305)
    await told("user", "enable", "bob")
    async with signed_in(proxy, token=made["token"]) as client:
        await told("user", "remove", "bob")
        await client.until(lambda: client.close_code)
        assert client.close_code == 4305


async def test_a_new_password_disconnects_those_who_came_by_the_old_one(proxy, bob, told):
    del bob
    made = await told("token", "add", "script", "--user", "bob")
    async with signed_in(proxy) as by_password, signed_in(proxy, token=made["token"]) as by_token:
        changed = await told("user", "passwd", "bob", typed=NEW_SECRET + "\n")
        assert changed["name"] == "bob"
        await by_password.until(lambda: by_password.close_code)
        assert by_password.close_code == 4305
        await by_token.send({"type": "ping", "id": 7})
        await by_token.answer(7)
    async with signed_in(proxy, username="bob", password=NEW_SECRET):
        pass


# Users


async def test_users_are_shown_for_people(bob, xoproxy):
    code, out, err = await xoproxy("user", "list", *AS_ADMIN)
    assert (code, err) == (0, "")
    heading, admin, row = out.splitlines()
    assert heading.split() == ["ID", "NAME", "ROLE", "ENABLED", "LOCKED", "GROUPS", "ADDED"]
    assert admin.split()[1:4] == ["admin", "administrator", "yes"]
    assert row.split()[:6] == [bob["id"], "bob", "none", "yes", "no", "-"]
    _, out, _ = await xoproxy("user", "role", "bob", "operator", *AS_ADMIN)
    assert out == f"bob ({bob['id']}) has role operator now.\n"
    _, out, _ = await xoproxy("user", "show", bob["id"], *AS_ADMIN)
    assert re.search(r"^Role: +operator$", out, re.MULTILINE)


async def test_everybody_may_look_after_himself(bob, xoproxy, monkeypatch, failure):
    monkeypatch.setenv("XOPROXY_PASSWORD", SECRET)
    as_bob = ("--as", "bob", "--json")
    code, out, _ = await xoproxy("user", "show", *as_bob)
    assert (code, json.loads(out)) == (0, bob | {"administers": False, "bound_by": None})
    code, out, _ = await xoproxy("token", "add", "mine", *as_bob)
    assert code == 0
    code, out, _ = await xoproxy("token", "list", *as_bob)
    assert [token["name"] for token in json.loads(out)] == ["mine"]
    for arguments in (("user", "list"), ("token", "add", "x", "--user", "admin")):
        code, out, err = await xoproxy(*arguments, *as_bob)
        assert (code, out) == (4, "")
        assert "administrator" in err

    code, _, _ = await xoproxy("user", "passwd", *as_bob, typed=NEW_SECRET + "\n")
    assert code == 0
    code, _, err = await xoproxy("user", "show", *as_bob)
    assert (code, err) == (4, "xoproxy: wrong user name or password\n")
    monkeypatch.setenv("XOPROXY_PASSWORD", PASSWORD)
    assert (await failure("user", "passwd", "nobody"))[1] == "there is no user 'nobody'"


async def test_who_must_change_his_password_does_it_first(bob, told, xoproxy, monkeypatch):
    del bob
    await told("user", "passwd", "bob", "--must-change", typed=NEW_SECRET + "\n")
    monkeypatch.setenv("XOPROXY_PASSWORD", NEW_SECRET)
    code, out, err = await xoproxy("token", "list", "--as", "bob")
    assert (code, out) == (4, "")
    assert "choose another password first" in err
    code, _, _ = await xoproxy("user", "passwd", "--as", "bob", typed=SECRET + "\n")
    assert code == 0
    monkeypatch.setenv("XOPROXY_PASSWORD", SECRET)
    code, out, _ = await xoproxy("token", "list", "--as", "bob")
    assert (code, out) == (0, "No tokens yet. Make one: xoproxy token add NAME\n")


async def test_who_guessed_too_often_is_unlocked(bob, told, xoproxy, monkeypatch):
    monkeypatch.setenv("XOPROXY_PASSWORD", "guess")
    err = ""
    while "too many failed sign-ins" not in err:
        code, _, err = await xoproxy("user", "show", "--as", "bob")
        assert code == 4
    monkeypatch.setenv("XOPROXY_PASSWORD", PASSWORD)
    assert (await told("user", "unlock", "bob"))["id"] == bob["id"]
    monkeypatch.setenv("XOPROXY_PASSWORD", SECRET)
    code, _, _ = await xoproxy("user", "show", "--as", "bob")
    assert code == 0


async def test_passwords_come_from_a_file_or_from_standard_input(proxy, told, failure, tmp_path):
    del proxy
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    await told("user", "add", "carol", "--password-file", str(file), "--role", "viewer")
    expected = (2, "give the password by --password-file FILE, or on standard input")
    assert await failure("user", "add", "dave") == expected
    code, text = await failure("user", "add", "dave", typed="short\n")
    assert (code, text) == (1, "a password has at least 10 characters")


async def test_names_that_mean_something_elsewhere_are_names_only(proxy, told):
    del proxy
    for name in ("a/b c%2F", "ünï", "' or 1=1 --", "..", "?x=1", "#", "me"):
        made = await told("user", "add", name, typed=SECRET + "\n")
        assert await told("user", "show", name) == made
        await told("group", "add", name, "--member", name)
        assert (await told("group", "remove", name))["name"] == name
        assert (await told("user", "remove", name))["id"] == made["id"]
    assert [user["name"] for user in await told("user", "list")] == ["admin"]


async def test_the_last_administrator_cannot_be_removed(bob, failure):
    del bob
    expected = "nobody would be left who may administer: make another one first"
    for command in (("remove", "admin"), ("disable", "admin"), ("role", "admin", "viewer")):
        assert await failure("user", *command) == (1, expected)


async def test_at_a_terminal_the_new_password_is_asked_for_twice(proxy):
    del proxy
    out, shown = await answered(
        ("user", "add", "erin", *AS_ADMIN, "--json"),
        {"New password of erin: ": SECRET, "Repeat for confirmation: ": SECRET},
    )
    assert json.loads(out)["name"] == "erin"
    assert SECRET not in shown + out


# Groups, roles, grants


async def test_groups_are_made_nested_and_shown(bob, told, xoproxy, failure):
    del bob
    inner = await told("group", "add", "inner", "--member", "bob")
    outer = await told("group", "add", "outer", "--group", "inner", "--member", "admin")
    _, out, _ = await xoproxy("group", "list", *AS_ADMIN)
    assert [line.split() for line in out.splitlines()[1:]] == [
        [inner["id"], "inner", "bob", "-"],
        [outer["id"], "outer", "admin", "inner"],
    ]
    _, out, _ = await xoproxy("group", "remove-group", "outer", "inner", *AS_ADMIN)
    assert out == f"outer ({outer['id']}) holds admin now.\n"
    _, out, _ = await xoproxy("group", "add-group", "outer", "inner", *AS_ADMIN)
    assert out == f"outer ({outer['id']}) holds admin, group inner now.\n"
    expected = (1, "a group cannot be in itself")
    assert await failure("group", "add-group", "inner", "outer") == expected
    assert await told("group", "remove", "inner") == {"id": inner["id"], "name": "inner"}
    _, out, _ = await xoproxy("group", "show", "outer", *AS_ADMIN)
    assert "Groups:  -\n" in out


async def test_roles_are_made_shown_and_removed(proxy, told, xoproxy, failure):
    del proxy
    made = await told("role", "put", "console", "view", "vm.console")
    assert made["permissions"] == ["view", "vm.console"]
    _, out, _ = await xoproxy("role", "list", *AS_ADMIN)
    assert ["console", "no", "view,", "vm.console"] in [row.split() for row in out.splitlines()]
    _, out, _ = await xoproxy("role", "show", "console", *AS_ADMIN)
    assert "Permissions: view, vm.console\n" in out
    _, out, _ = await xoproxy("role", "permissions", *AS_ADMIN)
    assert "start a VM" in out
    code, text = await failure("role", "put", "console", "vm.fly")
    assert (code, text.partition(";")[0]) == (1, "there is no permission 'vm.fly'")
    assert await told("role", "remove", "console") == {"name": "console"}
    assert await failure("role", "show", "console") == (1, "there is no role 'console'")


async def test_grants_are_listed_and_explained(bob, pool, told, xoproxy):
    del bob
    first, second, *_ = machines(pool)
    place = f"pool-0/{first}"
    grant = await told("grant", "add", "--user", "bob", "--role", "viewer", "--object", place)
    _, out, _ = await xoproxy("grant", "list", "--user", "bob", *AS_ADMIN)
    assert out.splitlines()[1].split()[:7] == [
        *(grant["id"], "bob", "-", "no", "viewer", "object", place)
    ]
    name = machines(pool)[first]
    why = ("grant", "why", "--user", "bob", "--object")
    _, out, _ = await xoproxy(*why, place, *AS_ADMIN)
    sentence, _, heading, row = out.splitlines()
    assert sentence == (
        f"bob may 'view' on VM {name}: role viewer is given to user bob on object {place}"
    )
    assert heading.split() == ["GRANT", "TO", "DENY", "ROLE", "ON", "THROUGH"]
    assert row.split()[0] == grant["id"]
    assert row.endswith(f"VM {name}")
    answer = await told(*why, f"pool-0/{second}")
    assert (answer["allowed"], answer["because"]) == (False, [])
    answer = await told(*why, place, "--permission", "vm.power.start")
    assert answer["allowed"] is False


async def test_grants_that_cannot_be_say_why(bob, failure):
    del bob
    add = ("grant", "add", "--user", "bob", "--role", "viewer")
    for arguments, code, message in (
        ((), 2, "give one of --all, --pool, --object, --tag, --filter"),
        (("--all", "--tag", "x"), 2, "give one of --all, --pool, --object, --tag, --filter"),
        (("--object", "web"), 2, "'web' is no POOL/UUID: write the pool's name or id, a slash"),
        (("--object", "pool-0/web"), 1, "'web' is no object's uuid"),
        (("--pool", "Rome"), 1, "there is no pool 'Rome'"),
        (("--all", "--group", "staff"), 2, "give either --user or --group"),
        (
            ("--filter", "nmae_label:x"),
            1,
            "none of the classes has a field 'nmae_label': did you mean name_label?",
        ),
    ):
        ended, text = await failure(*add, *arguments)
        assert ended == code
        assert text.startswith(message)
