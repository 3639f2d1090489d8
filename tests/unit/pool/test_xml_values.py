import json
import xmlrpc.client
from importlib.resources import files

import pytest

from tests.shared import shared_path
from tools.make_xml_types import render
from xoproxy.pool.xml_values import parameters, result_json


def read(xml: str):
    """Read a value as `xmlrpc.client` does."""
    text = f"<methodResponse><params><param>{xml}</param></params></methodResponse>"
    (value,), _ = xmlrpc.client.loads(text)
    return value


def told(method: str, xml: str):
    return json.loads(result_json(method, read(xml)))


def record(*members: tuple[str, str]) -> str:
    body = "".join(f"<member><name>{n}</name>{v}</member>" for n, v in members)
    return f"<value><struct>{body}</struct></value>"


FORTY_TWO = "<value>42</value>"


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("VM.get_memory_target", 42),
        ("VM.get_name_label", "42"),
        ("host.compute_free_memory", 42),
        ("network.get_MTU", 42),
        ("VM.get_nonsense", "42"),
        ("nonsense", "42"),
        ("pool.get_memory_target", "42"),
    ],
)
def test_integers_are_where_the_data_model_has_them(method, expected):
    assert told(method, FORTY_TWO) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807", 2**63 - 1),
        ("", ""),
        ("1.5", "1.5"),
        (" 1", " 1"),
        ("1_000", "1_000"),
        ("٣", "٣"),
    ],
)
def test_what_is_no_integer_stays_text(text, expected):
    assert told("VM.get_memory_target", f"<value>{text}</value>") == expected


def test_records_and_their_maps_and_sets_are_typed_by_their_class():
    vif = record(
        ("MTU", "<value>1500</value>"),
        ("device", "<value>0</value>"),
        ("trunks", f"<value><array><data>{FORTY_TWO}{FORTY_TWO}</data></array></value>"),
        ("currently_attached", "<value><boolean>1</boolean></value>"),
        ("unheard_of", FORTY_TWO),
    )
    expected = {
        "MTU": 1500,
        "device": "0",
        "trunks": [42, 42],
        "currently_attached": True,
        "unheard_of": "42",
    }
    assert told("VIF.get_record", vif) == expected
    assert told("VIF.get_all_records", record(("OpaqueRef:1", vif))) == {"OpaqueRef:1": expected}
    metrics = record(
        ("VCPUs_CPU", record(("0", FORTY_TWO))),
        ("VCPUs_flags", record(("0", f"<value><array><data>{FORTY_TWO}</data></array></value>"))),
        ("VCPUs_utilisation", record(("0", "<value><double>nan</double></value>"))),
    )
    assert told("VM_metrics.get_record", metrics) == {
        "VCPUs_CPU": {"0": 42},
        "VCPUs_flags": {"0": ["42"]},
        "VCPUs_utilisation": {"0": None},
    }


def test_records_within_records_are_typed():
    probed = record(
        ("sr", record(("total_space", FORTY_TWO), ("name_label", FORTY_TWO))),
        ("complete", "<value><boolean>0</boolean></value>"),
    )
    assert told("SR.probe_ext", f"<value><array><data>{probed}</data></array></value>") == [
        {"sr": {"total_space": 42, "name_label": "42"}, "complete": False}
    ]


def test_events_name_their_class_in_lower_case():
    event = record(
        ("id", "<value>7</value>"),
        ("class", "<value>vm_metrics</value>"),
        ("operation", "<value>mod</value>"),
        ("ref", "<value>OpaqueRef:1</value>"),
        ("snapshot", record(("memory_actual", FORTY_TWO), ("uuid", FORTY_TWO))),
    )
    events = f"<value><array><data>{event}</data></array></value>"
    batch = record(
        ("events", events),
        ("valid_ref_counts", record(("vm", "<value><i4>3</i4></value>"))),
        ("token", "<value>7,0</value>"),
    )
    expected = {
        "id": "7",
        "class": "vm_metrics",
        "operation": "mod",
        "ref": "OpaqueRef:1",
        "snapshot": {"memory_actual": 42, "uuid": "42"},
    }
    assert told("event.next", events) == [expected]
    assert told("event.from", batch) == {
        "events": [expected],
        "valid_ref_counts": {"vm": 3},
        "token": "7,0",
    }


def test_members_keep_their_order_and_texts_their_spelling():
    value = record(("b", '<value>é&lt;\n😀"\\</value>'), ("a", "<value/>"))
    assert result_json("VM.get_other_config", read(value)) == ('{"b":"é<\\n😀\\"\\\\","a":""}')


def test_dates_are_texts_and_what_is_no_number_is_nothing():
    xml = record(
        ("a", "<value><dateTime.iso8601>20240131T12:00:00Z</dateTime.iso8601></value>"),
        ("b", "<value><double>-inf</double></value>"),
        ("c", "<value><double>0.1</double></value>"),
    )
    assert told("task.get_other_config", xml) == {"a": "20240131T12:00:00Z", "b": None, "c": 0.1}


@pytest.mark.parametrize(
    "value", ["<value>x</value>", "<value><array><data/></array></value>", FORTY_TWO, record()]
)
@pytest.mark.parametrize(
    "method", ["VM.get_record", "VM.get_all_records", "VIF.get_trunks", "event.from", "event.next"]
)
def test_a_value_of_another_shape_passes_as_it_is(method, value):
    assert told(method, value) == read(value)


def test_parameters_are_what_xapi_reads_in_xml():
    values = ["OpaqueRef:s", 2**40, True, 1.5, ["x", 1], {"k": 2, "b": False}, "20240131T12:00:00Z"]

    assert parameters("VM.anything", values) == (
        "OpaqueRef:s",
        str(2**40),
        True,
        1.5,
        ["x", "1"],
        {"k": "2", "b": False},
        "20240131T12:00:00Z",
    )


@pytest.mark.parametrize("method", ["message.get_since", "Async.message.get_since"])
def test_dates_are_sent_as_dates_where_there_are_some(method):
    session, since = parameters(method, ["OpaqueRef:s", "20240131T12:00:00Z"])

    assert session == "OpaqueRef:s"
    assert isinstance(since, xmlrpc.client.DateTime)
    assert since.value == "20240131T12:00:00Z"
    assert parameters(method, ["OpaqueRef:s"]) == ("OpaqueRef:s",)
    assert parameters(method, ["OpaqueRef:s", 7]) == ("OpaqueRef:s", "7")


def test_the_facts_are_those_of_the_data_model():
    full = json.loads(shared_path("xapi/datamodel.json").read_text())
    assert render(full) == files("xoproxy.pool").joinpath("xml_types.json").read_text()
