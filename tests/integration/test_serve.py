"""`xoproxy serve` as a process: first start, restart, revocation, what stops it from starting."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest

POOL_PASSWORD = "hunter2-hunter2"
NOWHERE = "http://127.0.0.1:1"  # nobody listens on port 1


class Serving:
    """A running `xoproxy serve`, and the commands that talk to it."""

    def __init__(self, process, environment, said):
        self.process = process
        self.environment = environment
        self.said = said
        (self.url,) = re.findall(r"listens at (\S+)", said)

    @property
    def printed_password(self):
        found = re.search(r"user admin, password (\S+) \(shown this once\)", self.said)
        return found and found[1]

    async def run(self, *arguments, **variables):
        """Run another command with --json and return what it prints."""
        variables = {"XOPROXY_URL": self.url, "XOPROXY_POOL_PASSWORD": POOL_PASSWORD} | variables
        out, err, code = await finished(arguments, self.environment | variables, "--json")
        assert code == 0, err
        return json.loads(out)

    async def as_admin(self, *arguments, password):
        return await self.run(*arguments, "--as", "admin", XOPROXY_PASSWORD=password)

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            return await self.process.wait()


async def started(arguments, environment):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xoproxy", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )


async def finished(arguments, environment, *options):
    process = await started((*arguments, *options), environment)
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    return out.decode(), err.decode(), process.returncode


@pytest.fixture
def environment(tmp_path):
    ours = {name: value for name, value in os.environ.items() if not name.startswith("XOPROXY_")}
    return ours | {
        "XOPROXY_STORAGE__DIRECTORY": str(tmp_path / "data"),
        "XOPROXY_SERVER__PORT": "0",
        "XOPROXY_LOG__LEVEL": "debug",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


@asynccontextmanager
async def serving(environment, *options):
    """Run `xoproxy serve` until the block ends, with its log in a file."""
    process = await started(("serve", *options), environment)
    said = ""
    try:
        async with asyncio.timeout(20):
            while "listens at" not in said:
                line = await process.stdout.readline()
                assert line, (await process.stderr.read()).decode()
                said += line.decode()
        yield Serving(process, environment, said)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_everything_survives_a_restart(environment):
    async with serving(environment) as first:
        password = first.printed_password
        assert len(password) > 20
        add = ("pool", "add", "Paris", NOWHERE, "--user", "root")
        pool = await first.as_admin(*add, password=password)
        await first.as_admin("pool", "disable", "Paris", password=password)
        made = await first.as_admin("token", "add", "script", password=password)
        assert await first.stop() == 0
    async with serving(environment) as second:
        assert second.printed_password is None
        (listed,) = await second.run("pool", "list", XOPROXY_TOKEN=made["token"])
        assert {**pool, "enabled": False, "state": "disabled", "since": listed["since"]} == listed
        (token,) = await second.as_admin("token", "list", password=password)
        assert token["id"] == made["id"]


async def test_the_password_comes_from_a_file_and_settings_from_toml(environment, tmp_path):
    (tmp_path / "password").write_text("from a file\n")
    config = tmp_path / "xoproxy.toml"
    config.write_text('[log]\nformat = "console"\n[server]\nhost = "127.0.0.2"\n')
    environment["XOPROXY_ADMIN_PASSWORD_FILE"] = str(tmp_path / "password")
    async with serving(environment, "--config", str(config)) as served:
        assert served.url.startswith("http://127.0.0.2:")
        assert served.printed_password is None
        assert await served.as_admin("pool", "list", password="from a file") == []


async def test_logs_hold_no_secrets(environment):
    async with serving(environment) as served:
        password = served.printed_password
        add = ("pool", "add", "Paris", NOWHERE, "--user", "root")
        await served.as_admin(*add, password=password)
        made = await served.as_admin("token", "add", "script", password=password)
        async with aiohttp.ClientSession(served.url) as http:
            headers = {"Authorization": "Bearer xop_wrong"}
            await (await http.get("/api/v1/pools", headers=headers)).read()
            await (await http.get(f"/?token={made['token']}")).read()
        await asyncio.sleep(0.2)
        assert await served.stop() == 0
        log = (await served.process.stderr.read()).decode()
    assert '"pool added"' in log
    for secret in (password, POOL_PASSWORD, made["token"], made["token"][-20:], "xop_wrong"):
        assert secret not in log


async def test_a_revoked_token_closes_what_it_opened(environment):
    environment["XOPROXY_ADMIN_PASSWORD"] = "secret"
    async with serving(environment) as served, aiohttp.ClientSession(served.url) as http:
        kept = await served.as_admin("token", "add", "kept", password="secret")
        lost = await served.as_admin("token", "add", "lost", password="secret")

        async def connected(token):
            headers = {"Authorization": f"Bearer {token}"}
            ws = await http.ws_connect("/ws", protocols=["xoproxy.v1.json"], headers=headers)
            await ws.receive(timeout=5)  # welcome
            return ws

        staying, going = await connected(kept["token"]), await connected(lost["token"])
        await served.as_admin("token", "revoke", "lost", password="secret")
        closed = await going.receive(timeout=5)
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 4305)
        await staying.ping()
        with pytest.raises(TimeoutError):
            await staying.receive(timeout=0.5)
        assert not staying.closed
        await staying.close()


async def test_readiness_waits_for_pools_that_were_never_loaded(environment):
    environment["XOPROXY_ADMIN_PASSWORD"] = "secret"
    async with serving(environment) as served, aiohttp.ClientSession(served.url) as http:
        assert (await http.get("/readyz")).status == 200
        add = ("pool", "add", "Paris", NOWHERE, "--user", "root")
        pool = await served.as_admin(*add, password="secret")
        async with http.get("/readyz") as response:
            assert response.status == 503
            (reason,) = (await response.json())["reasons"]
            assert pool["id"] in reason
            assert "Paris" not in reason
        async with http.get("/metrics") as response:
            text = await response.text()
            assert f'xoproxy_pool_objects{{pool="{pool["id"]}"}} 0.0' in text
            assert "Paris" not in text
        await served.as_admin("pool", "disable", "Paris", password="secret")
        assert (await http.get("/readyz")).status == 200


async def refusal(environment, *options):
    out, err, code = await finished(("serve", *options), environment)
    assert (out, code) == ("", 2)
    (line,) = [line for line in err.splitlines() if not line.startswith("{")]  # but for the log
    return line


async def test_bad_settings_stop_the_start_with_one_line(environment):
    expected = "xoproxy: unknown setting XOPROXY_SERVER__PROT; did you mean 'port'?"
    line = await refusal(environment | {"XOPROXY_SERVER__PROT": "1"})
    assert line.startswith(expected)
    line = await refusal(environment, "--config", "/nowhere.toml")
    assert line.startswith("xoproxy: cannot read the settings file /nowhere.toml")


async def test_authorities_that_cannot_be_read_stop_the_start_with_one_line(environment, tmp_path):
    bundle = tmp_path / "ca.pem"
    settings = environment | {"XOPROXY_POOL_LINK__CA_FILE": str(bundle)}
    assert f"pool_link.ca_file: cannot read {bundle}: No such file" in await refusal(settings)
    bundle.write_text("no certificate")
    assert f"pool_link.ca_file: cannot read {bundle}" in await refusal(settings)


async def test_a_taken_port_stops_the_start_with_one_line(environment):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = await refusal(environment | {"XOPROXY_SERVER__PORT": port})
    assert "another program listens there; choose another port" in line


async def test_a_missing_key_stops_the_start_with_one_line(environment, tmp_path):
    async with serving(environment) as served:
        await served.stop()
    (tmp_path / "data" / "storage.key").unlink()
    assert "storage.key is missing, but the database holds secrets" in await refusal(environment)
