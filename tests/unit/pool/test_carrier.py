import asyncio

import pytest
from yarl import URL

from xoproxy.errors import PoolUnreachable
from xoproxy.pool.carrier import DetectingCarrier, HttpCarrier, NoJsonRpc
from xoproxy.pool.client import LinkSettings
from xoproxy.pool.trust import Trust

ONE, OTHER = URL("https://10.0.0.1"), URL("https://10.0.0.2")


FAULT = b'<?xml version="1.0"?><methodResponse><fault/></methodResponse>'


@pytest.mark.parametrize(
    ("status", "body", "old"),
    [
        (200, FAULT, True),
        (403, b"<html>", True),
        (404, b"", True),
        (501, b"<html>", True),
        (500, b"<html>", False),
        (503, b"<html>", False),
        (401, b"<html>", False),
        (200, b"<html>", False),
    ],
)
async def test_only_what_an_old_server_says_is_taken_for_one(status, body, old):
    async def serve(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with HttpCarrier(LinkSettings(), Trust({})) as carrier:
            if (status, old) == (200, False):  # no JSON either, but that is for others to say
                assert await post(carrier, url) == body
                return
            with pytest.raises(PoolUnreachable) as caught:
                await post(carrier, url)
    assert isinstance(caught.value, NoJsonRpc) is old
    assert caught.value.code == "NOT_XAPI"


class Recorder:
    """A carrier that answers with its name, or fails as it is told."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.seen: list[tuple[URL, bytes]] = []
        self.failing: dict[URL, Exception] = {}
        self.entered = 0

    async def __aenter__(self):
        self.entered += 1
        return self

    async def __aexit__(self, *_):
        self.entered -= 1

    def forget(self) -> None:
        pass

    async def post(self, url, body, patience):  # noqa: ARG002 - a port
        self.seen.append((url, body))
        if url in self.failing:
            raise self.failing[url]
        return [self.name]


async def post(carrier, url, body=b"?") -> bytes:
    async with asyncio.timeout(None) as patience:
        return b"".join(await carrier.post(url, body, patience))


@pytest.fixture
def both():
    return Recorder(b"json"), Recorder(b"xml")


async def test_a_server_with_json_rpc_never_hears_xml(both):
    json, xml = both
    carrier = DetectingCarrier(json, xml)
    assert [await post(carrier, ONE) for _ in range(2)] == [b"json", b"json"]

    json.failing[ONE] = NoJsonRpc("HTTP status 404", "NOT_XAPI")  # it may have run the call
    with pytest.raises(NoJsonRpc):
        await post(carrier, ONE, b"start a machine")
    assert xml.seen == []


async def test_a_server_that_fails_for_a_moment_keeps_json_rpc(both):
    """A 500 page is what an old server says to JSON, but a new one in trouble says it, too."""
    json, xml = both
    carrier = DetectingCarrier(json, xml)
    await post(carrier, ONE)

    carrier.forget()
    json.failing[ONE] = NoJsonRpc("HTTP status 404", "NOT_XAPI")
    with pytest.raises(NoJsonRpc):
        await post(carrier, ONE)
    json.failing.clear()
    assert await post(carrier, ONE) == b"json"
    assert xml.seen == []


async def test_a_server_without_is_spoken_to_in_xml_until_it_is_looked_for_again(both):
    json, xml = both
    carrier = DetectingCarrier(json, xml)
    json.failing[ONE] = NoJsonRpc("HTTP status 404", "NOT_XAPI")
    assert [await post(carrier, url) for url in (ONE, ONE, OTHER)] == [b"xml", b"xml", b"json"]
    assert len(json.seen) == 2

    json.failing.clear()  # it was updated
    assert await post(carrier, ONE) == b"xml"
    carrier.forget()
    assert await post(carrier, ONE) == b"json"


async def test_a_server_that_speaks_neither_is_asked_again_for_both(both):
    json, xml = both
    carrier = DetectingCarrier(json, xml)
    json.failing[ONE] = NoJsonRpc("HTTP status 404", "NOT_XAPI")
    xml.failing[ONE] = PoolUnreachable("HTTP status 500", "NOT_XAPI")
    for _ in range(2):
        with pytest.raises(PoolUnreachable):
            await post(carrier, ONE)
    assert len(json.seen) == len(xml.seen) == 2

    json.failing.clear()
    assert await post(carrier, ONE) == b"json"


async def test_no_answer_says_nothing_about_the_protocol(both):
    json, xml = both
    carrier = DetectingCarrier(json, xml)
    json.failing[ONE] = PoolUnreachable("The pool does not accept connections.")
    with pytest.raises(PoolUnreachable):
        await post(carrier, ONE)
    assert xml.seen == []


async def test_both_are_entered_and_left(both):
    json, xml = both
    async with DetectingCarrier(json, xml):
        assert (json.entered, xml.entered) == (1, 1)
    assert (json.entered, xml.entered) == (0, 0)
