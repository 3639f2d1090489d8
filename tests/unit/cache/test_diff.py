import msgspec
import pytest

from xoproxy.cache.diff import (
    Put,
    Remove,
    changed_fields,
    escape,
    join,
    operations,
    same_json,
    same_value,
    split,
)


def wire(path, before: bytes, after: bytes, *, sets_by_member: bool = True):
    """Return the operations as a client would read them."""
    steps = operations(path, split(before), split(after), sets_by_member=sets_by_member)
    return msgspec.json.decode(msgspec.json.encode(list(steps)))


def test_split_keeps_the_values_as_they_were_written():
    fields = split(b'{"memory" : 4294967296, "other_config":{"a": 1 } ,"":[ ]}')

    assert {name: bytes(value) for name, value in fields.items()} == {
        "memory": b"4294967296",
        "other_config": b'{"a": 1 }',
        "": b"[ ]",
    }


def test_join_puts_together_what_split_cut():
    assert join(split(b'{"a":1,"b":{"c":[1.0,"x"]}}')) == b'{"a":1,"b":{"c":[1.0,"x"]}}'


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (True, 1),
        (False, 0),
        (1, 1.0),
        (None, False),
        ("1", 1),
        ([], {}),
        ([1], [True]),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"b": 1}),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
    ],
)
def test_values_of_another_type_or_order_differ(a, b):
    assert not same_value(a, b)
    assert not same_value(b, a)


def test_members_of_a_map_have_no_order():
    assert same_value({"a": 1, "b": [1.5, None]}, {"b": [1.5, None], "a": 1})
    assert same_json(msgspec.Raw(b'{"a":1,"b":2}'), msgspec.Raw(b'{"b": 2, "a": 1}'))


def test_a_record_spelt_differently_is_no_change():
    assert changed_fields(b'{"a":1,"b":{"x":1,"y":2}}', b'{ "b":{"y":2,"x":1}, "a":1 }') is None
    assert changed_fields(b'{"a":"\\u00e9"}', '{"a":"é"}'.encode()) is None


def test_changed_fields_holds_only_what_changed():
    before = b'{"uuid":"u","power_state":"Halted","tags":["a"],"domid":-1}'
    after = b'{"uuid":"u","power_state":"Running","tags":["a"],"domid":5}'

    assert changed_fields(before, after) == (
        b'{"power_state":"Halted","domid":-1}',
        b'{"power_state":"Running","domid":5}',
    )


def test_a_field_that_comes_or_goes_stands_on_one_side():
    assert changed_fields(b'{"a":1,"b":2}', b'{"b":2,"c":3}') == (b'{"a":1}', b'{"c":3}')


def test_a_field_changes_though_the_others_moved():
    assert changed_fields(b'{"a":1,"b":2}', b'{"b":3,"a":1}') == (b'{"b":2}', b'{"b":3}')


@pytest.mark.parametrize(
    ("segment", "escaped"), [("a", "a"), ("", ""), ("a/b", "a~1b"), ("~1", "~01"), ("~/", "~0~1")]
)
def test_path_segments_are_escaped_after_rfc_6901(segment, escaped):
    assert escaped == escape(segment)


def test_a_scalar_is_replaced():
    assert wire("/VM/k", b'{"domid":-1}', b'{"domid":5}') == [
        {"op": "replace", "path": "/VM/k/domid", "value": 5}
    ]


def test_a_field_is_added_and_removed():
    assert wire("/VM/k", b'{"old":null}', b'{"new":null}') == [
        {"path": "/VM/k/old", "op": "remove"},
        {"op": "add", "path": "/VM/k/new", "value": None},
    ]


def test_a_map_is_changed_by_its_keys():
    before = b'{"other_config":{"stay":"1","go/es":"2","":"3"}}'
    after = b'{"other_config":{"stay":"1","":"4","come~s":"5"}}'

    assert wire("/VM/k", before, after) == [
        {"path": "/VM/k/other_config/go~1es", "op": "remove"},
        {"op": "replace", "path": "/VM/k/other_config/", "value": "4"},
        {"op": "add", "path": "/VM/k/other_config/come~0s", "value": "5"},
    ]


def test_a_set_is_replaced_whole():
    assert wire("/VM/k", b'{"tags":["a","b"]}', b'{"tags":["b","a"]}') == [
        {"op": "replace", "path": "/VM/k/tags", "value": ["b", "a"]}
    ]


def test_a_map_that_becomes_something_else_is_replaced_whole():
    assert wire("/VM/k", b'{"x":{}}', b'{"x":[]}') == [
        {"op": "replace", "path": "/VM/k/x", "value": []}
    ]


def test_values_inside_a_map_are_replaced_whole():
    assert wire("/VM/k", b'{"flags":{"0":["a"]}}', b'{"flags":{"0":["b"]}}') == [
        {"op": "replace", "path": "/VM/k/flags/0", "value": ["b"]}
    ]


def test_unchanged_fields_beside_changed_ones_make_no_operation():
    assert wire("", b'{"same":{"x":1,"y":2},"a":1}', b'{"same":{"y":2, "x":1},"a":2}') == [
        {"op": "replace", "path": "/a", "value": 2}
    ]


def test_operations_encode_as_rfc_6902_objects():
    encoded = msgspec.json.encode([Put("add", "/a", msgspec.Raw(b"1.0")), Remove("/b")])

    assert encoded == b'[{"op":"add","path":"/a","value":1.0},{"op":"remove","path":"/b"}]'


def large(*members: str) -> bytes:
    return msgspec.json.encode({"VDIs": [*members, *(f"OpaqueRef:{n}" for n in range(20))]})


def test_a_member_of_a_large_set_comes_and_goes_by_itself():
    assert wire("/SR/1", large(), large("OpaqueRef:new")) == [
        {"op": "add", "path": "/SR/1/VDIs/0", "value": "OpaqueRef:new"}
    ]
    assert wire("/SR/1", large("OpaqueRef:a", "OpaqueRef:b"), large("OpaqueRef:a")) == [
        {"op": "remove", "path": "/SR/1/VDIs/1"}
    ]


def test_a_set_is_replaced_whole_for_who_did_not_ask_for_members():
    (step,) = wire("/SR/1", large(), large("OpaqueRef:new"), sets_by_member=False)
    assert (step["op"], step["path"], len(step["value"])) == ("replace", "/SR/1/VDIs", 21)


def test_members_go_from_the_back_and_come_from_the_front():
    assert wire("", large("a", "b", "c"), large("x", "y", "b")) == [
        {"op": "remove", "path": "/VDIs/2"},
        {"op": "remove", "path": "/VDIs/0"},
        {"op": "add", "path": "/VDIs/0", "value": "x"},
        {"op": "add", "path": "/VDIs/1", "value": "y"},
    ]


@pytest.mark.parametrize(
    "after",
    [
        msgspec.json.encode({"VDIs": [f"OpaqueRef:{n}" for n in (1, 0, *range(2, 20))]}),
        msgspec.json.encode({"VDIs": [7, *(f"OpaqueRef:{n}" for n in range(20))]}),
        msgspec.json.encode({"VDIs": ["x", "x", *(f"OpaqueRef:{n}" for n in range(20))]}),
        b'{"VDIs":[]}',
        b'{"VDIs":"none"}',
    ],
)
def test_a_set_is_replaced_whole_where_members_would_not_be_exact_or_shorter(after):
    (step,) = wire("", large(), after)
    assert (step["op"], step["path"]) == ("replace", "/VDIs")
