"""Where a proxy is, whom we believe, and how failures are worded."""

import socket
import ssl

import aiohttp
import pytest

from xoproxy.client.connection import cause, endpoint, websocket_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8086", "ws://127.0.0.1:8086/ws"),
        ("https://proxy.example/under/", "wss://proxy.example/under/ws"),
        ("http://[::1]:8086/", "ws://[::1]:8086/ws"),
        ("wss://user:secret@proxy.example", "wss://proxy.example/ws"),
    ],
)
def test_the_websocket_is_beside_the_pages(url, expected):
    assert websocket_url(url) == expected


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8086", "ftp://host", "http://", "http://host:port", "http://h/?x", "http://["],
)
def test_what_is_no_address_is_said(url):
    with pytest.raises(ValueError, match="write http://host:8086"):
        endpoint(url)


def test_certificates_are_verified_unless_told_otherwise():
    assert endpoint("https://proxy.example").trust is True


def test_a_fingerprint_may_be_written_in_several_ways():
    for text in ("ab" * 32, ":".join(["AB"] * 32)):
        trust = endpoint("https://proxy.example", fingerprint=text).trust
        assert isinstance(trust, aiohttp.Fingerprint)
        assert trust.fingerprint == b"\xab" * 32


@pytest.mark.parametrize("text", ["", "ab", "xy" * 32, "ab" * 20])
def test_what_is_no_fingerprint_is_said(text):
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        endpoint("https://proxy.example", fingerprint=text)


def test_one_of_both_is_enough(tmp_path):
    with pytest.raises(ValueError, match="not both"):
        endpoint("https://proxy.example", ca_file=tmp_path / "ca.pem", fingerprint="ab" * 32)


def test_an_unknown_encoding_is_said():
    with pytest.raises(ValueError, match="'json' or 'msgpack'"):
        endpoint("https://proxy.example", "xml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (ssl.SSLError(1, "[SSL] wrong version number"), "TLS failed"),
        (aiohttp.ClientPayloadError("odd"), "odd"),
        (aiohttp.ClientPayloadError(), "ClientPayloadError"),
    ],
)
def test_causes_are_said_in_a_few_words(error, said):
    assert said.lower() in cause(error).lower()
