import json
import re
from importlib.resources import files

import pytest

from tests.shared import shared_path
from tools.make_schema import render
from xoproxy.cache.schema import SCHEMA, FieldType, Schema
from xoproxy.model import XapiClass

VM = XapiClass("VM")


@pytest.mark.parametrize(
    ("cls", "field", "expected"),
    [
        ("VM", "name_label", FieldType("string")),
        ("VM", "VCPUs_max", FieldType("int")),
        ("VM", "is_a_template", FieldType("bool")),
        ("VM", "snapshot_time", FieldType("datetime")),
        ("VM", "resident_on", FieldType("ref", target=XapiClass("host"))),
        ("VM", "VBDs", FieldType("set", "ref", XapiClass("VBD"))),
        ("VM", "tags", FieldType("set", "string")),
        ("VM", "other_config", FieldType("map", "string")),
        ("VM", "blobs", FieldType("map", "ref", XapiClass("blob"))),
        ("VM_metrics", "VCPUs_utilisation", FieldType("map", "float")),
        ("VM_metrics", "VCPUs_flags", FieldType("map", "set")),
        ("network", "assigned_ips", FieldType("map", "string")),
        ("pool_link", "objects", FieldType("int")),
    ],
)
def test_types_are_understood(cls, field, expected):
    assert SCHEMA.fields(cls)[field] == expected


def test_enums_have_their_known_values():
    expected = {"Halted", "Paused", "Running", "Suspended"}

    assert SCHEMA.fields(VM)["power_state"] == FieldType("enum", values=frozenset(expected))
    assert "start" in SCHEMA.fields(VM)["allowed_operations"].values
    assert "live" in SCHEMA.fields(XapiClass("pool_link"))["state"].values


def test_classes_without_events_cannot_be_asked_for():
    without = {"secret", "session", "event", "auth", "data_source", "sr_stat"}

    assert not SCHEMA.classes & without
    assert {"VM", "host", "message", "task", "VM_guest_metrics"} <= SCHEMA.event_classes


def test_the_classes_of_the_proxy_are_not_a_pools():
    own = {"pool_link", "pool_config", "user", "group", "user_role", "grant", "api_token"}

    assert SCHEMA.proxy_classes == own
    assert SCHEMA.classes - SCHEMA.event_classes == own
    assert not SCHEMA.event_classes & own
    assert SCHEMA.proper_case("pool_link") is None


def test_events_name_classes_in_lower_case():
    for cls in SCHEMA.event_classes:
        assert SCHEMA.proper_case(cls.lower()) == cls
    assert SCHEMA.proper_case("vm_metrics") == "VM_metrics"
    assert SCHEMA.proper_case("secret") is None


def test_a_class_that_we_do_not_know_has_no_fields():
    assert SCHEMA.fields(XapiClass("Quantum_link")) == {}


def test_who_has_a_field_is_known():
    assert set(SCHEMA.classes_with("power_state")) == {"VM"}


def test_the_schema_cannot_be_changed():
    with pytest.raises(TypeError):
        SCHEMA.fields(VM)["x"] = FieldType("int")  # type: ignore[index]


def test_a_type_that_we_cannot_read_is_an_error():
    with pytest.raises(ValueError, match=re.escape("unknown type 'blob of mud'")):
        Schema({"X": {"f": "blob of mud"}}, {}, {})


def test_the_package_data_is_what_the_tool_makes():
    full = json.loads(shared_path("xapi/datamodel.json").read_text())

    assert render(full) == files("xoproxy.cache").joinpath("schema.json").read_text()
