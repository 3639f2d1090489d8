"""How objects read in a terminal."""

import pytest

from xoproxy.cache.schema import SCHEMA
from xoproxy.cli.columns import (
    COLUMNS,
    age,
    cell,
    columns,
    harmless,
    moment,
    natural,
    size,
    targets,
)
from xoproxy.model import XapiClass


def text(cls, name, value, names=None):
    return cell(cls, name, value, (names or {}).get).plain


def test_the_usual_columns_are_fields_that_there_are():
    for cls, names in COLUMNS.items():
        assert set(names) <= set(SCHEMA.fields(XapiClass(cls))), cls


def test_a_class_without_usual_columns_gets_some():
    for cls in SCHEMA.classes:
        assert columns(cls), cls
    assert columns("VTPM")[0] == "uuid"


def test_fields_asked_for_are_shown_where_they_are():
    assert columns("VM", ["power_state", "address"]) == ("power_state",)
    assert columns("host", ["power_state", "address"]) == ("address",)


def test_references_lead_to_classes_with_names():
    assert targets("VM", columns("VM")) == {"host"}
    assert targets("VBD", columns("VBD")) == {"VM", "VDI"}
    assert targets("VM", ["metrics"]) == frozenset()


@pytest.mark.parametrize(
    ("cls", "name", "value", "shown"),
    [
        ("VM", "name_label", "web-01", "web-01"),
        ("VM", "power_state", "Running", "Running"),
        ("VM", "is_a_template", False, "no"),
        ("VM", "memory_dynamic_max", 4 << 30, "4 GiB"),
        ("SR", "physical_size", -1, ""),
        ("VM", "VCPUs_at_startup", 16, "16"),
        ("VM", "tags", ["a", "b"], "a, b"),
        ("VM", "tags", list("abcdef"), "a, b, c, d, +2"),
        ("VM", "other_config", {"k": "v"}, "k=v"),
        ("VM", "resident_on", "OpaqueRef:NULL", ""),
        ("host", "resident_VMs", ["OpaqueRef:1", "OpaqueRef:2"], "2"),
        ("task", "progress", 0.25, "0.25"),
        ("pool_link", "error", None, ""),
        ("pool_link", "error", {"code": "TIMEOUT", "message": "Late."}, "TIMEOUT: Late."),
        ("task", "created", "19700101T00:00:00Z", ""),
        ("VM", "unheard_of", 3, "3"),
    ],
)
def test_values(cls, name, value, shown):
    assert text(cls, name, value) == shown


def test_a_reference_shows_the_name_it_leads_to_or_its_beginning():
    names = {"OpaqueRef:1234567890": "xcp-1"}
    assert text("VM", "resident_on", "OpaqueRef:1234567890", names) == "xcp-1"
    assert text("VM", "resident_on", "OpaqueRef:abcdefghij") == "abcdefgh"


def test_power_states_are_coloured_and_names_are_not():
    assert cell("VM", "power_state", "Running", lambda _: None).style == "green"
    assert cell("VM", "name_label", "Running", lambda _: None).style == ""


def test_names_cannot_steer_the_terminal():
    assert harmless("a\x1b[31mb\rc\u202ed\u009bé") == "a\ufffd[31mb\ufffdc\ufffdd\ufffdé"
    assert "\x1b" not in text("VM", "tags", ["\x1b]0;title\x07"])
    assert text("VM", "name_label", "[bold]x[/bold]") == "[bold]x[/bold]"


def test_numbers_in_names_are_ordered_as_numbers():
    names = ["web-10", "Web-2", "db", "2nd", ""]
    assert sorted(names, key=natural) == ["", "2nd", "db", "Web-2", "web-10"]


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (1 << 30, "1 GiB"),
        (123_456_789, "118 MiB"),
        (5 << 60, "5120 PiB"),
    ],
)
def test_sizes(number, shown):
    assert size(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (200_000, "2 d")],
)
def test_ages(seconds, shown):
    assert age(seconds) == shown


def test_dates():
    found = moment("20240131T12:00:00Z")
    assert found is not None
    assert found.isoformat() == "2024-01-31T12:00:00+00:00"
    assert moment("no date") is None
