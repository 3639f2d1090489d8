"""Who is at the other end: only what trusted reverse proxies say is believed."""

import pytest
from multidict import CIMultiDict

from xoproxy.auth import Peer, Peers

PEERS = Peers(("10.0.0.0/8", "2001:db8::1"))


def peer(remote, *headers, secure=False):
    return PEERS.peer(remote, CIMultiDict(headers), secure=secure)


@pytest.mark.parametrize(
    ("remote", "forwarded", "found"),
    [
        ("203.0.113.1", [], "203.0.113.1"),
        ("203.0.113.1", ["198.51.100.1"], "203.0.113.1"),  # a client's own word
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["127.0.0.1, 198.51.100.1"], "198.51.100.1"),  # he wrote the first himself
        ("10.0.0.1", ["127.0.0.1", "198.51.100.1"], "198.51.100.1"),  # as two lines
        ("10.0.0.1", ["198.51.100.1, 10.2.3.4"], "198.51.100.1"),  # two proxies
        ("10.0.0.1", ["10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", ["what, 10.2.3.4"], "10.2.3.4"),
        ("10.0.0.1", ["10.2.3.4, what"], "10.0.0.1"),
        ("10.0.0.1", ["2001:DB8::5"], "2001:db8::5"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("2001:db8::1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8::2", ["198.51.100.1"], "2001:db8::2"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("", ["198.51.100.1"], ""),
        (None, [], ""),
    ],
)
def test_addresses(remote, forwarded, found):
    assert peer(remote, *(("X-Forwarded-For", text) for text in forwarded)) == Peer(found)


@pytest.mark.parametrize(
    ("remote", "protocols", "secure"),
    [
        ("203.0.113.1", ["https"], False),
        ("10.0.0.1", ["https"], True),
        ("10.0.0.1", ["HTTPS "], True),
        ("10.0.0.1", ["http"], False),
        ("10.0.0.1", ["https, http"], False),
        ("10.0.0.1", ["https", "http"], False),  # what the nearest one says counts
        ("10.0.0.1", [], False),
    ],
)
def test_tls_in_front(remote, protocols, secure):
    found = peer(remote, *(("X-Forwarded-Proto", text) for text in protocols))
    assert found.secure is secure


def test_tls_of_our_own():
    assert peer("203.0.113.1", secure=True).secure
