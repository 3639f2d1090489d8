import json

import pytest

from xoproxy.cache.diff import split
from xoproxy.cache.fields import FieldPath, Mask, field_path
from xoproxy.cache.query_error import QueryError
from xoproxy.model import XapiClass

VM = XapiClass("VM")


def mask(*texts):
    return Mask.of(field_path(text, VM) for text in texts)


def shown(a_mask, record):
    cut = a_mask.cut(split(json.dumps(record).encode()))
    return {name: json.loads(bytes(value)) for name, value in cut.items()}


@pytest.mark.parametrize(
    ("text", "path", "canonical"),
    [
        ("name_label", FieldPath("name_label"), "name_label"),
        ('"name_label"', FieldPath("name_label"), "name_label"),
        ("other_config.folder", FieldPath("other_config", "folder"), "other_config.folder"),
        ('other_config."folder"', FieldPath("other_config", "folder"), "other_config.folder"),
        ('other_config."xo:id"', FieldPath("other_config", "xo:id"), 'other_config."xo:id"'),
        ('other_config."a.b"', FieldPath("other_config", "a.b"), 'other_config."a.b"'),
        ('other_config."q\\"\\\\"', FieldPath("other_config", 'q"\\'), 'other_config."q\\"\\\\"'),
        ('other_config.""', FieldPath("other_config", ""), 'other_config.""'),
    ],
)
def test_paths(text, path, canonical):
    assert field_path(text, VM) == path
    assert str(path) == canonical
    assert field_path(canonical, VM) == path


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("", 0, "a name is missing", None),
        ("other_config.", 13, "a name is missing", None),
        (".x", 2, "a name is missing", None),
        ("other_config.xo:id", 15, "unexpected ':'", 'other_config."xo:id"'),
        ("other_config.a b", 14, "unexpected ' '", 'other_config."a b"'),
        ("other_config.a.b", 13, "a map of plain values", 'other_config."a.b"'),
        ('other_config."a', 13, "quotation mark is not closed", None),
        ("name_label.x", 11, "name_label of VM is no map", "write name_label"),
        ("tags.x", 5, "tags of VM is no map", "write tags"),
        ("resident_on.name_label", 12, "resident_on of VM is no map", "class host"),
        ("$ref", 0, "$ref always comes", "leave it out"),
        ("$ref.x", 0, "$ref always comes", "leave it out"),
        ("Name_label", 0, "VM has no field 'Name_label'", "did you mean name_label?"),
        ("zzz", 0, "VM has no field 'zzz'", None),
        ("x" * 5000, 4096, "at most 4096 characters", None),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(text, position, message, hint):
    with pytest.raises(QueryError) as raised:
        field_path(text, VM)

    assert message in raised.value.message
    assert raised.value.position == position
    if hint is None:
        assert raised.value.hint is None
    else:
        assert hint in (raised.value.hint or "")


def test_a_mask_shows_the_fields_and_keys_that_it_names():
    record = {
        "uuid": "u",
        "name_label": "web",
        "other_config": {"folder": "a", "xo:id": "b", "secret": "c"},
        "tags": ["prod"],
    }

    assert shown(mask("name_label", "tags"), record) == {"name_label": "web", "tags": ["prod"]}
    assert shown(mask("other_config.folder"), record) == {"other_config": {"folder": "a"}}
    assert shown(mask('other_config."xo:id"', "other_config.folder", "uuid"), record) == {
        "uuid": "u",
        "other_config": {"folder": "a", "xo:id": "b"},
    }
    assert shown(mask(), record) == {}


def test_a_key_that_is_not_there_is_absent_and_leaves_an_empty_map():
    assert shown(mask("other_config.folder"), {"other_config": {"a": "b"}}) == {"other_config": {}}
    assert shown(mask("other_config.folder"), {"other_config": {}}) == {"other_config": {}}
    assert shown(mask("other_config.folder"), {"uuid": "u"}) == {}


def test_what_is_no_map_although_it_should_be_is_shown_as_it_is():
    assert shown(mask("other_config.folder"), {"other_config": None}) == {"other_config": None}


def test_a_field_that_is_named_as_a_whole_is_shown_as_a_whole():
    assert mask("other_config.folder", "other_config") == mask("other_config")
    assert mask("other_config.folder", "other_config").texts == ["other_config"]


def test_equal_masks_are_equal():
    one, two = (
        mask("uuid", "other_config.b", "other_config.a"),
        mask('other_config."a"', "uuid", "other_config.b", "uuid"),
    )

    assert one == two
    assert hash(one) == hash(two)
    assert one.texts == two.texts == ["other_config.a", "other_config.b", "uuid"]
    assert one.names == {"uuid", "other_config"}
