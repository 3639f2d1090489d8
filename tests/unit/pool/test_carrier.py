import asyncio

import pytest
from yarl import URL

from xoproxy.errors import PoolUnreachable
from xoproxy.pool.carrier import DetectingCarrier, NoJsonRpc

ONE, OTHER = URL("https://10.0.0.1"), URL("https://10.0.0.2")


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
        return self.name


async def post(carrier, url, body=b"?") -> bytes:
    async with asyncio.timeout(None) as patience:
        return await carrier.post(url, body, patience)


@pytest.fixture
def both():
    return Recorder(b"json"), Recorder(b"xml")


async def test_a_server_with_json_rpc_never_hears_xml(both):
    json, xml = both
    carrier = DetectingCarrier(json, xml)
    assert [await post(carrier, ONE) for _ in range(2)] == [b"json", b"json"]

    json.failing[ONE] = NoJsonRpc("HTTP status 500", "NOT_XAPI")  # it may have run the call
    with pytest.raises(NoJsonRpc):
        await post(carrier, ONE, b"start a machine")
    assert xml.seen == []


async def test_a_server_that_fails_for_a_moment_keeps_json_rpc(both):
    """A 500 page is what an old server says to JSON, but a new one in trouble says it, too."""
    json, xml = both
    carrier = DetectingCarrier(json, xml)
    await post(carrier, ONE)

    carrier.forget()
    json.failing[ONE] = NoJsonRpc("HTTP status 500", "NOT_XAPI")
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
    json.failing[ONE] = NoJsonRpc("HTTP status 500", "NOT_XAPI")
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
