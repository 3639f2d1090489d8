"""XML-RPC as XAPI speaks it."""

import xmlrpc.client

import pytest

from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.rpc import MalformedError, Request
from xoproxy.simulator.tables import Row
from xoproxy.simulator.wiretypes import parse
from xoproxy.simulator.xmlrpc import XmlRpc, escape, render

RPC = XmlRpc()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int", 42, "<value>42</value>"),
        ("float", 1.0, "<value><double>1</double></value>"),
        ("float", 0.1, "<value><double>0.1</double></value>"),
        ("float", 1 / 3, "<value><double>0.3333333333333333</double></value>"),
        ("bool", True, "<value><boolean>1</boolean></value>"),
        ("string", "", "<value></value>"),
        ("string", "<&\">'", "<value>&lt;&amp;&quot;&gt;'</value>"),
        ("void", "", "<value></value>"),
        (
            "datetime",
            "20240131T12:00:00Z",
            "<value><dateTime.iso8601>20240131T12:00:00Z</dateTime.iso8601></value>",
        ),
        ("VM ref", "OpaqueRef:NULL", "<value>OpaqueRef:NULL</value>"),
        ("int set", [1], "<value><array><data><value>1</value></data></array></value>"),
        ("string set", [], "<value><array><data></data></array></value>"),
        (
            "(string -> bool) map",
            {"<": False},
            (
                "<value><struct><member><name>&lt;</name><value><boolean>0</boolean></value>"
                "</member></struct></value>"
            ),
        ),
    ],
)
def test_values(kind: str, value, expected: str):
    assert render(parse(kind, {}), value) == expected


def test_control_characters_are_dropped():
    assert escape("a\x01b\tc\nd\x7f\ud800") == "ab\tc\nd"


def test_only_counts_are_i4():
    assert RPC.codec.count(3) == b"<value><i4>3</i4></value>"


def test_an_answer_has_no_white_space_between_tags():
    answer = RPC.success(Request("m", []), b"<value>x</value>").decode()

    assert answer == (
        '<?xml version="1.0"?><methodResponse><params><param><value><struct>'
        "<member><name>Status</name><value>Success</value></member>"
        "<member><name>Value</name><value>x</value></member>"
        "</struct></value></param></params></methodResponse>"
    )


def test_a_failure_is_a_normal_answer():
    failure = RPC.failure(Request("m", []), ["CODE", "a<b"])
    (decoded,), _ = xmlrpc.client.loads(failure.decode())

    assert decoded == {"Status": "Failure", "ErrorDescription": ["CODE", "a<b"]}


def test_the_list_of_methods_has_no_envelope():
    answer = RPC.success(Request("system.listMethods", []), RPC.codec.array([b"<value>a</value>"]))

    assert xmlrpc.client.loads(answer.decode())[0] == (["a"],)


def test_a_call_as_common_clients_write_it():
    params = ("s", 1, 2.5, True, ["a", {"k": "v"}], {"": ""})
    sent = xmlrpc.client.dumps(params, "VM.start").encode()

    assert RPC.parse(sent) == Request("VM.start", list(params))


def test_untyped_nil_and_date_values():
    call = (
        "<methodCall><methodName>m</methodName><params>"
        "<param><value>text</value></param>"
        "<param><value><nil/></value></param>"
        "<param><value><dateTime.iso8601>20240131T12:00:00Z</dateTime.iso8601></value></param>"
        "<param><value><i8>9007199254740993</i8></value></param>"
        "</params></methodCall>"
    )

    expected = ["text", None, "20240131T12:00:00Z", 9007199254740993]
    assert RPC.parse(call.encode()).params == expected


@pytest.mark.parametrize(
    "broken",
    [
        "<bad",
        "",
        "{}",
        "<other/>",
        "<methodCall/>",
        "<methodCall><methodName>m</methodName><params><param/></params></methodCall>",
        (
            "<methodCall><methodName>m</methodName><params><param><value><int>x</int></value>"
            "</param></params></methodCall>"
        ),
        (
            "<methodCall><methodName>m</methodName><params><param><value><what/></value>"
            "</param></params></methodCall>"
        ),
        (
            "<methodCall><methodName>m</methodName><params><param><value><boolean>2</boolean>"
            "</value></param></params></methodCall>"
        ),
    ],
)
def test_what_is_no_call(broken: str):
    with pytest.raises(MalformedError):
        RPC.parse(broken.encode())


def test_a_record_is_encoded_by_the_types_of_its_class_and_once():
    row = Row("r", {"domid": -1, "is_a_template": True}, 1, 1)
    first = RPC.codec.record(DataModel.load().classes["VM"], row)

    assert first == (
        b"<value><struct><member><name>domid</name><value>-1</value></member>"
        b"<member><name>is_a_template</name><value><boolean>1</boolean></value></member>"
        b"</struct></value>"
    )
    assert RPC.codec.record(DataModel.load().classes["VM"], row) is first
