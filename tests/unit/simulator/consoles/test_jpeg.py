"""Pictures of screens, read back by a decoder of its own."""

from tests import jpeg_reader
from xoproxy.simulator.consoles.jpeg import picture
from xoproxy.simulator.consoles.pixels import PixelFormat, Region, draw
from xoproxy.simulator.consoles.screen import COLUMNS, HEIGHT, ROWS, WIDTH, Screen

RGB = PixelFormat(32, 24, big_endian=True, maxima=(255, 255, 255), shifts=(24, 16, 8))


def test_a_picture_is_the_screen_but_for_rounding():
    screen = Screen("vm")
    screen.type("".join(map(chr, range(0x20, 0x7F))))
    screen.point(301, 203)
    drawn = draw(screen, Region(0, 0, COLUMNS, ROWS), RGB)

    image = jpeg_reader.read(picture(screen))

    assert (len(image), len(image[0])) == (HEIGHT, WIDTH)
    errors = [
        abs(part - drawn[4 * (y * WIDTH + x) + number])
        for y, row in enumerate(image)
        for x, colour in enumerate(row)
        for number, part in enumerate(colour)
    ]
    assert max(errors) < 24
    assert sum(errors) / len(errors) < 1
