import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pool.sliced import finish
from xoproxy.errors import PoolUnreachable
from xoproxy.pool import pieces, replies

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text('{}[]",:\\x', max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a},{", max_size=6), inner),
    max_leaves=6,
)
RECORDS = st.dictionaries(st.text('ab},{"', max_size=5), VALUES, max_size=4)


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "_PIECE_BYTES", 150)


def compact(value) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(number: int, record: object) -> dict:
    return {"class": "vm", "operation": "mod", "ref": f"OpaqueRef:{number}", "snapshot": record}


def reply(records: list, **more: object) -> dict:
    events = [event(number, record) for number, record in enumerate(records)]
    return {"id": 1, "result": {"token": "7", "events": events, **more}, "jsonrpc": "2.0"}


def read(result: object) -> object:
    return msgspec.to_builtins(result) if result is not None else None


@given(st.lists(RECORDS, max_size=30), st.booleans(), st.integers(20, 900))
def test_events_in_pieces_are_the_events(records, counts_last, part_bytes):
    counts = {"valid_ref_counts": {"vm": len(records)}}
    told = reply(records, **counts) if counts_last else reply(records)
    body = compact(told)
    parts = [body[at : at + part_bytes] for at in range(0, len(body), part_bytes)]
    envelope, _ = finish(replies.scan(replies.EVENTS, parts))

    assert envelope.id == 1
    assert envelope.result.token == "7"
    assert envelope.result.valid_ref_counts == (counts["valid_ref_counts"] if counts_last else {})
    assert [e.ref for e in envelope.result.events] == [
        f"OpaqueRef:{n}" for n in range(len(records))
    ]
    assert [json.loads(bytes(e.record)) for e in envelope.result.events] == records


@given(st.dictionaries(st.text("0123456789ab-", min_size=1, max_size=8), RECORDS, max_size=30))
def test_records_in_pieces_are_the_records(records):
    told = {f"OpaqueRef:{name}": record for name, record in records.items()}
    body = compact({"jsonrpc": "2.0", "id": 3, "result": told})
    envelope, _ = finish(replies.scan(replies.RECORDS, [body]))

    found = {ref: json.loads(bytes(raw)) for ref, raw in envelope.result.items()}
    assert found == told
    assert list(found) == list(told)


def test_a_long_reply_takes_many_steps():
    body = compact(reply([{"name": "x" * 20}] * 100))
    envelope, steps = finish(replies.scan(replies.EVENTS, [body]))
    assert len(envelope.result.events) == 100
    assert steps > 20


def test_objects_inside_of_records_mislead_nobody():
    records = [{"list": [{"a": n}] * 40} for n in range(20)]
    envelope, _ = finish(replies.scan(replies.EVENTS, [compact(reply(records))]))
    assert [json.loads(bytes(e.record)) for e in envelope.result.events] == records


def test_what_is_mended_is_read_in_pieces_too():
    body = compact(reply([{"load": 1.5}] * 50)).replace(b"1.5", b"NaN")
    envelope, steps = finish(replies.scan(replies.EVENTS, [body]))
    assert {bytes(e.record) for e in envelope.result.events} == {b'{"load":null}'}
    assert steps > 10


@pytest.mark.parametrize("cut", [5, 200, 2000, -1])
def test_a_truncated_reply_is_no_reply(cut):
    body = compact(reply([{"name": "x" * 20}] * 100))[:cut]
    with pytest.raises(PoolUnreachable):
        finish(replies.scan(replies.EVENTS, [body]))


def test_an_error_is_read_whatever_it_holds():
    body = compact({"id": 1, "error": ["FAILURE", '"events":[' + "},{" * 200]})
    envelope, _ = finish(replies.scan(replies.EVENTS, [body]))
    assert envelope.result is None
    assert replies.failure(envelope.error).code == "FAILURE"
