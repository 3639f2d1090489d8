"""`xoproxy storage` beside, and instead of, a running `xoproxy serve`; on both databases."""

import shutil
import signal

import aiohttp
import pytest

from tests.integration.test_serve import NOWHERE, POOL_PASSWORD, environment, finished, serving
from tests.postgresql import PASSWORD

__all__ = ["environment"]  # the fixture

pytestmark = pytest.mark.slow

ADD = ("pool", "add", "Paris", NOWHERE, "--user", "root")


@pytest.fixture(params=["sqlite", "postgresql"])
def stored(request, environment):
    """Settings of a proxy on either database."""
    if request.param == "postgresql":
        environment["XOPROXY_STORAGE__URL"] = request.getfixturevalue("new_database")()
    return environment


async def storage(environment, *arguments):
    """Run `xoproxy storage ...` and return what it says."""
    out, err, code = await finished(("storage", *arguments), environment)
    assert code == 0, err
    for secret in (POOL_PASSWORD, environment.get("XOPROXY_STORAGE__URL", "hunter2")):
        assert secret not in out + err
    return out


async def refused(environment, *arguments):
    out, err, code = await finished(("storage", *arguments), environment)
    assert code == 2, out
    assert err.count("\n") == 1
    assert environment.get("XOPROXY_STORAGE__URL", "hunter2") not in err
    return err


async def _fill(served):
    """Add a pool; return a token that can read it."""
    password = served.printed_password
    await served.as_admin(*ADD, password=password)
    made = await served.as_admin("token", "add", "script", password=password)
    return made["token"]


async def _check(environment, token):
    async with serving(environment) as served:
        assert served.printed_password is None
        (pool,) = await served.run("pool", "list", XOPROXY_TOKEN=token)
        assert pool["name"] == "Paris"
        assert await served.stop() == 0


async def test_a_backup_of_a_running_proxy_moves_it_to_the_other_database(
    stored, new_database, tmp_path
):
    async with serving(stored) as served:
        token = await _fill(served)
        said = await storage(stored, "backup", str(tmp_path / "backup"))
        assert "is not in it" in said
        assert await served.stop() == 0

    there = stored | {"XOPROXY_STORAGE__DIRECTORY": str(tmp_path / "there")}
    if there.pop("XOPROXY_STORAGE__URL", None) is None:
        there["XOPROXY_STORAGE__URL"] = new_database()
    assert "put the key file" in await refused(there, "restore", str(tmp_path / "backup"))
    shutil.copy(tmp_path / "data" / "storage.key", tmp_path / "there")
    assert "Restored" in await storage(there, "restore", str(tmp_path / "backup"))
    await _check(there, token)
    assert "not empty" in await refused(there, "restore", str(tmp_path / "backup"))


async def test_the_key_is_changed_when_no_proxy_runs(stored, tmp_path):
    async with serving(stored) as served:
        token = await _fill(served)
        assert "another proxy uses" in await refused(stored, "rotate-key")
        assert "another proxy uses" in await refused(stored, "restore", "/dev/null", "--force")
        assert await served.stop() == 0
    key = (tmp_path / "data" / "storage.key").read_bytes()
    assert "Encrypted 2 secrets" in await storage(stored, "rotate-key")
    assert (tmp_path / "data" / "storage.key").read_bytes() != key
    await _check(stored, token)


async def test_a_proxy_elsewhere_on_the_same_database_is_noticed(
    environment, new_database, tmp_path
):
    environment["XOPROXY_STORAGE__URL"] = new_database()
    elsewhere = environment | {"XOPROXY_STORAGE__DIRECTORY": str(tmp_path / "elsewhere")}
    async with serving(environment) as served:
        (tmp_path / "elsewhere").mkdir()
        shutil.copy(tmp_path / "data" / "storage.key", tmp_path / "elsewhere")
        out, err, code = await finished(("serve",), elsewhere)
        assert (out, code) == ("", 2)
        assert "another proxy uses this database" in err
        assert "another proxy uses this database" in await refused(elsewhere, "rotate-key")
        assert await served.stop() == 0


async def test_the_password_of_the_database_is_nowhere_to_be_seen(environment, new_database):
    url = environment["XOPROXY_STORAGE__URL"] = new_database()
    async with serving(environment) as served, aiohttp.ClientSession() as http:
        said = served.said
        for path in ("metrics", "readyz", "healthz"):
            async with http.get(f"{served.url}/{path}") as reply:
                said += await reply.text()
        served.process.send_signal(signal.SIGTERM)
        out, log = await served.process.communicate()
    said += (out + log).decode()
    assert "xoproxy_memory_bytes" in said
    assert "key file created" in said
    for secret in (PASSWORD, url.split("@")[0].rpartition(":")[2]):
        assert secret not in said


async def test_there_must_be_something_to_handle(environment, tmp_path):
    for command in (("backup", str(tmp_path / "backup")), ("rotate-key",)):
        assert "there is no database" in await refused(environment, *command)
    assert not (tmp_path / "data" / "storage.key").exists()
