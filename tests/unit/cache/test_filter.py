import json
import re
from pathlib import Path

import pytest

from xoproxy.cache import filter_places, filter_values
from xoproxy.cache.diff import split
from xoproxy.cache.filter import FilterError, parse_filter
from xoproxy.cache.filter_syntax import MAX_LENGTH, MAX_NESTING, MAX_TERMS
from xoproxy.cache.query import MAX_CLASSES, MAX_FIELDS, MAX_POOLS
from xoproxy.cache.regex import MAX_SIZE, MAX_TEXT
from xoproxy.cache.schema import SCHEMA
from xoproxy.model import XapiClass

VM, HOST, VBD, SR = map(XapiClass, ("VM", "host", "VBD", "SR"))

RECORD = {
    "uuid": "8d7c2a1e",
    "name_label": "Web-1 (prod)",
    "name_description": "the shop's front",
    "power_state": "Running",
    "tags": ["prod", "web"],
    "VCPUs_max": 8,
    "is_a_template": False,
    "is_control_domain": True,
    "resident_on": "OpaqueRef:h1",
    "affinity": "OpaqueRef:NULL",
    "appliance": "OpaqueRef:gone",
    "VBDs": [],
    "other_config": {"auto_poweron": "true", "a.b:c": "v", "cores": "4", "": "none"},
    "current_operations": {"OpaqueRef:t": "start"},
    "snapshot_time": "20240131T12:00:00Z",
}
HOST_RECORD = {
    "name_label": "xen-7",
    "enabled": True,
    "memory_overhead": 7,
    "tags": ["rack-a"],
    "other_config": {"site": "Grenoble"},
}


def follow(ref):
    return (HOST, split(json.dumps(HOST_RECORD).encode())) if ref == "OpaqueRef:h1" else None


def passes(text, record=None, cls=VM, classes=None):
    members = split(json.dumps(RECORD if record is None else record).encode())
    return parse_filter(text, classes or [cls]).matches(cls, members, follow)


@pytest.mark.parametrize(
    "text",
    [
        "power_state:Running",
        "tags:prod",
        "tags:(prod web)",
        "tags:(nope | web)",
        "tags:!nope",
        "!tags:nope",
        "name_label:web",
        'name_label:"1 (PROD"',
        'name_label:="Web-1 (prod)"',
        "name_label:/^web/i",
        "name_label:/\\d \\(/",
        "VCPUs_max:8",
        "VCPUs_max:>4",
        "VCPUs_max:(>4 <=8)",
        "is_control_domain",
        "!is_a_template",
        "is_a_template:false",
        "resident_on:OpaqueRef:h1",
        "resident_on.name_label:XEN",
        "resident_on.enabled",
        "resident_on.memory_overhead:<8",
        "resident_on.tags:rack-a",
        "resident_on.other_config.site:grenoble",
        "affinity:null",
        "affinity:OpaqueRef:NULL",
        "!resident_on:null",
        "VBDs:null",
        "suspend_VDI:null",  # absent
        "other_config.auto_poweron:true",
        'other_config."a.b:c":v',
        'other_config."":none',
        "other_config.cores:>=4",
        "other_config.nope:null",
        "other_config:auto_poweron",
        "current_operations:start",
        "snapshot_time:>=2024",
        "uuid:8d7c2a1e",
        "shop",
        "8d7c",
        '"front"',
        "/^Web/",
        "power_state:Running tags:prod (VCPUs_max:>9 | is_control_domain)",
    ],
)
def test_a_record_that_fits_passes(text):
    assert passes(text)


@pytest.mark.parametrize(
    "text",
    [
        "power_state:Halted",
        "tags:pro",
        "tags:Prod",
        "tags:(prod nope)",
        "name_label:/^web/",
        "name_label:=web",
        "name_label:null",
        "VCPUs_max:80",
        "VCPUs_max:>8",
        "is_a_template",
        "is_default_template",  # absent
        "is_default_template:false",
        "resident_on:OpaqueRef:h",
        "resident_on:null",
        "resident_on.name_label:web",
        "resident_on.name_description:null x",
        "affinity.name_label:xen",  # leads nowhere
        "affinity.name_label:null",
        "appliance.name_label:x",  # dangling
        "other_config.auto_poweron:null",
        "other_config.nope:x",
        "other_config:auto",
        "uuid:8d7c",
        "prod web nope",
        '"is_control_domain"',  # quoted: a search
        "Running",  # not a text that is searched
        "!power_state:Running",
    ],
)
def test_a_record_that_does_not_fit_does_not_pass(text):
    assert not passes(text)


def test_what_is_not_there_only_passes_as_null():
    assert not passes("name_label:x", {})
    assert not passes("tags:x", {})
    assert not passes("other_config.x:y", {})
    assert not passes("resident_on.name_label:x", {})
    assert passes("tags:null other_config:null other_config.x:null resident_on:null", {})
    assert passes("!tags:x", {})


def test_values_of_an_unexpected_type_do_not_pass():
    odd = {"name_label": 1, "tags": "prod", "other_config": [], "resident_on": 5, "VCPUs_max": "8"}

    for text in (
        "name_label:1",
        "tags:prod",
        "other_config.x:y",
        "resident_on.name_label:x",
        "VCPUs_max:>1",
    ):
        assert not passes(text, odd)


def test_a_term_on_a_field_that_a_class_lacks_is_false_for_it():
    classes = [VM, HOST]

    assert passes("power_state:Running", classes=classes)
    assert not passes("power_state:Running", HOST_RECORD, HOST, classes)
    assert passes("!power_state:Running", HOST_RECORD, HOST, classes)
    assert passes("power_state:Running | enabled", HOST_RECORD, HOST, classes)
    assert not passes("power_state:null", HOST_RECORD, HOST, classes)
    assert passes("tags:rack-a", HOST_RECORD, HOST, classes)


def test_a_bare_word_is_a_boolean_field_for_the_classes_that_have_it():
    assert passes("enabled", HOST_RECORD, HOST, [VM, HOST])
    assert not passes("enabled", {"name_label": "enabled"}, VM, [VM, HOST])
    assert passes("enabled", {"name_label": "enabled"}, VM, [VM])


def test_a_class_that_we_do_not_know_is_searched_only():
    new = XapiClass("Quantum_link")

    assert passes("web | power_state:Running", {"name_label": "Web"}, new, [VM])
    assert not passes("power_state:Running", {"power_state": "Running"}, new, [VM])
    assert parse_filter("web power_state:Running", [VM]).fields(new) == {
        "name_label",
        "name_description",
        "name",
        "uuid",
    }


@pytest.mark.parametrize(
    ("text", "classes", "position", "message", "hint"),
    [
        ("powerstate:Running", [VM], 0, "VM has no field 'powerstate'", "power_state"),
        ("x Power_State:Running", [VM], 2, "no field 'Power_State'", "power_state"),
        ("zzz:1", [VM], 0, "VM has no field 'zzz'", None),
        ("zzz:1", [VM, HOST], 0, "none of the classes has a field 'zzz'", None),
        ("device_config:x", [VM], 0, "no field 'device_config'", "PBD has it"),
        ("power_state:running", [VM], 12, "there is no 'running'", "Running"),
        ("VCPUs_max:many", [VM], 10, "this is a number", ":4"),
        ("tags:(a | >4)", [VM], 10, "only numbers", ":value"),
        ("tags.x:1", [VM], 0, "tags is a set", None),
        ("VBDs.device:x", [VM], 0, "VBDs is a set", "other class"),
        ("name_label.x:1", [VM], 0, "nothing can follow it", None),
        ("other_config.a.b:1", [VM], 0, "map of plain values", 'other_config."a.b"'),
        ("resident_on.zzz:1", [VM], 0, "host has no field 'zzz'", None),
        ("resident_on.nam_label:1", [VM], 0, "host has no", "name_label"),
        ("VM.resident_on.name_label:x", [VBD], 0, "only one reference", None),
        ("resident_on.metrics.live:true", [VM], 0, "only one reference", None),
        ("name_label:/a(/", [VM], 13, "this '(' is not closed", None),
        ("/[/", [VM], 1, "this '[' is not closed", None),
        ("", [VM], 0, "empty", None),
        ("name:x", [VM], 0, "VM has no field 'name'", "name_label?; Certificate has it"),
        ("cpus:4", [VM], 0, "no field 'cpus'", "VCPUs_max"),
        ("resident_on:xen-7", [VM], 12, "this is a reference", ".name_label:xen-7"),
        ("VBDs:xvda", [VM], 5, "this is a reference", "VBD"),
        ("power_state:Runing", [VM], 12, "there is no 'Runing'", ':="Runing"'),
        ("x and y", [VM], 2, "'and' is just a word", "side by side"),
        ("x OR y", [VM], 2, "'OR' is just a word", '| b:2, or search for it in quotes: "OR"'),
        ("not enabled", [HOST], 0, "'not' is just a word", "!a:1"),
        ("x && y", [VM], 2, "'&&' is just a word", "side by side"),
        ("x || y", [VM], 3, "something is missing here", "'|' stands once"),
        ("power_state=Running", [VM], 0, "just a word", "write power_state:Running"),
        ("(VCPUs_max>=4)", [VM], 1, "just a word", "write VCPUs_max:>=4"),
        ("name_label!=x", [VM], 0, "just a word", "write name_label:!x"),
        ("name_label=", [VM], 0, "just a word", "write name_label:value"),
        ("-is_a_template", [VM], 0, "just a word", "write !is_a_template"),
        ("other_config.folder", [VM], 0, "just a word", "write !other_config.folder:null"),
        ("web*", [VM], 0, "just a word", "write /^web/i"),
        ("name_label:*a/b*c", [VM], 11, "stands for itself", "write /a\\/b.*c$/i"),
        ("tags:*", [VM], 5, "stands for itself", "!field:null"),
        ("'two words'", [VM], 0, "just a word", 'only " is a quotation mark'),
        ("name_label:'web'", [VM], 11, "stands for itself", 'only " is a quotation mark'),
        ("snapshot_time:yesterday", [VM], 14, "this is a date", "20240131"),
        ("snapshot_time:>2024-13", [VM], 14, "this is a date", "20240131"),
        ("VCPUs_max:> 4", [VM], 11, "something is missing here", "no space here"),
    ],
)
def test_errors_say_where_and_what_to_do(text, classes, position, message, hint):
    with pytest.raises(FilterError) as raised:
        parse_filter(text, classes)

    assert message in raised.value.message
    assert raised.value.position == position
    assert (raised.value.hint is None) if hint is None else (hint in (raised.value.hint or ""))


@pytest.mark.parametrize(
    "text",
    [
        '"and" "&&" "web*" "-is_a_template" "VCPUs_max>4" "other_config.folder"',
        "a=b x>4 -web o'neill name.example.org and/or R&D",
        'name_label:"web*" name_label:"\'x\'" tags:a=b',
        'power_state:="Dreaming" power_state:=Dreaming',
        "resident_on:OpaqueRef:NULL",
    ],
)
def test_what_is_quoted_or_no_slip_is_looked_for(text):
    parse_filter(text, [VM, HOST])


def test_the_hints_of_slips_are_filters():
    for text in ("power_state=Running", "VCPUs_max>=4", "name_label!=x", "-is_a_template", "web*"):
        with pytest.raises(FilterError) as raised:
            parse_filter(text, [VM])
        meant = (raised.value.hint or "").split("write ")[1].split(", or ")[0]
        parse_filter(meant, [VM])


def test_a_value_needs_to_make_sense_for_one_of_the_classes_only():
    # `type` is an enum of VDI and text of SR.
    for text in ("type:user", "type:nfs"):
        parse_filter(text, [XapiClass("VDI"), SR])


def test_regular_expressions_are_bounded_together():
    half = "a" * (MAX_SIZE // 2)
    parse_filter(f"name_label:/{half}/ /{half}/", [VM])

    with pytest.raises(FilterError, match="together"):
        parse_filter(f"name_label:/{half}/ /{half}/ /a/", [VM])


def test_a_filter_for_all_classes_may_name_any_field():
    parse_filter("power_state:Running | enabled | state:live", SCHEMA.classes)


def test_the_fields_that_a_filter_reads_are_its_own():
    parsed = parse_filter("resident_on.name_label:x power_state:Running web", [VM, HOST])

    assert parsed.fields(VM) == {
        "resident_on",
        "power_state",
        "name_label",
        "name_description",
        "uuid",
    }
    assert parsed.fields(HOST) == {"name_label", "name_description", "uuid"}
    assert parsed.follows
    assert not parse_filter("resident_on:null", [VM]).follows
    assert not parse_filter("other_config.x:1", [VM]).follows


def test_only_what_is_read_needs_to_be_there():
    class Counting(dict):
        def get(self, name, default=None):
            asked.add(name)
            return super().get(name, default)

    parsed = parse_filter("resident_on.name_label:xen (VCPUs_max:>4 | is_a_template)", [VM])
    asked: set = set()
    parsed.matches(VM, Counting(split(json.dumps(RECORD).encode())), follow)

    assert asked <= parsed.fields(VM)


def test_filters_that_differ_in_spelling_are_equal():
    one = parse_filter('power_state:Running  (tags:a|tags:"b") is_a_template', [VM])
    two = parse_filter("is_a_template:true tags:( b | a ) power_state:Running", [VM])

    assert one == two
    assert hash(one) == hash(two)
    assert one.text == two.text
    assert one != parse_filter("power_state:Running", [VM])
    assert one != one.text
    assert one.text in repr(one)


def test_the_examples_in_the_documentation_are_filters():
    page = (Path(__file__).parents[3] / "docs" / "queries.md").read_text()
    table = page.split("## Filters")[1].split("###")[0]
    examples = [
        row.replace("\\|", "|") for row in re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    ]

    assert len(examples) >= 15
    for example in examples:
        parse_filter(example, [VM])


def test_the_bounds_in_the_documentation_are_the_real_ones():
    page = (Path(__file__).parents[3] / "docs" / "queries.md").read_text()

    for bound in (
        f"{MAX_LENGTH:,} characters",
        f"{MAX_TERMS} terms",
        f"{MAX_NESTING} levels",
        f"{MAX_SIZE} characters of regular",
        f"first {MAX_TEXT:,} characters",
        f"{MAX_CLASSES} classes",
        f"{MAX_FIELDS:,} fields",
        f"{MAX_POOLS:,} pools",
    ):
        assert bound in page


def test_names_that_look_alike_are_looked_for_only_when_a_filter_is_refused(monkeypatch):
    """It takes a millisecond, and 200 terms meet 64 classes, most of which lack the field."""

    def too_dear(*_arguments):
        raise AssertionError("nobody asked for a hint")

    monkeypatch.setattr(filter_places, "did_you_mean", too_dear)
    monkeypatch.setattr(filter_values, "did_you_mean", too_dear)
    for text in (
        " ".join(f"w{number}" for number in range(200)),
        " ".join(f"other_config.k{number}:x" for number in range(150)),
        "allowed_operations:start type:nfs resident_on.name_label:x enabled is_a_template",
    ):
        parsed = parse_filter(text, SCHEMA.classes)
        for cls in SCHEMA.classes:
            parsed.fields(cls)
            parsed.matches(cls, {}, lambda _ref: None)
