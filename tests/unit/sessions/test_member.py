from xoproxy.sessions.codec import Codec
from xoproxy.sessions.frame import Delivery, Frame, FrameLedger
from xoproxy.sessions.group import Group
from xoproxy.sessions.member import Client, Member
from xoproxy.sessions.messages import Pong
from xoproxy.ws.frames import SharedFraming


class Framing:
    """Counts what it builds."""

    def __init__(self):
        self.built = []
        self.ledger = FrameLedger()

    def plain(self, payload, *, binary):
        self.built.append(("plain", binary))
        return b"p" + payload

    def deflated(self, payload, *, binary):
        self.built.append(("deflated", binary))
        return b"d" + payload


class Outlet:
    def __init__(self):
        self.writes = []
        self.closed = []

    def write(self, data):
        self.writes.append(data)

    def close(self, code, reason):
        self.closed.append((code, reason))


def client(*, deflate=False):
    return Client(Outlet(), Codec.JSON, Framing(), deflate=deflate)


def test_a_frame_builds_each_form_once_and_the_deflated_one_only_when_asked():
    framing = Framing()
    frame = Frame(b"x", binary=True, framing=framing)
    assert framing.built == [("plain", True)]
    assert frame.wire(deflate=True) is frame.wire(deflate=True)
    assert frame.wire(deflate=False) is frame.wire(deflate=False)
    assert framing.built == [("plain", True), ("deflated", True)]
    assert (frame.size, frame.payload) == (1, b"x")


def test_what_alive_frames_weigh_is_known():
    framing = Framing()
    one, other = (Frame(b"x" * 9, binary=True, framing=framing) for _ in range(2))
    assert framing.ledger.used_bytes == 20
    one.wire(deflate=True)
    other.wire(deflate=False)
    assert framing.ledger.used_bytes == 30
    del one
    assert framing.ledger.used_bytes == 10
    del other
    assert framing.ledger.used_bytes == 0


def test_a_frame_that_deflating_makes_longer_is_one():
    framing = SharedFraming()
    frame = Frame(b"short", binary=True, framing=framing)
    assert frame.wire(deflate=True) is frame.wire(deflate=False)
    assert framing.ledger.used_bytes == 7
    del frame
    assert framing.ledger.used_bytes == 0


def test_a_message_is_written_in_the_form_that_was_negotiated():
    one = client(deflate=True)
    one.send(Pong(1))
    assert one.outlet.writes == [b'd{"type":"pong","id":1}']


def test_what_was_gathered_goes_first():
    one = client()
    one.outbox += [b"1", b"2"]
    one.send(Pong())
    one.flush()
    assert one.outlet.writes == [b"12", b'p{"type":"pong"}']


def test_much_is_not_gathered_but_written():
    one = client()
    member = Member(one, Group.__new__(Group), 3)
    one.gather(member, 3, b"1" * 65_536)
    assert one.outlet.writes == []
    one.gather(member, 3, b"2")
    assert one.outlet.writes == [b"1" * 65_536 + b"2"]
    assert one.discard() == []


def test_a_delivery_that_is_dropped_unfinished_weighs_no_more():
    ledger = FrameLedger()
    delivery = Delivery(5)
    delivery.make(iter([None]), ledger, 1_000)
    assert ledger.used_bytes == 1_000
    del delivery
    assert ledger.used_bytes == 0


def test_nothing_is_written_after_the_close_and_it_is_said_once():
    one = client()
    one.outbox.append(b"1")
    one.close(4301, "restarting")
    one.close(4305, "revoked")
    one.send(Pong())
    one.flush()
    assert one.outlet.writes == []
    assert one.outbox == []
    assert one.outlet.closed == [(4301, "restarting")]


def test_to_forget_is_to_give_up_what_was_on_its_way():
    member = Member(client(), Group.__new__(Group), 3)
    member.start(Delivery(5))
    member.index = 2
    member.forget("loaded")
    assert (member.delivery, member.reset) == (None, "loaded")
    member.start(Delivery(7))
    assert member.index == 0


def test_a_delivery_is_complete_when_no_work_is_left():
    delivery = Delivery(5)
    assert delivery.complete
    delivery.work = iter(())
    assert not delivery.complete
