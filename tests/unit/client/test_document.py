"""Documents change whole or not at all, and what was handed out never changes."""

from copy import deepcopy

import pytest

from xoproxy.client.document import Document, difference
from xoproxy.client.errors import ProtocolFault
from xoproxy.client.messages import Operation


def document(**classes):
    made = Document(classes)
    for cls, objects in classes.items():
        made.classes[cls].update(objects)
    return made


def vm(ref, **members):
    return {"$ref": ref, **members}


@pytest.fixture
def two():
    return document(
        VM={"a": vm("R:a", name_label="web", other_config={"x": "1"}, tags=["t"]), "b": vm("R:b")},
        host={},
    )


def add(path, value):
    return Operation("add", path, value)


def replace(path, value):
    return Operation("replace", path, value)


def remove(path):
    return Operation("remove", path)


class TestPatch:
    def test_leaves_what_was_handed_out_as_it_was(self, two):
        seen = deepcopy(before := two.classes["VM"]["a"])
        two.patch(
            [
                replace("/VM/a/name_label", "db"),
                add("/VM/a/other_config/y", "2"),
                add("/VM/a/tags/0", "u"),
            ]
        )
        assert before == seen
        after = two.classes["VM"]["a"]
        assert (after["name_label"], after["tags"]) == ("db", ["u", "t"])
        assert after["other_config"] == {"x": "1", "y": "2"}

    def test_leaves_the_values_of_a_message_as_they_were(self, two):
        value = {"$ref": "R:c", "other_config": {}}
        two.patch([add("/VM/c", value), add("/VM/c/other_config/k", "v"), add("/VM/c/f", 1)])
        assert value == {"$ref": "R:c", "other_config": {}}
        assert two.classes["VM"]["c"] == {"$ref": "R:c", "other_config": {"k": "v"}, "f": 1}

    def test_that_does_not_fit_changes_nothing(self, two):
        before = deepcopy(two.as_json())
        with pytest.raises(ProtocolFault, match="remove /VM/z does not apply"):
            two.patch([remove("/VM/a"), add("/VM/b/n", 1), remove("/VM/z")])
        assert two.as_json() == before
        assert two.find("R:a") == ("VM", "a")

    @pytest.mark.parametrize("value", [None, [], {}, {"$ref": 1}, {"name_label": "x"}])
    def test_puts_objects_only_where_objects_are(self, two, value):
        with pytest.raises(ProtocolFault, match="an object is a map"):
            two.patch([add("/VM/c", value)])

    def test_never_changes_a_reference(self, two):
        with pytest.raises(ProtocolFault, match="never changes"):
            two.patch([replace("/VM/a/$ref", "R:z")])

    def test_needs_a_value(self, two):
        with pytest.raises(ProtocolFault, match="no value"):
            two.patch([Operation("add", "/VM/a/name_label")])

    @pytest.mark.parametrize("path", ["/order", "/total", "/VM", "", "/"])
    def test_has_no_members_of_a_window(self, two, path):
        with pytest.raises(ProtocolFault):
            two.patch([replace(path, 1)])

    def test_tells_what_changed_what_went_first(self, two):
        a = two.classes["VM"]["a"]
        deltas = two.patch(
            [add("/VM/c", vm("R:a")), add("/VM/d", vm("R:d")), remove("/VM/d"), remove("/VM/a")]
        )
        assert deltas == [("VM", "a", a, None), ("VM", "c", None, vm("R:a"))]

    def test_is_found_by_reference_from_then_on(self, two):
        assert two.find("R:a") == ("VM", "a")
        two.patch([add("/VM/c", vm("R:a")), remove("/VM/a"), add("/host/h", vm("R:h"))])
        assert two.find("R:a") == ("VM", "c")
        assert two.find("R:h") == ("host", "h")
        two.patch([remove("/VM/c")])
        assert two.find("R:a") is None


class TestRows:
    def test_that_are_the_same_share_the_object(self):
        again = document(VM={})
        again.put_rows("VM", ["$ref", "n"], ["b", "c"], [["R:b", 1], ["R:c", 2]])
        third = document(VM={})
        rows = [["R:b", True], ["R:c", 2]]
        third.put_rows("VM", ["$ref", "n"], ["b", "c"], rows, before=again)
        assert third.classes["VM"]["c"] is again.classes["VM"]["c"]
        assert third.classes["VM"]["b"]["n"] is True

    @pytest.mark.parametrize(
        ("fields", "keys", "rows"),
        [
            (["$ref"], ["a", "b"], [["R:a"]]),
            (["$ref", "n"], ["a"], [["R:a"]]),
            (["n"], ["a"], [["R:a"]]),
            (["$ref"], ["a"], [[None]]),
        ],
    )
    def test_that_do_not_fit_are_a_fault(self, two, fields, keys, rows):
        with pytest.raises(ProtocolFault):
            two.put_rows("VM", fields, keys, rows)


class TestDifference:
    def test_is_by_reference_whatever_the_keys(self):
        before = document(VM={"a": vm("R:1"), "b": vm("R:2", n=1), "c": vm("R:3")})
        after = document(VM={"x": vm("R:1"), "a": vm("R:2", n=True), "d": vm("R:4")}, host={})
        assert difference(before, after) == [
            ("VM", "c", vm("R:3"), None),
            ("VM", "a", vm("R:2", n=1), vm("R:2", n=True)),
            ("VM", "d", None, vm("R:4")),
        ]

    def test_of_the_same_is_nothing(self, two):
        assert difference(two, two) == difference(two, two.copy()) == []

    def test_to_nothing_is_all(self, two):
        assert [delta.after for delta in difference(two, Document(()))] == [None, None]


def test_a_copy_goes_its_own_way(two):
    copy = two.copy()
    two.patch([remove("/VM/a"), replace("/VM/b", vm("R:b", n=1))])
    assert copy.classes["VM"]["b"] == vm("R:b")
    assert len(copy) == 2
