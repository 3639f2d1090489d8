"""Operations on the pool: who leads, who leaves."""

from tests.integration.sim import Client, outcome, simulated, until, until_answered
from tests.integration.test_host_calls import answers, guests
from tests.integration.test_upheavals import client_of


async def test_a_new_coordinator_is_designated_and_everybody_logs_in_anew() -> None:
    async with simulated(hosts=3, speed=20) as (pool, client, _):
        old, new, third = pool.hosts
        token = (await client.events())["token"]
        generation = pool.database.generation
        await client.on("pool.designate_new_master", new.ref)
        assert await client.on("pool.get_all"), "the answer comes before the restart"
        await until(lambda: not answers(pool, old) and not answers(pool, third))
        await until(lambda: all(answers(pool, host) for host in pool.hosts))
        assert await outcome(client.login()) == ("HOST_IS_SLAVE", new.address)
        async with client_of(pool, new) as other:
            refused = await outcome(other.call("pool.get_all", client.session))
            assert refused == ("SESSION_INVALID", client.session)
            await other.login()
            (record,) = (await other.on("pool.get_all_records")).values()
            assert (record["master"], record["current_operations"]) == (new.ref, {})
            reply = await other.events(token)
            operations = {e["ref"]: e["operation"] for e in reply["events"]}
            assert all(operations[vm] == "add" for vm in pool.database.refs("VM"))
            assert not [ref for ref, name in operations.items() if name == "del"]
            assert pool.database.generation > generation
            await other.on("pool.designate_new_master", new.ref)  # leads already: nothing happens
            assert await other.on("pool.get_all")


async def test_a_dead_host_cannot_be_designated() -> None:
    async with simulated(hosts=2) as (pool, client, sim):
        other = list(pool.hosts)[1]
        await sim.fault("host_down", host=other.ref)
        refused = await outcome(client.on("pool.designate_new_master", other.ref))
        assert refused == ("HOST_OFFLINE", other.ref)
        refused = await outcome(client.on("pool.designate_new_master", "OpaqueRef:no"))
        assert refused == ("HANDLE_INVALID", "host", "OpaqueRef:no")


async def test_a_member_takes_over_in_an_emergency() -> None:
    async with simulated(hosts=3, speed=50) as (pool, _client, sim):
        old, second, third = pool.hosts
        await sim.fault("host_down", host=old.ref)
        async with client_of(pool, second) as member:
            session = await member.call("session.slave_local_login_with_password", "root", "x")
            await member.call("pool.emergency_transition_to_master", session)
            await until(lambda: pool.hosts.coordinator is second)
            await until_answered(member)
            assert await member.on("pool.recover_slaves") == []
            live = pool.database.get("host", old.ref, "metrics")
            assert await member.on("host_metrics.get_live", live) is False
        async with client_of(pool, third) as member:
            assert await outcome(member.login()) == ("HOST_IS_SLAVE", second.address)
            session = await member.call("session.slave_local_login_with_password", "root", "x")
            name = "pool.emergency_reset_master"
            refused = await outcome(member.call(name, session, "127.9.9.9"))
            assert refused[0] == "OPERATION_NOT_ALLOWED"
            await member.call(name, session, second.address)
            await until(lambda: not answers(pool, third))
            await until(lambda: answers(pool, third))


async def test_an_ejected_host_leaves_with_all_that_was_its_own() -> None:
    async with simulated(hosts=3, vms=20, speed=50) as (pool, client, _):
        host = max(list(pool.hosts)[1:], key=lambda h: len(guests(pool, h)))
        refused = await outcome(client.on("pool.eject", pool.hosts.coordinator.ref))
        assert refused == ("INTERNAL_ERROR", "Xapi_pool.Cannot_eject_master")
        refused = await outcome(client.on("pool.eject", host.ref))
        assert refused == ("OPERATION_NOT_ALLOWED", "VM resident on host")
        for vm in guests(pool, host):
            await client.on("VM.hard_shutdown", vm)
        record = await client.on("host.get_record", host.ref)
        local = await _local_storage(client, record["PBDs"])
        assert local
        await client.on("pool.eject", host.ref)
        assert not answers(pool, host)
        assert await client.on("host.get_all") == [h.ref for h in pool.hosts]
        db = pool.database
        assert not [sr for sr in local if db.exists("SR", sr)]
        assert not [v for v in db.refs("VDI") if db.get("VDI", v, "SR") in local]
        for cls in ("PBD", "PIF", "host_cpu", "PCI", "Certificate"):
            assert not [r for r in db.refs(cls) if db.get(cls, r, "host") == host.ref]
        assert not [v for v in db.refs("VM") if db.get("VM", v, "affinity") == host.ref]


async def _local_storage(client: Client, pbds: list[str]) -> set[str]:
    found = set()
    for pbd in pbds:
        sr = await client.on("PBD.get_SR", pbd)
        if len(await client.on("SR.get_PBDs", sr)) == 1:
            found.add(sr)
    return found


async def test_there_is_no_high_availability() -> None:
    async with simulated() as (pool, client, _):
        refused = await outcome(client.on("pool.enable_ha", [], {}))
        assert refused == ("HA_NOT_INSTALLED", pool.hosts.coordinator.ref)
        assert await outcome(client.on("pool.disable_ha")) == ("HA_NOT_ENABLED",)
        assert await outcome(client.on("pool.join", "a", "b", "c")) == (
            "NOT_IMPLEMENTED",
            "pool.join",
        )


async def test_settings_of_all_hosts() -> None:
    async with simulated() as (pool, client, _):
        ref = pool.database.refs("pool")[0]
        await client.on("pool.set_https_only", ref, False)
        hosts = (await client.on("host.get_all_records")).values()
        assert {host["https_only"] for host in hosts} == {False}
        await client.on("pool.disable_ssh", ref)
        hosts = (await client.on("host.get_all_records")).values()
        assert {host["ssh_enabled"] for host in hosts} == {False}
        assert (await client.on("pool.get_license_state", ref))["expiry"] == "never"
