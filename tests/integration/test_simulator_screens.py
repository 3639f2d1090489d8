"""What the consoles of a simulated pool show, over real sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests import jpeg_reader
from tests.integration.rooms import Room, get, opened
from tests.integration.viewers import Format, RfbViewer


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with opened() as made:
        yield made


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


# -- pictures --------------------------------------------------------------------------------


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
