"""A restarted proxy goes on where it stood: with what every client knew, or with a new epoch."""

import asyncio
import random
import resource
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial

import pytest

from tests.integration.restarts import Restarts, Serving, Simulated, Witness, simulated
from tests.integration.support import JSON, MSGPACK, Client, View, connected, logged_in
from tests.integration.test_convergence import assert_equal
from tests.integration.test_serve import finished

CLIENTS = 100


@pytest.fixture
def restarts(tmp_path):
    return Restarts(tmp_path)


async def sign_in(stack: AsyncExitStack, serving: Serving, count: int) -> list[Client]:
    """Connect clients, of both encodings in turn, by token: passwords are slow on purpose."""
    token = (await serving.api("POST", "tokens", name=f"test-{id(stack)}"))["token"]
    clients = []
    for number in range(count):
        protocol = MSGPACK if number % 2 else JSON
        client = await stack.enter_async_context(
            connected(serving.url, protocol, auth=None, view_type=Witness)
        )
        await client.send({"type": "auth", "token": token})
        clients.append(client)
    for client in clients:
        await client.until(partial(getattr, client, "welcome"))
    return clients


async def resumed(clients: list[Client], views: Iterable[View]) -> list[View]:
    found = []
    for client, view in zip(clients, views, strict=True):
        (again,) = await client.resume([view], classes=["*"])
        again.token = again.token or view.token  # good until the next bookmark
        found.append(again)
    return found


def all_looks(views: Iterable[View]) -> dict[tuple[str, int], set[int]]:
    """Say which looks replicas had at each position: one each, if all is well."""
    looks: dict[tuple[str, int], set[int]] = {}
    for view in views:
        assert isinstance(view, Witness)
        for position, look in view.looks.items():
            looks.setdefault(position, set()).add(look)
    return looks


async def compare(pool: Simulated, views: list[View]) -> None:
    await pool.quiet()
    async with logged_in(pool.url, pool.password) as xapi:
        await assert_equal(views, xapi)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_a_hundred_clients_go_on_under_load(restarts, ending):
    """Three lives of one proxy: loaded, restarted, and restarted from what was restored."""
    seen: list[View] = []
    async with simulated(vms=60) as pool:
        async with restarts.serving() as serving, AsyncExitStack() as stack:
            await pool.add_to(serving)
            clients = await sign_in(stack, serving, CLIENTS)
            views = [(await client.subscribe())[0] for client in clients]
            snapshot_bytes = min(client.received_bytes for client in clients)
            seen += views
            await pool.sim("churn", rate=30, seconds=4, seed=1)
            await asyncio.sleep(3)
            assert all(view.patches > 5 for view in views)
            await serving.end(ending)
        for life in (2, 3):
            async with restarts.serving() as serving, AsyncExitStack() as stack:
                clients = await sign_in(stack, serving, CLIENTS)
                views = await resumed(clients, views)
                assert [view.info["mode"] for view in views] == ["resume"] * CLIENTS
                await serving.settled()
                await compare(pool, views)
                received = max(client.received_bytes for client in clients)
                assert received < snapshot_bytes / 100, (received, snapshot_bytes)
                fresh = await sign_in(stack, serving, 2)
                seen += [*views, *[(await client.subscribe())[0] for client in fresh]]
                assert await serving.metric("xoproxy_histories_restored") == 1
                assert serving.logged("history_discarded") == []
                if life == 2:
                    await pool.sim("churn", rate=30, seconds=4, seed=2)
                    await asyncio.sleep(3)
                await serving.end(ending)
        assert all(view.resets == [] for view in seen)
        assert len({view.info["epoch"] for view in seen}) == 1
        looks = all_looks(seen)
        assert len(looks) > 50
        assert all(len(found) == 1 for found in looks.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_at_any_moment_it_goes_on(restarts, seed):
    """Checkpoints all the time, so that it dies amid them, and amid what follows them."""
    rng = random.Random(seed)
    often = {"XOPROXY_STORAGE__CHECKPOINT_LOG_BYTES": "1024"}
    seen: list[View] = []
    views: list[View] = []
    async with simulated(vms=10) as pool:
        for life in range(5):
            async with restarts.serving(**often) as serving, AsyncExitStack() as stack:
                if life == 0:
                    await pool.add_to(serving)
                clients = await sign_in(stack, serving, 2)
                if life == 0:
                    views = [(await client.subscribe())[0] for client in clients]
                else:
                    views = await resumed(clients, views)
                    assert {view.info["mode"] for view in views} == {"resume"}, life
                seen += views
                await pool.sim("churn", rate=300, seconds=60, seed=life)
                await serving.settled()
                await asyncio.sleep(rng.uniform(0, 1.5))
                await serving.end(signal.SIGKILL)
                assert serving.logged("history_discarded") == []
                assert serving.logged("history_lost") == []
        await pool.churn(rate=1, seconds=0.1, seed=0)
        async with restarts.serving() as serving, AsyncExitStack() as stack:
            clients = await sign_in(stack, serving, 2)
            views = await resumed(clients, views)
            await serving.settled()
            await compare(pool, views)
        looks = all_looks([*seen, *views])
        assert len(looks) > 20
        assert all(len(found) == 1 for found in looks.values())


async def test_pools_are_there_at_once_and_marked_stale(restarts):
    async with simulated(vms=5) as pool:
        async with restarts.serving() as serving:
            await pool.add_to(serving)
            async with logged_in(pool.url, pool.password) as xapi:
                vms = await xapi.records("VM")
            await serving.end(signal.SIGKILL)
        pool.pause()
        async with restarts.serving() as serving, connected(serving.url) as client:
            (view,) = await client.subscribe(classes=["VM"])
            assert view.records("VM") == vms
            (links,) = await client.subscribe(2, classes=["pool_link"], pools=["proxy"])

            def link():
                (found,) = links.records("pool_link").values()
                return found

            assert link()["state"] == "stale"
            assert link()["uuid"]
            known = link()["since"]
            pool.resume()
            await client.until(lambda: link()["state"] == "live", timeout_s=40)
            assert known < link()["since"]
            assert view.resets == []


async def test_a_removed_pool_leaves_nothing_behind(restarts):
    async with simulated(vms=2) as pool, restarts.serving() as serving:
        await pool.add_to(serving)
        directory = restarts.pool_directory
        assert {path.name.partition("-")[0] for path in directory.iterdir()} == {
            "checkpoint",
            "log",
        }
        modes = {oct(path.stat().st_mode & 0o777) for path in directory.iterdir()}
        assert modes == {"0o600"}
        assert directory.stat().st_mode & 0o777 == 0o700
        (listed,) = await serving.api("GET", "pools")
        await serving.api("DELETE", f"pools/{listed['id']}")
        assert not directory.exists()


async def begins_anew(restarts: Restarts, pool: Simulated, view: View) -> Serving:
    """Start the proxy again; check that a client gets a snapshot of a new epoch."""
    async with restarts.serving() as serving:
        await serving.settled()
        async with connected(serving.url) as client:
            (again,) = await client.resume([view], classes=["*"])
            assert again.info["mode"] == "snapshot"
            assert again.info["epoch"] != view.info["epoch"]
            await client.until(lambda: again.complete)
            await compare(pool, [again])
        return serving


async def killed_with_a_client(restarts: Restarts, pool: Simulated) -> View:
    """Run a proxy with a client for a while, and kill it."""
    async with restarts.serving() as serving:
        await pool.add_to(serving)
        async with connected(serving.url) as client:
            (view,) = await client.subscribe()
            await pool.churn(rate=50, seconds=0.5, seed=1)
            await client.until(lambda: view.patches > 3)
            await serving.end(signal.SIGKILL)
            return view


async def test_after_a_crash_of_the_machine_a_new_epoch_begins(restarts):
    async with simulated(vms=5) as pool:
        view = await killed_with_a_client(restarts, pool)
        (restarts.data / "history" / "running").write_text("another boot")
        serving = await begins_anew(restarts, pool, view)
        (warning,) = serving.logged("history_discarded")
        assert warning["level"] == "warning"
        assert "machine stopped" in warning["reason"]


async def test_after_a_clean_end_a_reboot_does_not_matter(restarts):
    async with simulated(vms=5) as pool:
        async with restarts.serving() as serving:
            await pool.add_to(serving)
            async with connected(serving.url) as client:
                (view,) = await client.subscribe()
                assert (restarts.data / "history" / "running").exists()
                assert await serving.end(signal.SIGTERM) == 0
        # A reboot changes nothing but the boot id, and nothing is left that names the old one.
        assert not (restarts.data / "history" / "running").exists()
        async with restarts.serving() as serving, connected(serving.url) as client:
            (again,) = await client.resume([view], classes=["*"])
            assert again.info["mode"] == "resume"


async def test_a_damaged_history_is_not_believed(restarts):
    async with simulated(vms=5) as pool:
        view = await killed_with_a_client(restarts, pool)
        path = max(restarts.pool_directory.glob("log-*"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(bytes(content))
        serving = await begins_anew(restarts, pool, view)
        assert len(serving.logged("history_discarded")) == 1


async def test_without_room_on_the_disk_the_proxy_goes_on_without_history(restarts):
    async with simulated(vms=5) as pool:
        async with restarts.serving() as serving:
            await pool.add_to(serving)
            directory = restarts.pool_directory
            async with connected(serving.url) as client:
                (view,) = await client.subscribe()
                size = max(path.stat().st_size for path in directory.glob("log-*"))
                # As a full disk: the next record is written in part, the rest fails.
                limits = resource.prlimit(serving.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(serving.pid, resource.RLIMIT_FSIZE, (size + 300, limits[1]))
                await pool.churn(rate=50, seconds=1, seed=1)
                await serving.until("xoproxy_history_lost_total", 1)
                assert await serving.metric("xoproxy_history_writing") == 0
                assert not directory.exists()
                patches = view.patches
                await pool.churn(rate=50, seconds=0.5, seed=2)
                await client.until(lambda: view.patches > patches)
                await compare(pool, [view])
                assert view.resets == []
                assert serving.logged("history_lost")[0]["level"] == "error"
                await serving.end(signal.SIGKILL)
        await begins_anew(restarts, pool, view)


async def test_two_proxies_cannot_share_a_directory(restarts):
    async with restarts.serving() as serving:
        out, err, code = await finished(("serve",), restarts.environment())
        assert (out, code) == ("", 2)
        assert f"another proxy uses the directory {restarts.data}" in err
        await serving.end(signal.SIGKILL)
    async with restarts.serving():  # a dead one holds nothing
        pass


async def test_a_history_that_cannot_be_written_stops_the_start(restarts, tmp_path):
    (tmp_path / "file").write_text("")
    environment = restarts.environment(
        XOPROXY_STORAGE__HISTORY_DIRECTORY=str(tmp_path / "file" / "history")
    )
    out, err, code = await finished(("serve",), environment)
    assert (out, code) == ("", 2)
    assert f"cannot write to the directory {tmp_path / 'file' / 'history'}" in err
    assert "set storage.history_directory" in err


async def test_history_can_be_switched_off(restarts):
    off = {"XOPROXY_STORAGE__HISTORY": "false"}
    async with simulated(vms=2) as pool, restarts.serving(**off) as serving:
        await serving.api(
            "POST", "pools", name="p", url=pool.url, username="root", password=pool.password
        )
        async with connected(serving.url) as client:
            await client.subscribe()
        assert not (restarts.data / "history").exists()
        assert await serving.end(signal.SIGTERM) == 0
