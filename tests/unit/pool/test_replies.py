import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pool.sliced import finish
from xoproxy.errors import PoolUnreachable
from xoproxy.pool import mending, replies


def scanned(record: bytes) -> bytes:
    body = (
        b'{"jsonrpc":"2.0","result":{"events":[{"id":"7","timestamp":"0.0","class":"vm",'
        b'"operation":"mod","ref":"OpaqueRef:1","snapshot":'
        + record
        + b'}],"valid_ref_counts":{"vm":1},"token":"00,0"},"id":1}'
    )
    envelope, _ = finish(replies.scan(replies.EVENTS, [body]))
    (event,) = envelope.result.events
    assert (event.cls, event.operation, event.ref) == ("vm", "mod", "OpaqueRef:1")
    return replies.checked_record(bytes(event.record))


@pytest.mark.parametrize(
    "record",
    [
        b'{"a":"NaN","b":"-Infinity: NaN, \\"NaN","c":[1,-2.5e3,true,null]}',
        b'{ "a" : { "NaN" : "\\u00e9\\ud83d\\ude00" } }',
        '{"a":"é😀\x7f","memory":9223372036854775807}'.encode(),
        b"{}",
    ],
)
def test_a_clean_record_stays_byte_for_byte(record):
    assert record == scanned(record)


@pytest.mark.parametrize(
    ("record", "mended"),
    [
        (
            b'{"a":NaN,"b":[Infinity,-Infinity],"c":{"d":NaN}}',
            b'{"a":null,"b":[null,null],"c":{"d":null}}',
        ),
        (b'{"a":NaN,"b":"NaN, -Infinity \\" NaN"}', b'{"a":null,"b":"NaN, -Infinity \\" NaN"}'),
        (b'{"a":NaN,"b":-1,"c":"x\\\\"}', b'{"a":null,"b":-1,"c":"x\\\\"}'),
        (b'{"a":"\\ud800"}', b'{"a":"\\ufffd"}'),
        (b'{"a":"x\\udc00y\\ud83d\\ude00\\ud83d"}', b'{"a":"x\\ufffdy\\ud83d\\ude00\\ufffd"}'),
        (b'{"a":"\\\\ud800","b":"\\uD800"}', b'{"a":"\\\\ud800","b":"\\ufffd"}'),
        (b'{"a":"tab\there\nand\x00"}', b'{"a":"tab\\u0009here\\u000aand\\u0000"}'),
        (b'{"a":"\\q\\u12"}', b'{"a":"\\\\q\\\\u12"}'),
        (b'{"a":"caf\xe9"}', '{"a":"caf\ufffd"}'.encode()),
        (b'{"\xff":"\xed\xa0\x80"}', '{"\ufffd":"\ufffd\ufffd\ufffd"}'.encode()),
        (b'{"a":NaN,"b":"\xff"}', '{"a":null,"b":"\ufffd"}'.encode()),
        (b'{"a":1e999,"b":-1e999,"c":1e10}', b'{"a":null,"b":null,"c":10000000000.0}'),
        (
            b'{"a":9223372036854775808,"b":-9223372036854775808}',
            b'{"a":null,"b":-9223372036854775808}',
        ),
        (b'{"a":' + b"9" * 5000 + b"}", b'{"a":null}'),
    ],
)
def test_what_no_parser_takes_is_mended(record, mended):
    found = scanned(record)

    assert mended == found
    json.loads(found)
    msgspec.msgpack.encode(msgspec.json.decode(found))


def test_deeper_records_than_xapis_pass():
    record = b'{"a":[[[{"b":[1]}]]]}'

    assert record == scanned(record)


@pytest.mark.parametrize("record", [b"[]", b'"x"', b"1", b"null"])
def test_a_record_that_is_no_object_is_refused(record):
    with pytest.raises(PoolUnreachable, match="record"):
        replies.checked_record(record)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"result":',
        b'{"result":{"events":[],"token":NaN}}',
        b'{"result":"x"}',
        b"[" * 100_000,
        b'{"result":{"events":[{"class":"vm\xff"}]}}',
        b'{"a":"',
        b"-",
        b"N",
        b'{"a":-Inf}',
    ],
)
def test_what_is_not_xapis_is_refused(body):
    with pytest.raises(PoolUnreachable) as caught:
        finish(replies.scan(replies.EVENTS, [body]))

    assert caught.value.code == "NOT_XAPI"


def test_mending_a_large_reply_yields_between_slices():
    body = b'{"x":[' + b",".join([b'{"n":NaN,"s":"' + b"x" * 900 + b'"}'] * 2000) + b"]}"

    mended, slices = finish(mending.mend(body))

    assert body.replace(b"NaN", b"null") == mended
    assert slices >= len(body) // (128 << 10)


def test_a_string_longer_than_a_slice_is_kept():
    body = b'{"n":NaN,"s":"' + b"y" * (400 << 10) + b'","t":"' + b"\\n" * (200 << 10) + b'"}'

    mended, _ = finish(mending.mend(body))

    assert body.replace(b"NaN", b"null") == mended


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=True, allow_infinity=True)
    | TEXT
)
RECORD = st.dictionaries(
    TEXT, LEAF | st.lists(LEAF, max_size=3) | st.dictionaries(TEXT, LEAF, max_size=3), max_size=5
)


def without_specials(value):
    match value:
        case dict():
            return {k: without_specials(v) for k, v in value.items()}
        case list():
            return [without_specials(v) for v in value]
        case float() if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124
            return None
    return value


@given(RECORD, st.integers(1, 40))
def test_mending_keeps_every_other_value(record, slice_bytes):
    body = json.dumps(record, ensure_ascii=False).encode()  # NaN and Infinity as bare words

    original = mending._SLICE_BYTES
    mending._SLICE_BYTES = slice_bytes
    try:
        mended, _ = finish(mending.mend(body))
    finally:
        mending._SLICE_BYTES = original

    assert without_specials(record) == msgspec.json.decode(mended)


@given(st.binary(max_size=60))
def test_mending_anything_ends_and_never_spoils_what_is_valid(body):
    mended, _ = finish(mending.mend(body))

    try:
        expected = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert expected == msgspec.json.decode(mended)


@pytest.mark.parametrize(
    ("error", "code", "params"),
    [
        (b'{"code":1,"message":"HANDLE_INVALID","data":["VM","x"]}', "HANDLE_INVALID", ("VM", "x")),
        (b'{"code":1,"message":"FAULT"}', "FAULT", ()),
        (b'["HOST_STILL_BOOTING"]', "HOST_STILL_BOOTING", ()),
        (b'["A","b",3]', "A", ("b", "3")),
    ],
)
def test_errors_come_in_three_forms(error, code, params):
    failure = replies.failure(msgspec.Raw(error))

    assert (code, params) == (failure.code, failure.params)


@pytest.mark.parametrize("error", [b"1", b"{}", b"[]", b'{"message":1}', b"\xff"])
def test_an_error_that_is_none_of_xapis(error):
    with pytest.raises(PoolUnreachable):
        replies.failure(msgspec.Raw(error))
