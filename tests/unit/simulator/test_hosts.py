"""Hosts of a pool: their addresses, who leads, and what they listen on."""

import asyncio
import errno
import socket

import pytest

from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.estate import generate
from xoproxy.simulator.hosts import Hosts, answered_by_members
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.site import Site


def database(hosts: int = 3) -> Database:
    made = Database(DataModel.load())
    made.load(generate(hosts, 4, 1))
    return made


def listening(pool: SimulatedPool) -> list[str]:
    return [host.address for host in pool.hosts if host.listens]


def test_records_name_the_addresses_that_hosts_have_here() -> None:
    db = database()
    generation = db.generation
    hosts = Hosts(db)
    assert [host.address for host in hosts] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    for host in hosts:
        assert db.get("host", host.ref, "address") == host.address
        ips = [db.get("PIF", pif, "IP") for pif in db.get("host", host.ref, "PIFs")]
        assert host.address in ips
    assert db.generation == generation, "nobody can tell that it ever was otherwise"


def test_the_coordinator_is_whom_the_database_names() -> None:
    db = database()
    hosts = Hosts(db)
    first, second, _ = hosts
    assert hosts.coordinator is first
    (pool,) = db.refs("pool")
    db.write("pool", pool, "master", second.ref)
    assert hosts.coordinator is second
    assert hosts.address[0] == first.address, "where the pool listens is another matter"
    db.write("pool", pool, "master", "OpaqueRef:gone")
    assert hosts.coordinator is first


def test_a_database_without_hosts_has_one_nevertheless() -> None:
    hosts = Hosts(Database(DataModel.load()))
    (only,) = hosts
    assert (only.ref, only.address, hosts.coordinator) == ("", "127.0.0.1", only)


def test_hosts_that_were_dead_in_the_database_do_not_answer() -> None:
    db = database()
    _, second, third = db.refs("host")
    db.write("host_metrics", db.get("host", second, "metrics"), "live", value=False)
    hosts = Hosts(db)
    found = {host.ref: host.alive for host in hosts}
    assert (found[second], found[third]) == (False, True)


def test_elsewhere_than_on_loopback_only_the_coordinator_has_an_address() -> None:
    hosts = Hosts(database(), ("192.0.2.1", 443), tls=True)
    first, second, _ = hosts
    assert (first.bind, first.address) == ("192.0.2.1", "192.0.2.1")
    assert second.bind is None
    assert second.address.startswith("10.")
    assert hosts.url(first) == "https://192.0.2.1"


@pytest.mark.parametrize(
    ("site", "address", "origin"),
    [
        (Site("https", 443), "10.0.0.1", "https://10.0.0.1"),
        (Site("https", 8443), "10.0.0.1", "https://10.0.0.1:8443"),
        (Site("http", 80), "::1", "http://[::1]"),
        (Site("http", 443), "::1", "http://[::1]:443"),
    ],
)
def test_origins(site: Site, address: str, origin: str) -> None:
    assert site.origin(address) == origin
    assert site.console(address, "u") == f"{origin}/console?uuid=u"


def test_members_answer_what_needs_no_database() -> None:
    assert answered_by_members("system.listMethods")
    assert answered_by_members("pool.emergency_transition_to_master")
    assert not answered_by_members("session.login_with_password")


async def test_a_free_port_is_one_that_is_free_on_all_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = SimulatedPool(generate(2, 1, 1))
    asked = []
    (first, second) = pool.hosts
    assert second.server is not None
    listen = second.server.listen

    async def taken_at_first(host: str, port: int, _tls: object = None) -> tuple[str, int]:
        asked.append(port)
        if len(asked) < 3:
            raise OSError(errno.EADDRINUSE, "in use")
        return await listen(host, port, None)

    monkeypatch.setattr(second.server, "listen", taken_at_first)
    async with pool:
        assert listening(pool) == [first.address, second.address]
        assert len(set(asked)) >= 2
        assert pool.address[1] == asked[-1]


async def test_a_taken_port_is_named_with_its_address() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use") as caught:
            async with SimulatedPool(generate(2, 1, 1), listen=("127.0.0.1", port)):
                pass
    assert caught.value.filename == f"127.0.0.2:{port}"


async def test_a_system_without_more_loopback_addresses_has_silent_members(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = SimulatedPool(generate(2, 1, 1))
    first, second = pool.hosts

    async def unavailable(*_: object) -> tuple[str, int]:
        raise OSError(errno.EADDRNOTAVAIL, "not available")

    monkeypatch.setattr(second.server, "listen", unavailable)
    async with pool:
        assert listening(pool) == [first.address]
        await pool.toolstack.restart(0.0)
        assert listening(pool) == [first.address]


async def test_a_port_that_is_lost_in_a_restart_is_waited_for() -> None:
    async with SimulatedPool(generate(1, 1, 1)) as pool, asyncio.TaskGroup() as group:
        pool.hosts.silence()
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(pool.address)
            taken.listen()
            again = group.create_task(pool.hosts.answer())
            await asyncio.sleep(0.15)
            assert not again.done()
        await again
        assert listening(pool) == ["127.0.0.1"]


def test_a_certificate_is_for_its_own_host() -> None:
    first, second, _ = Hosts(database())
    assert (first.names, second.names) == (
        ["127.0.0.1", "127.0.0.1", "localhost"],
        ["127.0.0.2", "127.0.0.2", "localhost"],
    )
    everywhere, member, _ = Hosts(database(), ("0.0.0.0", 443), tls=True)  # noqa: S104
    assert everywhere.names == [everywhere.address, "127.0.0.1", "localhost"]
    assert member.names == [member.address, "localhost"]
