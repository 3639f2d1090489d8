"""Which equality terms follow from a filter."""

import msgspec
import pytest

from xoproxy.cache.filter import parse_filter
from xoproxy.cache.terms import Conditions, Equals, conditions_of, followed, values_of
from xoproxy.model import XapiClass

VM, HOST = XapiClass("VM"), XapiClass("host")


def conditions(text, *classes):
    return conditions_of(parse_filter(text, classes or (VM,)), classes or (VM,))


def terms(*pairs):
    return Conditions(terms=frozenset(Equals(VM, field, value) for field, value in pairs))


WHOLE = Conditions(classes=frozenset({VM}))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tags:prod", terms(("tags", "prod"))),
        ("uuid:x-1", terms(("uuid", "x-1"))),
        ("power_state:Running", terms(("power_state", "Running"))),
        ("is_a_template", terms(("is_a_template", "true"))),
        ("resident_on:OpaqueRef:1", terms(("resident_on", "OpaqueRef:1"))),
        ('name_label:="web 1"', terms(("name_label", "web 1"))),
        ("tags:(prod | test)", terms(("tags", "prod"), ("tags", "test"))),
        ("tags:prod | uuid:x-1", terms(("tags", "prod"), ("uuid", "x-1"))),
        ("power_state:Running tags:prod", terms(("tags", "prod"))),
        ("tags:(a | b) uuid:x-1", terms(("uuid", "x-1"))),
        ("name_label:web tags:prod", terms(("tags", "prod"))),
        ("tags:prod !tags:old", terms(("tags", "prod"))),
        ("name_label:web", WHOLE),
        ("!tags:prod", WHOLE),
        ("tags:prod | name_label:web", WHOLE),
        ("web", WHOLE),
        ("VCPUs_max:4", WHOLE),
        ("tags:null", WHOLE),
        ("resident_on:null", WHOLE),
        ("resident_on.name_label:=x", WHOLE),
        ("other_config.k:=v", WHOLE),
        ("tags:/^prod$/", WHOLE),
        ("snapshot_time:=2024", WHOLE),
    ],
)
def test_what_must_hold(text, found):
    assert conditions(text) == found


def test_without_a_filter_all_objects_fit():
    assert conditions_of(None, [VM]) == WHOLE


def test_a_reference_that_is_cut_makes_no_term():
    """A hidden one is shown as NULL, though the record has another."""
    assert conditions("resident_on:OpaqueRef:NULL") == WHOLE


def test_each_class_has_its_own():
    found = conditions("power_state:Running | name_label:=x", VM, HOST)
    assert found.terms == {
        Equals(VM, "power_state", "Running"),
        Equals(VM, "name_label", "x"),
        Equals(HOST, "name_label", "x"),
    }
    assert conditions("!power_state:Running", VM, HOST).classes == {VM, HOST}


def test_the_fields_that_are_followed_to():
    expression = parse_filter("resident_on.enabled:true | !affinity.name_label:x", [VM])
    assert set(followed(expression, [VM])) == {(HOST, "enabled"), (HOST, "name_label")}
    assert set(followed(parse_filter("other_config.k:v", [VM]), [VM])) == set()


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (b'"a"', ["a"]),
        (b"true", ["true"]),
        (b"false", ["false"]),
        (b'["a","b",1]', ["a", "b"]),
        (b"1", []),
        (b"null", []),
        (b'{"a":"b"}', []),
    ],
)
def test_the_texts_of_a_value(raw, values):
    assert list(values_of(msgspec.Raw(raw))) == values
