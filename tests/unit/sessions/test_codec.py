import json
from contextlib import suppress

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.replica import canonical
from xoproxy.cache.diff import Put, Remove
from xoproxy.errors import ErrorCode, ProtocolError, RequestRefused
from xoproxy.sessions.codec import Codec, client_message
from xoproxy.sessions.messages import (
    Auth,
    Bookmark,
    Call,
    Error,
    Patch,
    Pong,
    Reset,
    Snapshot,
    Subscribe,
    Unsubscribe,
)

both = pytest.mark.parametrize("codec", Codec)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text(st.characters(codec="utf-8"))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


def raw(value) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def read(codec: Codec, data: bytes):
    """Decode with packages that are not ours."""
    return msgpack.unpackb(data, strict_map_key=True) if codec.binary else json.loads(data)


@both
def test_the_value_is_the_subprotocol(codec):
    assert codec.value == ("xoproxy.v1.msgpack" if codec.binary else "xoproxy.v1.json")


@both
@given(values)
def test_a_value_arrives_as_it_is_in_type_and_value(codec, value):
    put = read(codec, codec.operation(Put("add", "/VM/1", raw(value))))
    row = read(codec, codec.row([raw(value), raw("x")]))

    assert canonical(put) == canonical({"op": "add", "path": "/VM/1", "value": value})
    assert canonical(row) == canonical([value, "x"])


@both
def test_floats_stay_floats(codec):
    assert [type(v) for v in read(codec, codec.row([raw(1.0), raw(1), raw(True)]))] == [
        float,
        int,
        bool,
    ]


def test_messagepack_floats_are_float64():
    assert Codec.MSGPACK.row([raw(1.5)]) == b"\x91\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"


@both
def test_a_removal_has_no_value(codec):
    operation = read(codec, codec.operation(Remove("/VM/1")))
    assert operation == {"op": "remove", "path": "/VM/1"}


@both
def test_optional_members_that_are_not_set_are_not_sent(codec):
    assert read(codec, codec.encode(Pong())) == {"type": "pong"}
    assert read(codec, codec.encode(Error("BUSY", "later", retry=True))) == {
        "type": "error",
        "code": "BUSY",
        "message": "later",
        "retry": True,
    }
    assert read(codec, codec.encode(Reset(1, "loaded", "e", 3))) == {
        "type": "reset",
        "view": 1,
        "reason": "loaded",
        "epoch": "e",
        "seq": 3,
    }
    assert "more" not in read(codec, codec.encode(Patch(1, 3, 4, [])))


@both
def test_members_have_the_names_of_the_protocol(codec):
    operation = msgspec.Raw(codec.operation(Remove("/VM/1")))
    row = msgspec.Raw(codec.row([raw("OpaqueRef:a")]))

    assert read(codec, codec.encode(Patch(1, 3, 4, [operation], more=True))) == {
        "type": "patch",
        "view": 1,
        "from": 3,
        "to": 4,
        "ops": [{"op": "remove", "path": "/VM/1"}],
        "more": True,
    }
    assert read(codec, codec.encode(Snapshot(1, 3, True, "VM", ("$ref",), ["0"], [row]))) == {
        "type": "snapshot",
        "view": 1,
        "seq": 3,
        "last": True,
        "class": "VM",
        "fields": ["$ref"],
        "keys": ["0"],
        "rows": [["OpaqueRef:a"]],
    }
    assert read(codec, codec.encode(Bookmark(1, 3, "x"))) == {
        "type": "bookmark",
        "view": 1,
        "seq": 3,
        "resume": "x",
    }


class TestDecode:
    @both
    def test_a_map(self, codec):
        message = {"type": "ping", "id": 1}
        frame = msgpack.packb(message) if codec.binary else json.dumps(message)
        assert codec.decode(frame) == message

    @pytest.mark.parametrize(
        "frame",
        [
            "",
            "{",
            "nonsense",
            "[]",
            "1",
            "null",
            '"x"',
            '{"a": NaN}',
            '{"a": 1e400}',
            '{"a": "\\ud800"}',
            "{'a': 1}",
            '{"a": 1} {}',
            "[" * 100_000,
            '{"a":' * 100_000,
        ],
    )
    def test_json_that_is_none_or_no_map(self, frame):
        with pytest.raises(ProtocolError):
            Codec.JSON.decode(frame)

    @pytest.mark.parametrize(
        "frame",
        [
            b"",
            b"\xc1",
            b"\x81",
            b"\x90",
            b"\x01",
            b"\xc0",
            b"\x81\x01\x01",  # a key that is no text
            b"\x81\xa1\xff\x01",  # a key that is no UTF-8
            b"\x81\xc4\x01x\x01",  # a binary key
            b"\x81\x90\x01",
            b"\x81\x81\x01\x01\x01",  # a map as key
            b"\x81\xa1a",
            b"\x80\x80",
            b"\x91" * 100_000,
            b"\xdf\xff\xff\xff\xff",  # promises four thousand million members
            b"\xdd\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
        ],
    )
    def test_messagepack_that_is_none_or_no_map(self, frame):
        with pytest.raises(ProtocolError):
            Codec.MSGPACK.decode(frame)

    def test_the_wrong_kind_of_frame_says_which_is_right(self):
        with pytest.raises(ProtocolError, match="text"):
            Codec.JSON.decode(b"{}")
        with pytest.raises(ProtocolError, match="binary"):
            Codec.MSGPACK.decode("{}")

    @given(st.binary(max_size=60))
    def test_any_bytes_are_decoded_or_refused(self, frame):
        with suppress(ProtocolError, RequestRefused):
            client_message(Codec.MSGPACK.decode(frame))

    @given(values)
    def test_any_json_is_decoded_or_refused(self, value):
        try:
            message = Codec.JSON.decode(json.dumps(value))
        except ProtocolError:
            assert not isinstance(value, dict)
            return
        with pytest.raises(RequestRefused):
            client_message(message)


class TestClientMessage:
    def test_is_read_with_its_defaults(self):
        assert client_message({"type": "auth", "token": "t"}) == Auth(token="t")
        assert client_message({"type": "subscribe", "id": 1, "query": {}}) == Subscribe(1, {}, [])
        assert client_message({"type": "call", "id": "a", "pool": "p", "method": "m"}) == Call(
            "a", "p", "m", {}, []
        )

    @pytest.mark.parametrize("id_", [2**63, 2**64 - 1, -(2**63), 0, "", "é"])
    def test_any_integer_or_text_is_an_id(self, id_):
        assert client_message({"type": "unsubscribe", "id": id_}) == Unsubscribe(id_)

    def test_what_is_wrong_is_said_without_repeating_values(self):
        with pytest.raises(RequestRefused) as caught:
            client_message({"type": "auth", "username": "root", "password": ["hunter2"]})
        assert caught.value.code is ErrorCode.BAD_MESSAGE
        assert "password" in caught.value.message
        assert "hunter2" not in caught.value.message

    def test_params_may_be_as_deep_as_they_decode(self):
        deep: list = []
        for _ in range(5_000):
            deep = [deep]
        with pytest.raises(RequestRefused):
            client_message(
                {"type": "call", "id": 1, "pool": "p", "method": "m", "params": {"a": deep}}
            )
