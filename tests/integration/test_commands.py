"""The administration commands against a real server: what they print, and how they end."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from http import HTTPStatus

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.integration.administration import PASSWORD, administration
from tests.integration.terminal import answered
from xoproxy.cli.main import COMMANDS, application, run

AS_ADMIN = ("--as", "admin")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("XOPROXY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdin", open(os.devnull, encoding="utf-8"))  # noqa: PTH123, SIM115
    with capture_logs():  # the server logs in this process
        yield
    sys.stdin.close()


@pytest.fixture
async def server(tmp_path, monkeypatch):
    async with administration(tmp_path) as served:
        monkeypatch.setenv("XOPROXY_URL", served.url)
        monkeypatch.setenv("XOPROXY_PASSWORD", PASSWORD)
        yield served


@pytest.fixture
def xoproxy(capsys):
    async def command(*arguments):
        """Run a command while the server runs in this loop; return code, stdout, stderr."""
        code = await asyncio.to_thread(run, arguments)
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return command


async def as_json(xoproxy, *arguments):
    code, out, err = await xoproxy(*arguments, *AS_ADMIN, "--json")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    return json.loads(out)


async def failure(xoproxy, *arguments):
    code, out, err = await xoproxy(*arguments)
    assert out == ""
    assert err.startswith("xoproxy: ")
    assert err.count("\n") == 1, err
    return code, err.removeprefix("xoproxy: ").rstrip("\n")


@pytest.fixture
async def paris(server, xoproxy, monkeypatch):
    del server
    monkeypatch.setenv("XOPROXY_POOL_PASSWORD", "hunter2")
    return await as_json(xoproxy, "pool", "add", "Paris", "https://xcp1.example", "--user", "root")


async def test_a_pool_is_added_with_a_password_from_a_file(server, xoproxy, tmp_path):
    file = tmp_path / "password"
    file.write_text("from a file\n")
    added = ("pool", "add", "Paris", "https://xcp1.example", "--user", "root")
    code, out, _ = await xoproxy(*added, "--password-file", str(file), *AS_ADMIN)
    assert code == 0
    (stored,) = await server.storage.pools.list()
    assert stored.password == "from a file"
    assert out == f"Added Paris ({stored.id}). See its state: xoproxy pool list\n"


async def test_pools_are_listed_for_people_and_for_programs(paris, xoproxy):
    assert await as_json(xoproxy, "pool", "list") == [paris]
    code, out, err = await xoproxy("pool", "list", *AS_ADMIN)
    assert (code, err) == (0, "")
    heading, row = out.splitlines()
    assert heading.split() == ["ID", "NAME", "URL", "STATE", "SINCE", "OBJECTS", "ERROR"]
    assert row.split()[:4] == [paris["id"], "Paris", "https://xcp1.example", "live"]
    assert row.split()[-2:] == ["7", "-"]


async def test_names_are_no_markup_and_long_ones_stay_on_their_line(paris, xoproxy):
    del paris
    name = "[red]" + "x" * 80 + "[/red]"
    await as_json(xoproxy, "pool", "rename", "Paris", name)
    _, out, _ = await xoproxy("pool", "list", *AS_ADMIN)
    assert name in out.splitlines()[1]


async def test_an_empty_list_says_what_to_do(server, xoproxy):
    del server
    assert await as_json(xoproxy, "pool", "list") == []
    _, out, _ = await xoproxy("pool", "list", *AS_ADMIN)
    assert "xoproxy pool add NAME URL" in out


async def test_a_pool_is_found_by_name_or_id_and_switched_renamed_removed(paris, xoproxy):
    disabled = await as_json(xoproxy, "pool", "disable", "Paris")
    assert (disabled["id"], disabled["state"]) == (paris["id"], "disabled")
    assert await as_json(xoproxy, "pool", "enable", paris["id"]) == paris
    assert (await as_json(xoproxy, "pool", "rename", "Paris", "Lyon"))["name"] == "Lyon"
    _, out, _ = await xoproxy("pool", "show", "Lyon", *AS_ADMIN)
    assert re.search(r"^Name: +Lyon$", out, re.MULTILINE)
    assert re.search(r"^Enabled: +yes$", out, re.MULTILINE)
    assert "hunter2" not in out
    removed = await as_json(xoproxy, "pool", "remove", "Lyon")
    assert removed == {"id": paris["id"], "name": "Lyon"}
    assert await failure(xoproxy, "pool", "show", "Lyon", *AS_ADMIN) == (
        1,
        "there is no pool 'Lyon'; see xoproxy pool list",
    )


async def test_a_token_is_made_used_and_revoked(server, xoproxy, monkeypatch, tmp_path):
    made = await as_json(xoproxy, "token", "add", "script", "--days", "30")
    assert set(made) == {"id", "token"}
    monkeypatch.delenv("XOPROXY_PASSWORD")
    monkeypatch.setenv("XOPROXY_TOKEN", made["token"])
    code, out, _ = await xoproxy("token", "list")
    assert code == 0
    assert [made["id"], "script", "admin"] == out.splitlines()[1].split()[:3]
    assert made["token"] not in out

    monkeypatch.delenv("XOPROXY_TOKEN")
    (tmp_path / "token").write_text(made["token"])
    monkeypatch.setenv("XOPROXY_TOKEN_FILE", str(tmp_path / "token"))
    code, out, _ = await xoproxy("token", "revoke", "script", "--json")
    assert (code, json.loads(out)) == (0, {"id": made["id"]})
    assert server.revoked == [f"token:{made['id']}"]
    expected = (4, "the API token was revoked; create another one")
    assert await failure(xoproxy, "token", "list") == expected


async def test_two_tokens_of_one_name_are_told_apart_by_id(server, xoproxy):
    del server
    first = await as_json(xoproxy, "token", "add", "script")
    await as_json(xoproxy, "token", "add", "script")
    code, text = await failure(xoproxy, "token", "revoke", "script", *AS_ADMIN)
    assert (code, text.partition(";")[0]) == (1, "2 tokens are named 'script'")
    await as_json(xoproxy, "token", "revoke", first["id"])
    await as_json(xoproxy, "token", "revoke", "script")


async def test_refusals_of_the_proxy_come_through_as_one_line(paris, xoproxy, monkeypatch):
    del paris
    add = ("pool", "add", "Paris", "https://xcp1.example", "--user", "root", *AS_ADMIN)
    expected = (1, "there is already a pool named 'Paris'")
    assert await failure(xoproxy, *add) == expected
    code, text = await failure(xoproxy, "pool", "add", "x", "xcp1", "--user", "root", *AS_ADMIN)
    assert (code, text.startswith("url: must look like https://")) == (1, True)
    monkeypatch.setenv("XOPROXY_PASSWORD", "wrong")
    expected = (4, "wrong user name or password")
    assert await failure(xoproxy, "pool", "list", *AS_ADMIN) == expected


async def test_wrong_usage_ends_with_2_and_says_what_is_missing(server, xoproxy, monkeypatch):
    del server
    for arguments, message in (
        (("pool", "add"), "Missing argument 'NAME'. See: xoproxy pool add --help"),
        (("pool", "add", "a", "b"), "Missing option '--user'. See: xoproxy pool add --help"),
        (("pool", "lsit"), "No such command 'lsit'. Did you mean 'list'? See: xoproxy pool --help"),
        (("pol",), "No such command 'pol'. Did you mean 'pool'? See: xoproxy --help"),
        (("pool", "list"), "set XOPROXY_TOKEN, or give --as USER"),
        (
            ("pool", "add", "a", "https://b", "--user", "root", *AS_ADMIN),
            "give the pool's password by --password-file or XOPROXY_POOL_PASSWORD",
        ),
        (
            ("pool", "list", *AS_ADMIN, "--as-password-file", "/nowhere"),
            "--as-password-file: cannot read /nowhere: No such file or directory",
        ),
        (
            ("pool", "list", *AS_ADMIN, "--url", "ftp://x"),
            "'ftp://x' is no URL of a proxy: write http://host:8086",
        ),
    ):
        assert await failure(xoproxy, *arguments) == (2, message)
    monkeypatch.delenv("XOPROXY_PASSWORD")
    expected = (2, "set XOPROXY_PASSWORD, or give --as-password-file FILE")
    assert await failure(xoproxy, "pool", "list", *AS_ADMIN) == expected


async def test_a_proxy_that_is_not_there_ends_with_3(xoproxy, monkeypatch):
    monkeypatch.setenv("XOPROXY_PASSWORD", "x")
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        await _nobody_answers(xoproxy, bound.getsockname()[1])


async def _nobody_answers(xoproxy, port):
    for url, message in (
        (f"http://127.0.0.1:{port}", "(Connection refused); is `xoproxy serve` running"),
        ("http://no-such-name.invalid", "cannot reach a proxy at http://no-such-name.invalid"),
    ):
        code, text = await failure(xoproxy, "pool", "list", *AS_ADMIN, "--url", url)
        assert code == 3
        assert message in text


async def test_something_else_that_answers_ends_with_3(xoproxy, monkeypatch):
    monkeypatch.setenv("XOPROXY_PASSWORD", "x")

    async def garbage(_reader, writer):
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        url = f"http://127.0.0.1:{port}"
        expected = (3, f"what answers at {url} does not speak HTTP")
        assert await failure(xoproxy, "pool", "list", *AS_ADMIN, "--url", url) == expected
        url = f"https://127.0.0.1:{port}"
        code, text = await failure(xoproxy, "pool", "list", *AS_ADMIN, "--url", url)
        assert code == 3
        assert text.startswith(f"no secure connection to {url}")


@pytest.mark.parametrize(("status", "code"), [(404, 3), (200, 3), (502, 1)])
async def test_answers_that_are_not_ours_are_told(xoproxy, monkeypatch, status, code):
    monkeypatch.setenv("XOPROXY_PASSWORD", "x")

    async def page(_request):
        return web.Response(status=HTTPStatus(status), text="<html>hello</html>")

    application = web.Application()
    application.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    expected = (code, f"what answers at {url} is not xoproxy, or in trouble (HTTP {status})")
    assert await failure(xoproxy, "pool", "list", *AS_ADMIN, "--url", url) == expected
    await runner.cleanup()


async def test_at_a_terminal_passwords_are_asked_for_and_not_shown(server, monkeypatch):
    monkeypatch.delenv("XOPROXY_PASSWORD")
    out, shown = await answered(
        ("pool", "add", "Paris", "https://xcp1.example", "--user", "root", "--json"),
        {
            "User: ": "admin",
            "Password of admin: ": PASSWORD,
            "Password of root on the pool: ": "hunter2",
        },
    )
    assert json.loads(out)["name"] == "Paris"
    assert "hunter2" not in shown
    assert PASSWORD not in shown
    assert (await server.storage.pools.list())[0].password == "hunter2"


# The program itself


def test_help_is_quick_because_it_loads_nothing_heavy():
    script = (
        "import sys; from xoproxy.cli.main import run; code = run(['--help']);"
        "heavy = {'aiohttp', 'sqlalchemy', 'pydantic', 'alembic', 'argon2', 'prometheus_client'};"
        "print(sorted(heavy & set(sys.modules)), code)"
    )
    result = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[] 0"
    for name in COMMANDS:
        assert f" {name} " in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_their_own_help_says(name, capsys):
    assert run([name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert COMMANDS[name] in shown
    assert application(name).registered_commands


def test_the_version_is_shown(capsys):
    assert run(["--version"]) == 0
    assert re.fullmatch(r"xoproxy \S+\n", capsys.readouterr().out)
