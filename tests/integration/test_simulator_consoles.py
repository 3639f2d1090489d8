"""The consoles of a simulated pool, over real sockets: who may look, and for how long."""

import asyncio
import base64
import contextlib
import random
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.integration.rooms import Room, get, opened, settled
from tests.integration.sim import until
from tests.integration.viewers import RfbViewer, connected
from xoproxy.simulator.rules import placement
from xoproxy.simulator.statistics.sources import vms_on


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with opened() as made:
        yield made


# -- opening -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_connection_becomes_the_consoles_own(room, version):
    async with room.line(room.target(), version=version) as line:
        assert line.head.split("\r\n")[0] == "HTTP/1.1 200 OK"
        assert "Connection: keep-alive\r\n" in line.head
        assert "Content-Length" not in line.head
        assert await line.exactly(12) == b"RFB 003.008\n"


async def test_a_console_is_found_by_its_own_names_and_by_its_vms(room):
    console = room.console(room.vm)
    uuid = room.db.get("VM", room.vm, "uuid")
    for wanted in (f"ref={console}", f"ref={room.vm}", f"uuid={uuid}"):
        async with room.line(f"/console?{wanted}&session_id={room.session}") as line:
            assert (await RfbViewer(line).open()).name == room.name


async def test_credentials_may_come_by_cookie_and_by_password(room):
    basic = base64.b64encode(b"root:x").decode()
    target = room.target(session=False)
    before = len(room.pool.sessions)
    for header in (f"Cookie: session_id={room.session}", f"Authorization: Basic {basic}"):
        async with room.line(target, header) as line:
            assert (await RfbViewer(line).open()).name == room.name
    # the password's session ends with the console
    await until(lambda: len(room.pool.sessions) == before)


async def test_a_task_shows_that_somebody_is_connected(room):
    def labels() -> list[str]:
        return [room.db.get("task", ref, "name_label") for ref in room.db.refs("task")]

    async with room.viewer():
        assert labels() == ["Connection to VM console"]
    await until(lambda: labels() == [])


@pytest.mark.parametrize(
    "header",
    ["X: none", "Cookie: session_id=OpaqueRef:none", "Cookie: pool_secret=guess"],
)
async def test_without_credentials_it_is_refused(room, header):
    refused = await room.refusal(room.target(session=False), header)

    assert refused.status == 401
    assert 'WWW-Authenticate: Basic realm="connect_console"' in refused.head


async def test_what_is_no_console_here_is_an_error(room):
    elsewhere = room.vm_on(room.member)
    halted = next(v for v in room.db.refs("VM") if room.db.get("VM", v, "power_state") == "Halted")
    for wanted in (
        "",
        "uuid=none",
        "ref=OpaqueRef:none",
        f"ref={room.coordinator.ref}",
        f"ref={halted}",
        f"ref={elsewhere}",
    ):
        refused = await room.refusal(f"/console?{wanted}&session_id={room.session}")
        assert (refused.status, "<html>" in refused.body) == (500, True), wanted
    async with room.line(room.target(elsewhere), host=room.member) as line:
        assert await line.exactly(3) == b"RFB"


async def test_a_paused_vm_shows_nothing_to_those_who_come(room):
    room.db.write("VM", room.vm, "power_state", "Paused")

    assert (await room.refusal(room.target())).status == 500


async def test_a_console_without_an_address_is_not_found(room):
    room.db.write("console", room.console(room.vm), "protocol", "rdp")
    rdp = next(
        c
        for c in room.db.get("VM", room.vm, "consoles")
        if room.db.get("console", c, "protocol") == "rdp"
    )
    refused = await room.refusal(f"/console?ref={rdp}&session_id={room.session}")

    assert (refused.status, refused.body) == (404, "")


async def test_the_control_domain_has_consoles_too(room):
    dom0 = room.db.get("host", room.coordinator.ref, "control_domain")

    async with room.viewer(dom0) as viewer:
        assert viewer.name == room.db.get("VM", dom0, "name_label")


async def test_a_websocket_needs_a_daemon_that_is_not_here(room):
    async def status(session: str) -> int:
        upgrade = ("Upgrade: websocket", "Connection: Upgrade")
        target = f"{room.target(session=False)}&session_id={session}"
        return (await get(room, target, *upgrade))[0]

    pool = room.db.refs("pool")[0]
    assert [await status(room.session), await status("none")] == [501, 401]
    room.db.write("pool", pool, "limit_console_sessions", value=True)
    assert await status(room.session) == 503


async def test_consoles_are_served_by_tls():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with opened(tls=True) as secure:
        where, target = secure.address(), secure.target()
        async with connected(where, target, tls=context) as line:
            viewer = await RfbViewer(line).open()
            await viewer.whole()
            remove_rows(secure)

            assert viewer.text()[0] == f" {secure.name}"
            assert await line.is_closed()


# -- the end -----------------------------------------------------------------------------------


def halt(room: Room) -> None:
    room.db.write("VM", room.vm, "power_state", "Halted")
    room.db.write("VM", room.vm, "resident_on", "OpaqueRef:NULL")


def migrate(room: Room) -> None:
    room.db.write("VM", room.vm, "resident_on", room.member.ref)


def remove_rows(room: Room) -> None:
    for console in list(room.db.get("VM", room.vm, "consoles")):
        room.db.destroy("console", console)


def remove_vm(room: Room) -> None:
    room.db.destroy("VM", room.vm)


@pytest.mark.parametrize("protocol", ["rfb", "vt100"])
@pytest.mark.parametrize("change", [halt, migrate, remove_rows, remove_vm])
async def test_a_console_ends_with_its_vms_stay(room, change, protocol):
    async with room.line(room.target(protocol=protocol)) as line:
        await line.exactly(3)
        change(room)

        assert await line.is_closed()
    await until(lambda: room.db.observers == room.observers)


async def test_a_vm_that_is_paused_keeps_its_viewers(room):
    async with room.viewer() as viewer:
        room.db.write("VM", room.vm, "power_state", "Paused")
        await viewer.whole()

        assert viewer.text()[0] == f" {room.name}"


async def test_another_vms_end_ends_nothing(room):
    other = room.vm_on(room.member)
    async with room.viewer() as viewer:
        room.db.write("VM", other, "resident_on", "OpaqueRef:NULL")
        await viewer.whole()


async def test_a_second_viewer_can_be_forbidden(room):
    pool = room.db.refs("pool")[0]
    room.db.write("pool", pool, "limit_console_sessions", value=True)
    async with room.viewer():
        refused = await room.refusal(room.target(protocol="vt100"))  # any console of the VM counts
        assert refused.status == 503
        assert refused.head.startswith("HTTP/1.1 503 Connection Limit Exceeded\r\n")
    await settled()
    async with room.viewer() as viewer:
        await viewer.whole()


@pytest.mark.parametrize("protocol", ["rfb", "vt100"])
async def test_an_idle_viewer_is_sent_away(room, protocol):
    room.db.write("pool", room.db.refs("pool")[0], "vm_console_idle_timeout", 20)  # 0.2 s here
    async with room.line(room.target(protocol=protocol)) as line:
        await line.exactly(3)

        assert await line.is_closed()


async def test_only_keys_and_the_pointer_count_as_work(room):
    room.db.write("pool", room.db.refs("pool")[0], "vm_console_idle_timeout", 40)  # 0.4 s here
    async with room.viewer() as busy, room.viewer() as idle:
        for _ in range(8):
            await asyncio.sleep(0.1)
            await busy.point(random.randrange(700), 100)
            with contextlib.suppress(ConnectionError):
                await idle.request(incremental=False)
        await busy.whole()
        assert await idle.line.is_closed()


async def test_the_limit_of_the_control_domain_is_the_hosts(room):
    dom0 = room.db.get("host", room.coordinator.ref, "control_domain")
    room.db.write("host", room.coordinator.ref, "console_idle_timeout", 20)
    async with room.line(room.target(dom0)) as line, room.viewer() as viewer:
        await line.exactly(3)
        assert await line.is_closed()
        await viewer.whole()


async def test_a_console_is_found_where_its_vm_goes(room):
    async def call(method: str, *params: object) -> None:
        await room.pool.dispatcher.run(method, [room.session, room.vm, *params])

    async def at_location() -> str:
        """Connect to where the record says; returns the desktop's name."""
        parts = urlsplit(room.db.get("console", room.console(room.vm), "location"))
        target = f"{parts.path}?{parts.query}&session_id={room.session}"
        async with connected((str(parts.hostname), int(parts.port or 0)), target) as line:
            return (await RfbViewer(line).open()).name

    room.vm = next(
        vm
        for vm in vms_on(room.db, room.coordinator.ref)
        if "pool_migrate" in room.db.get("VM", vm, "allowed_operations")
        and placement.unfit(room.db, vm, room.member.ref) is None
    )
    room.name = room.db.get("VM", room.vm, "name_label")
    before = room.db.get("console", room.console(room.vm), "location")
    async with room.viewer() as viewer:
        await call("VM.pool_migrate", room.member.ref, {})
        assert await viewer.line.is_closed()
    assert room.db.get("console", room.console(room.vm), "location") != before
    assert await at_location() == room.name

    async with room.line(room.target(), host=room.member) as line:
        await call("VM.hard_shutdown")
        assert await line.is_closed()
    assert room.db.get("VM", room.vm, "consoles") == []

    await call("VM.start", False, False)
    assert await at_location() == room.name


# -- viewers that misbehave --------------------------------------------------------------------


async def test_a_viewer_that_does_not_read_is_held_back(room):
    async with room.viewer() as lazy, room.viewer() as other:
        for _ in range(2000):
            await lazy.request(incremental=False)
        await settled()

        waiting = [c.unsent for c in room.pool.hosts.connections()]
        assert max(waiting) < 3 * 720 * 400 * 4  # a screen or two, not two thousand
        await other.whole()
        assert other.text()[0] == f" {room.name}"


async def test_a_viewer_that_does_not_read_is_cut_off_when_the_console_ends(room):
    async with room.viewer() as lazy:
        for _ in range(200):
            await lazy.request(incremental=False)
        await settled()
        remove_rows(room)
        await until(lambda: room.pool.hosts.connections() == [])


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200\n",
        b"RFB 003.008\n\x02",  # a security type that was not offered
        b"RFB 003.008\n\x01\x01\xfe",  # no such message
        b"RFB 003.008\n\x01\x01\x00\0\0\0" + bytes(16),  # no such pixel format
        b"RFB 003.008\n\x01\x01\x06\0\0\0\x7f\xff\xff\xff",  # far too much cut text
    ],
)
async def test_senseless_words_end_the_connection(room, said):
    async with room.line(room.target()) as line:
        await line.send(said)

        assert await line.is_closed()


async def test_cut_text_and_qemus_keys_are_taken_in_their_stride(room):
    async with room.viewer() as viewer:
        await viewer.line.send(b"\x06\0\0\0\0\0\0\x05Hello" + b"\x06\0\0\0\xff\xff\xff\xfb12345")
        await viewer.line.send(b"\xff\x00\x00\x01" + b"\0\0\0Q" + b"\0\0\0\x10")
        await viewer.whole()

        assert viewer.text()[2] == "> Q"


async def test_noise_neither_harms_the_server_nor_stays(room):
    await make_noise(room)


def test_noise_does_no_harm_under_uvloop_either():
    uvloop = pytest.importorskip("uvloop")  # its transports fail in ways of their own

    async def run() -> None:
        async with opened() as made:
            await make_noise(made)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def make_noise(room: Room) -> None:
    rng = random.Random(12)
    openings = [b"", b"RFB 003.008\n", b"RFB 003.008\n\x01\x01", b"RFB 003.003\n\x01"]
    before = set(asyncio.all_tasks())
    for protocol in ["rfb"] * 30 + ["vt100"] * 10:
        with contextlib.suppress(ConnectionError):
            async with room.line(room.target(protocol=protocol)) as line:
                noise = rng.choice(openings) + rng.randbytes(rng.randrange(300))
                await line.send(noise[: rng.randrange(len(noise) + 1)])
                if rng.random() < 0.5:
                    line.writer.transport.abort()

    await until(lambda: asyncio.all_tasks() <= before)
    assert room.db.observers == room.observers
    assert room.db.refs("task") == []
    async with room.viewer() as viewer:
        await viewer.whole()
        assert viewer.text()[0] == f" {room.name}"
