from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xoproxy.model import Cursor, PoolId
from xoproxy.sessions.tokens import TokenSigner, ViewHash, view_hash

KEY = b"thirty-two bytes of a secret key"
CURSOR = Cursor("epoch", 4711)
POOL = PoolId("k3v9w2ab")
VIEW = view_hash(b"query", "everything", ("VM",))
SIGNER = TokenSigner(KEY)
TOKEN = SIGNER.sign(CURSOR, POOL, VIEW)
GOLDEN = (
    "lgKlZXBvY2jNEmeoazN2OXcyYWLEEFyLSDb5YQe6J_qG8URF"
    "2DjEEOavd133XoPlN9OF6tq90jMH3VLoh1odgxRx3dSoUlfh"
)
OLDER = "lQGlZXBvY2jNEmeoazN2OXcyYWLEELypNWmY-J_rL3j2E0d6tKxsgvK9dpWEz5SG6g5VoCfq"


def test_a_token_says_what_was_signed():
    assert SIGNER.verify(TOKEN) == (CURSOR, POOL, VIEW)


def test_it_is_short_and_needs_no_escaping():
    assert len(TOKEN) < 150
    assert TOKEN.isascii()
    assert not set(TOKEN) & set('+/="\\ ')


def test_it_is_the_same_for_all_and_over_restarts():
    """It may stand in golden files and in a client's storage: this one was made long ago."""
    assert TokenSigner(KEY).sign(CURSOR, POOL, VIEW) == TOKEN
    assert TOKEN == GOLDEN
    assert SIGNER.verify(GOLDEN) == (CURSOR, POOL, VIEW)


def test_another_key_does_not_know_it():
    assert TokenSigner(KEY[::-1]).verify(TOKEN) is None


@pytest.mark.parametrize("at", range(len(TOKEN) - 1))
def test_no_character_can_be_changed(at):
    changed = "A" if TOKEN[at] != "A" else "B"
    assert SIGNER.verify(TOKEN[:at] + changed + TOKEN[at + 1 :]) is None


@pytest.mark.parametrize("size", range(len(TOKEN) - 1))
def test_it_cannot_be_cut(size):
    assert SIGNER.verify(TOKEN[:size]) is None


def test_it_cannot_be_longer():
    assert SIGNER.verify(TOKEN + "AAAA") is None
    assert SIGNER.verify(TOKEN * 100) is None


@given(st.text())
def test_any_text_is_refused(text):
    assert SIGNER.verify(text) is None


@given(st.binary(max_size=100))
def test_what_is_rightly_signed_but_no_token_is_refused(body):
    signed = urlsafe_b64encode(body + SIGNER._mac(body)).decode().rstrip("=")
    assert SIGNER.verify(signed) is None


def test_a_token_of_version_1_is_not_understood():
    assert SIGNER.verify(OLDER) is None


def test_a_later_version_of_tokens_is_not_understood(monkeypatch):
    monkeypatch.setattr("xoproxy.sessions.tokens._VERSION", 3)
    later = SIGNER.sign(CURSOR, POOL, VIEW)
    monkeypatch.undo()
    assert SIGNER.verify(later) is None


@pytest.mark.parametrize("seq", [0, 2**53, 2**63])
def test_positions_of_any_size(seq):
    token = SIGNER.sign(Cursor("é", seq), POOL, VIEW)
    assert SIGNER.verify(token) == (Cursor("é", seq), POOL, VIEW)


def test_views_differ_by_query_rights_and_classes():
    hashes: set[ViewHash] = {
        VIEW,
        view_hash(b"other", "everything", ("VM",)),
        view_hash(b"query", "tagged", ("VM",)),
        view_hash(b"query", "everything", ("VM", "host")),
        view_hash(b"query", "everything", ("VMhost",)),
        view_hash(b"queryeverything", "", ("VM",)),
    }
    assert len(hashes) == 6


def test_queries_are_the_same_whatever_the_rights():
    assert VIEW.query == view_hash(b"query", "tagged", ("VM",)).query
    assert VIEW.query != view_hash(b"other", "everything", ("VM",)).query
    assert VIEW.query != view_hash(b"query", "everything", ("VM", "host")).query
    assert VIEW.query != VIEW.view
