"""`xoproxy audit` against a running proxy."""

import asyncio
import json
import os
import sqlite3

import pytest
from structlog.testing import capture_logs

from tests.integration.administration import asking
from tests.integration.support import PASSWORD, fast_settings
from xoproxy import app
from xoproxy.cli.main import run

AS_ADMIN = ("--as", "admin")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("XOPROXY_"):
            monkeypatch.delenv(name)
    with capture_logs():  # the proxy logs in this process
        yield


@pytest.fixture
async def proxy(tmp_path, monkeypatch):
    async with app.running(fast_settings(tmp_path)) as running:
        monkeypatch.setenv("XOPROXY_URL", running.url)
        monkeypatch.setenv("XOPROXY_PASSWORD", PASSWORD)
        async with asking(running.url, "admin", PASSWORD) as ask:
            for name in ("bob", "eve", "red"):
                await ask("POST", "/users", {"name": name, "password": PASSWORD}, 201)
        yield running


@pytest.fixture
def xoproxy(capsys):
    async def command(*arguments):
        """Run a command while the proxy runs in this loop; return code, stdout, stderr."""
        code = await asyncio.to_thread(run, ("audit", *arguments, *AS_ADMIN))
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return command


@pytest.mark.usefixtures("proxy")
async def test_the_log_is_printed_for_people_and_for_programs(xoproxy, monkeypatch):
    monkeypatch.setattr("xoproxy.cli.audit._PART", 2)  # so that it comes in parts

    code, out, err = await xoproxy("export")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[1] for line in lines] == ["#1", "#2", "#3", "#4"]
    assert "admin@127.0.0.1 (password:" in lines[1]
    assert "addUser /users/" in lines[1]
    assert lines[1].endswith("[name, password] name=bob -> done")

    code, out, _ = await xoproxy("export", "--json", "--since", "2")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["number"] for record in records] == [3, 4]
    assert [record["details"]["name"] for record in records] == ["eve", "red"]
    assert (await xoproxy("export", "--since", "2999-01-01T00:00:00Z"))[:2] == (0, "")
    code, _, err = await xoproxy("export", "--since", "tomorrow")
    assert code == 1
    assert "since: give a record's number, or a moment" in err


async def test_a_whole_log_is_verified_with_what_was_noted_before(proxy, xoproxy, monkeypatch):
    monkeypatch.setattr("xoproxy.cli.audit._VERIFIED_PART", 2)

    code, out, _ = await xoproxy("verify")
    assert code == 0
    assert out.startswith("Whole from record 1 to 4.\nNewest: 4:")
    head = out.split()[-1]
    async with asking(proxy.url, "admin", PASSWORD) as ask:
        await ask("PATCH", "/users/bob", {"enabled": False})
    assert (await xoproxy("verify", "--head", head))[0] == 0
    code, out, _ = await xoproxy("verify", "--head", head[:-1] + ("0" if head[-1] != "0" else "1"))
    assert (code, out) == (1, "Broken at record 4: it is not the record that was noted.\n")
    assert (await xoproxy("verify", "--head", "9:" + head[2:]))[0] == 1
    for wrong in ("4", "x:y", "0:00"):
        assert (await xoproxy("verify", "--head", wrong))[0] == 2


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit SET content = replace(content, 'eve', 'bob') WHERE number = 3", "record 3"),
        ("DELETE FROM audit WHERE number = 2", "record 2: the record is missing"),
        ("DELETE FROM audit WHERE number >= 4", "record 4: the records from here to the end"),
    ],
)
async def test_the_first_broken_place_is_said(xoproxy, tmp_path, statement, said):
    (path,) = tmp_path.glob("*.db")
    with sqlite3.connect(path, timeout=10) as database:
        database.execute(statement)
    database.close()

    code, out, _ = await xoproxy("verify")
    assert code == 1
    assert f"Broken at {said}" in out
    code, out, _ = await xoproxy("verify", "--json")
    assert code == 1
    assert json.loads(out)["fault"]["number"] == int(said.split()[1].rstrip(":"))


@pytest.mark.usefixtures("proxy")
async def test_what_somebody_made_of_a_record_does_not_hide_the_others(xoproxy, tmp_path):
    (path,) = tmp_path.glob("*.db")
    with sqlite3.connect(path, timeout=10) as database:
        database.execute("UPDATE audit SET content = 'x' WHERE number = 2")
        database.execute("UPDATE audit SET content = '{}' WHERE number = 3")
    database.close()

    code, out, _ = await xoproxy("export", "--json")
    assert code == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["operation"] for record in records] == [
        "addFirstUser",
        "(unreadable)",
        "(unreadable)",
        "addUser",
    ]
    assert (await xoproxy("verify"))[1] == (
        "Broken at record 2: the record was changed, or the one before it was.\n"
    )
