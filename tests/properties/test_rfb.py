"""Whatever a viewer sends, and in whatever pieces, the protocol keeps its head."""

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from xoproxy.simulator.consoles.rfb import RfbError, RfbServer
from xoproxy.simulator.consoles.screen import Screen
from xoproxy.simulator.consoles.terminal import Terminal, TerminalViewer
from xoproxy.simulator.consoles.viewer import ScreenViewer

OPENING = b"RFB 003.008\n\x01\x01"
shorts = st.integers(0, 0xFFFF)
messages = st.one_of(
    st.builds(
        struct.pack,
        st.just(">BBHHHH"),
        st.just(3),
        st.integers(0, 1),
        shorts,
        shorts,
        shorts,
        shorts,
    ),
    st.builds(
        struct.pack, st.just(">BBxxI"), st.just(4), st.integers(0, 1), st.integers(0, 0xFFFFFFFF)
    ),
    st.builds(struct.pack, st.just(">BBHH"), st.just(5), st.integers(0, 255), shorts, shorts),
    st.binary(max_size=40).map(lambda text: struct.pack(">BxxxI", 6, len(text)) + text),
    st.lists(st.integers(-500, 500), max_size=5).map(
        lambda known: struct.pack(f">BxH{len(known)}i", 2, len(known), *known)
    ),
)


def heard(pieces: list[bytes]) -> list:
    server = RfbServer(720, 400, "x")
    found: list = []
    with contextlib.suppress(RfbError):
        for piece in pieces:
            found += server.receive(piece)
    return found


@given(st.lists(messages, max_size=10).map(b"".join), st.data())
def test_pieces_make_no_difference(said, data):
    said = OPENING + said
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=8)))
    pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]

    assert heard(pieces) == heard([said])


@given(
    st.sampled_from([b"", b"RFB 003.008\n", b"RFB 003.003\n\x01", OPENING]), st.binary(max_size=200)
)
def test_noise_is_refused_or_taken_but_never_breaks_anything(opening, noise):
    screen = Screen("x")
    viewer = ScreenViewer(screen, "x", lambda: None)
    with contextlib.suppress(RfbError):
        viewer.receive(opening + noise)
    viewer.take()
    TerminalViewer(Terminal(lambda: "x", lambda: 0.0), lambda: None).receive(noise)


@given(st.lists(messages, max_size=20))
def test_a_viewer_that_follows_sees_what_one_sees_who_comes_later(said):
    screen = Screen("x")
    viewer = ScreenViewer(screen, "x", lambda: None)
    viewer.receive(OPENING)
    for message in said:
        viewer.receive(message)
        viewer.take()
    viewer.receive(struct.pack(">BBHHHH", 3, 1, 0, 0, 720, 400))
    viewer.take()

    assert viewer._seen == screen.versions
