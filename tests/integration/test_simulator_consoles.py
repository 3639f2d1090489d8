"""The consoles of a simulated pool, over real sockets."""

import asyncio
import base64
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest

from tests import jpeg_reader
from tests.integration.viewers import (
    Format,
    Line,
    RefusedError,
    RfbViewer,
    connected,
)
from xoproxy.simulator.estate import generate
from xoproxy.simulator.hosts import Host
from xoproxy.simulator.pool import SimulatedPool
from xoproxy.simulator.rules import placement
from xoproxy.simulator.statistics.sources import vms_on


class Room:
    """A pool with VMs on two hosts, and a login."""

    def __init__(self, pool: SimulatedPool, session: str) -> None:
        self.pool = pool
        self.db = pool.database
        self.session = session
        self.coordinator, self.member = list(pool.hosts)
        self.observers = list(pool.database.observers)
        self.vm = self.vm_on(self.coordinator)
        self.name = self.db.get("VM", self.vm, "name_label")

    def vm_on(self, host: Host) -> str:
        return next(
            vm
            for vm in vms_on(self.db, host.ref)
            if not self.db.get("VM", vm, "is_control_domain")
            and self.db.get("VM", vm, "power_state") == "Running"
        )

    def console(self, vm: str, protocol: str = "rfb") -> str:
        consoles = self.db.get("VM", vm, "consoles")
        return next(c for c in consoles if self.db.get("console", c, "protocol") == protocol)

    def target(self, vm: str | None = None, protocol: str = "rfb", *, session: bool = True) -> str:
        uuid = self.db.get("console", self.console(vm or self.vm, protocol), "uuid")
        return f"/console?uuid={uuid}" + (f"&session_id={self.session}" if session else "")

    def address(self, host: Host | None = None) -> tuple[str, int]:
        bind = (host or self.coordinator).bind
        assert bind is not None
        return bind, self.pool.address[1]

    @contextlib.asynccontextmanager
    async def line(
        self, target: str, *headers: str, host: Host | None = None, version: str = "1.1"
    ) -> AsyncIterator[Line]:
        async with connected(self.address(host), target, *headers, version=version) as line:
            yield line

    @contextlib.asynccontextmanager
    async def viewer(self, vm: str | None = None) -> AsyncIterator[RfbViewer]:
        async with self.line(self.target(vm)) as line:
            yield await RfbViewer(line).open()

    async def refusal(self, target: str, *headers: str, host: Host | None = None) -> RefusedError:
        with pytest.raises(RefusedError) as caught:
            async with self.line(target, *headers, host=host):
                pass
        return caught.value


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with SimulatedPool(generate(2, 14, seed=4), speed=100) as pool:
        yield Room(pool, await pool.sessions.login("root", "x", "test"))


async def settled() -> None:
    """Let the server notice what happened."""
    await asyncio.sleep(0.05)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.01)


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


async def get(room: Room, target: str, *headers: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(*room.address())
    try:
        writer.write("\r\n".join((f"GET {target} HTTP/1.1", *headers, "", "")).encode())
        async with asyncio.timeout(5):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return int(head.split(b" ")[1]), body


async def test_a_websocket_needs_a_daemon_that_is_not_here(room):
    async def status(session: str) -> int:
        upgrade = ("Upgrade: websocket", "Connection: Upgrade")
        target = f"{room.target(session=False)}&session_id={session}"
        return (await get(room, target, *upgrade))[0]

    pool = room.db.refs("pool")[0]
    assert [await status(room.session), await status("none")] == [501, 401]
    room.db.write("pool", pool, "limit_console_sessions", value=True)
    assert await status(room.session) == 503


async def test_a_picture_shows_what_viewers_see(room):
    uuid = room.db.get("VM", room.vm, "uuid")
    async with room.viewer() as viewer:
        await viewer.type("typed")
        await viewer.whole()
        status, body = await get(room, f"/vncsnapshot?uuid={uuid}&session_id={room.session}")

    image = jpeg_reader.read(body)

    assert status == 200
    assert (len(image[0]), len(image)) == (viewer.width, viewer.height)
    for ours, theirs in zip(image, viewer.pixels, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert max(abs(x - y) for x, y in zip(a, b, strict=True)) < 24


async def test_pictures_that_cannot_be_taken(room):
    async def status(wanted: str) -> int:
        return (await get(room, f"/vncsnapshot?{wanted}&session_id={room.session}"))[0]

    assert await status("uuid=none") == 500
    assert await status(f"ref={room.vm_on(room.member)}") == 404
    assert await status(f"ref={room.console(room.vm, 'vt100')}") == 500
    assert (await get(room, f"/vncsnapshot?ref={room.vm}"))[0] == 401


async def test_consoles_are_served_by_tls():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with SimulatedPool(generate(2, 14, seed=4), tls=True) as pool:
        secure = Room(pool, await pool.sessions.login("root", "x", "test"))
        where, target = secure.address(), secure.target()
        async with connected(where, target, tls=context) as line:
            viewer = await RfbViewer(line).open()
            await viewer.whole()
            remove_rows(secure)

            assert viewer.text()[0] == f" {secure.name}"
            assert await line.is_closed()


# -- the screen --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["003.003", "003.007", "003.008"])
async def test_the_screen_shows_the_vms_name(room, version):
    async with room.line(room.target()) as line:
        viewer = await RfbViewer(line).open(version)
        await viewer.whole()

        assert (viewer.width, viewer.height) == (720, 400)
        assert viewer.text()[0] == f" {viewer.name}"
        assert viewer.name == room.name


FORMATS = [
    Format(8, big_endian=False, parts=((7, 5), (7, 2), (3, 0))),
    Format(16, big_endian=False, parts=((31, 11), (63, 5), (31, 0))),
    Format(16, big_endian=True, parts=((31, 10), (31, 5), (31, 0))),
    Format(32, big_endian=True, parts=((255, 0), (255, 8), (255, 16))),
]


@pytest.mark.parametrize("encoding", [0, 6])
@pytest.mark.parametrize("wanted", FORMATS, ids=lambda f: f"{f.bits}-{f.big_endian}")
async def test_pixels_come_in_the_format_that_is_asked_for(room, wanted, encoding):
    async with room.viewer() as viewer:
        await viewer.set_format(wanted)
        await viewer.set_encodings(-223, encoding, 0)
        await viewer.point(500, 300)
        await viewer.type("Hi!")
        await viewer.whole()

        assert viewer.text()[0] == f" {room.name}"
        assert viewer.text()[2] == "> Hi!"
        assert viewer.pixels[0][0][2] > 100  # the title's ground is blue
        assert viewer.pixels[0][0][0] == 0
        assert viewer.pointers() == [(500, 300)]


async def test_keys_are_echoed_as_text(room):
    async with room.viewer() as viewer:
        await viewer.whole()
        await viewer.type("abc\bd\n~ 2\tx")

        await viewer.until(lambda: viewer.text()[3] == "> ~ 2    x")
        assert viewer.text()[2] == "> abd"


async def test_an_update_has_only_what_changed(room):
    async with room.viewer() as viewer:
        await viewer.whole()
        await viewer.request()
        await viewer.type("a")

        (rectangle,) = await viewer.update()

        assert rectangle == (2 * 9, 2 * 16, 9, 16)


async def test_without_a_change_an_incremental_request_waits(room):
    async with room.viewer() as viewer:
        await viewer.whole()
        await viewer.request()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await viewer.line.reader.readexactly(1)
        await viewer.type("x")
        assert await viewer.update()


async def test_a_part_of_the_screen_can_be_asked_for(room):
    async with room.viewer() as viewer:
        await viewer.request(incremental=False, area=(100, 50, 10, 10))

        ((x, y, width, height),) = await viewer.update()

        assert (x <= 100, 110 <= x + width < 130) == (True, True)
        assert (y <= 50, 60 <= y + height < 90) == (True, True)


async def test_long_text_scrolls_below_the_title(room):
    async with room.viewer() as viewer:
        await viewer.whole()
        for number in range(30):
            await viewer.type(f"line {number}\n")

        await viewer.until(lambda: viewer.text()[23] == "> line 29")
        assert viewer.text()[0] == f" {room.name}"
        assert viewer.text()[2] == "> line 8"


async def test_the_pointer_leaves_no_trace(room):
    async with room.viewer() as viewer:
        await viewer.whole()
        for place in (
            (30, 36),
            (31, 37),
            (200, 100),
            (719, 399),
            (5000, 60000),
            (0, 0),
            (350, 200),
        ):
            await viewer.point(*place)

        await viewer.until(lambda: viewer.pointers() == [(350, 200)])
        assert viewer.text()[2] == ">"  # what was under it is whole again


async def test_all_viewers_see_the_same(room):
    async with room.viewer() as one, room.viewer() as other:
        await one.whole()
        await other.whole()
        await one.type("from one")
        await other.until(lambda: other.text()[2] == "> from one")
        await other.type(", from other")
        await one.until(lambda: one.text()[2] == "> from one, from other")
    async with room.viewer() as late:
        await late.whole()
        assert late.text()[2] == "> from one, from other"


async def test_an_unknown_key_rings_the_bell(room):
    async with room.viewer() as viewer:
        await viewer.whole()
        for symbol in (
            0xFFE1,
            0xFFBE,
            0xFF08,
        ):  # shift is silent; F1, and nothing to erase, are not
            await viewer.press(symbol)
        await viewer.type("x")
        await viewer.until(lambda: viewer.text()[2] == "> x")

        assert viewer.bells >= 1


async def test_a_new_name_shows_at_once(room):
    async with room.viewer() as viewer:
        await viewer.whole()
        room.db.write("VM", room.vm, "name_label", "Réseau-2")

        await viewer.until(lambda: viewer.text()[0] == " Reseau-2")


# -- the serial line ---------------------------------------------------------------------------


async def test_one_can_log_in_by_the_serial_line(room):
    async with room.line(room.target(protocol="vt100")) as line:
        assert (await line.until("login: ")).endswith(f"\r\n{room.name} login: ")
        await line.send(b"admin\r")
        assert await line.until("Password: ") == "admin\r\nPassword: "
        await line.send(b"secret\r\n")
        assert await line.until("$ ") == f"\r\nadmin@{room.name}:~$ "
        await line.send(b"hostnamex\x7f\n")
        assert await line.until("$ ") == f"hostnamex\b \b\r\n{room.name}\r\nadmin@{room.name}:~$ "
        await line.send(b"uptime\r")
        assert "up " in await line.until("$ ")
        await line.send(b"reboot\r")
        assert "reboot: command not found" in await line.until("$ ")


async def test_the_serial_line_is_shared(room):
    target = room.target(protocol="vt100")
    async with room.line(target) as one, room.line(target) as other:
        await one.until("login: ")
        await other.until("login: ")
        await one.send(b"ro")
        assert await other.exactly(2) == b"ro"
        async with room.line(target) as late:
            assert (await late.until("login: ro")).count("login") == 1


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
        async with SimulatedPool(generate(2, 14, seed=4), speed=100) as pool:
            await make_noise(Room(pool, await pool.sessions.login("root", "x", "test")))

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
