"""JSON-RPC as XAPI speaks it."""

import json
import math

import pytest

from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.jsonrpc import JsonRpc
from xoproxy.simulator.rpc import MalformedError, Request
from xoproxy.simulator.tables import Row
from xoproxy.simulator.wiretypes import FloatType, StringType

RPC = JsonRpc()


def body(**members) -> bytes:
    return json.dumps(members).encode()


def test_version_2():
    request = RPC.parse(body(jsonrpc="2.0", method="VM.get_all", params=["s"], id=7))

    assert request == Request("VM.get_all", ["s"], 7, 2)
    assert json.loads(RPC.success(request, b"[]")) == {"jsonrpc": "2.0", "result": [], "id": 7}


def test_version_1_answers_with_result_and_error():
    request = RPC.parse(body(method="VM.get_all", params=["s"], id="a"))

    assert RPC.success(request, b'"x"') == b'{"result":"x","error":null,"id":"a"}'
    assert json.loads(RPC.failure(request, ["CODE", "p"])) == {
        "result": None,
        "error": ["CODE", "p"],
        "id": "a",
    }


def test_a_failure_in_version_2_has_code_1():
    request = Request("m", [], 0, 2)

    assert json.loads(RPC.failure(request, ["CODE", "p", "q"])) == {
        "jsonrpc": "2.0",
        "error": {"code": 1, "message": "CODE", "data": ["p", "q"]},
        "id": 0,
    }


def test_named_parameters_become_one_struct_in_version_2_only():
    assert RPC.parse(body(jsonrpc="2.0", method="m", params={"a": 1}, id=1)).params == [{"a": 1}]
    with pytest.raises(MalformedError):
        RPC.parse(body(method="m", params={"a": 1}, id=1))


@pytest.mark.parametrize(
    "broken",
    [
        b"{bad",
        b"",
        b"null",
        b"\xff",
        b"[" * 100_000,
        body(jsonrpc="2.0", method="m", params=[], id=None),
        body(jsonrpc="2.0", method="m", params=[]),
        body(jsonrpc="2.0", method="m", params=[], id=1.5),
        body(jsonrpc="2.0", method="m", params=[], id=True),
        body(jsonrpc="2.0", method="m", params=[], id=[1]),
        body(jsonrpc="1.0", method="m", params=[], id=1),
        body(jsonrpc=2.0, method="m", params=[], id=1),
        body(jsonrpc="2.0", method=5, params=[], id=1),
        body(method="m", id=1),
        json.dumps([{"jsonrpc": "2.0", "method": "m", "params": [], "id": 1}]).encode(),
    ],
)
def test_what_is_no_call(broken: bytes):
    with pytest.raises(MalformedError):
        RPC.parse(broken)


def test_floats_that_json_does_not_have_are_bare_words():
    floats = (math.nan, math.inf, -math.inf)

    encoded = [RPC.codec.value(FloatType(), f) for f in floats]
    assert encoded == [b"NaN", b"Infinity", b"-Infinity"]


def test_text_is_utf8_and_broken_text_is_mended():
    assert RPC.codec.value(StringType(), "€") == '"€"'.encode()
    assert RPC.codec.value(StringType(), "\ud800") == b'"?"'


def test_a_row_is_encoded_once_and_leaves_out_absent_members():
    row = Row("r", {"uuid": "u", "name_label": None}, 1, 1)
    model = DataModel.load().classes["VM"]
    first = RPC.codec.record(model, row)

    assert first == b'{"uuid":"u"}'
    assert RPC.codec.record(model, row) is first
