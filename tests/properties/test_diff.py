"""The diff of two records, against jsonpatch as the oracle."""

import json
from typing import Any

import jsonpatch
import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xoproxy.cache.diff import changed_fields, operations, split

names = st.text("ab/~0. é", max_size=3)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e300, 2**53, 2**64, "", "0", "1", "true", "é", "\n"]),
)
flat_maps = st.dictionaries(names, scalars, max_size=4)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=6,
)
records = st.dictionaries(names, values | flat_maps, max_size=6)


@st.composite
def record_pairs(draw):
    """Draw a record and what became of it: mostly the same, in another order and spelling."""
    before = draw(records)
    after = dict(draw(st.permutations(list(before.items()))))
    for name in list(after):
        match draw(st.sampled_from(["keep", "keep", "drop", "change", "touch"])):
            case "drop":
                del after[name]
            case "change":
                after[name] = draw(values)
            case "touch" if isinstance(after[name], dict):
                after[name] = {**after[name], **draw(flat_maps)}
            case _:
                pass
    return before, {**after, **draw(st.dictionaries(names, values, max_size=2))}


def typed(value):
    """Make a value whose equality is JSON's: type-strict, members without order."""
    if isinstance(value, dict):
        return {"map": {name: typed(v) for name, v in value.items()}}
    if isinstance(value, list):
        return [typed(v) for v in value]
    return (type(value).__name__, value)


def encode(value, *, spaced: bool) -> bytes:
    """Write JSON in one of two spellings, which differ in order, white space and escapes."""
    return json.dumps(
        value, ensure_ascii=spaced, indent=1 if spaced else None, sort_keys=spaced
    ).encode()


def patch(before: bytes, after: bytes, *, sets_by_member: bool = True) -> Any:
    """Return the operations that lead from one record to another, as on the wire."""
    differing = changed_fields(before, after)
    if differing is None:
        return []
    cut = split(differing[0]), split(differing[1])
    steps = operations("", *cut, sets_by_member=sets_by_member)
    return msgspec.json.decode(msgspec.json.encode(list(steps)))


@given(pair=record_pairs(), spaced_before=st.booleans(), spaced_after=st.booleans())
@example(pair=({"a": True}, {"a": 1}), spaced_before=False, spaced_after=False)
@example(pair=({"a": 1}, {"a": 1.0}), spaced_before=False, spaced_after=False)
@example(pair=({"a": {"": 0}}, {"a": {"": False}}), spaced_before=False, spaced_after=False)
@example(
    pair=({"~1": 1, "/": {"~0": 1}}, {"~1": 2, "/": {"~0": 2}}),
    spaced_before=False,
    spaced_after=True,
)
@example(pair=({"a": None}, {}), spaced_before=False, spaced_after=False)
@example(pair=({"a": {}}, {"a": []}), spaced_before=False, spaced_after=False)
@settings(max_examples=300)
def test_applying_the_patch_gives_the_new_record(pair, spaced_before, spaced_after):
    before, after = pair
    ops = patch(encode(before, spaced=spaced_before), encode(after, spaced=spaced_after))

    assert typed(jsonpatch.apply_patch(before, ops)) == typed(after)


@given(record_pairs(), st.booleans())
@settings(max_examples=200)
def test_there_is_a_patch_exactly_when_the_records_differ(pair, spaced):
    before, after = pair
    ops = patch(encode(before, spaced=False), encode(after, spaced=spaced))

    assert bool(ops) == (typed(before) != typed(after))
    assert bool(ops) == bool(jsonpatch.make_patch(before, after).patch)


@given(record_pairs())
@settings(max_examples=200)
def test_every_operation_is_needed(pair):
    before, after = pair
    ops = patch(encode(before, spaced=False), encode(after, spaced=True))

    for left_out in range(len(ops)):
        rest = ops[:left_out] + ops[left_out + 1 :]
        assert typed(jsonpatch.apply_patch(before, rest)) != typed(after)


@given(record_pairs())
@settings(max_examples=200)
def test_the_changed_values_lead_back_as_well_as_forth(pair):
    before, after = (encode(record, spaced=False) for record in pair)
    there, back = changed_fields(before, after), changed_fields(after, before)

    if there is None:
        assert back is None
    else:
        assert back is not None
        assert [split(side) for side in there] == [split(side) for side in reversed(back)]


references = st.integers(0, 60).map(lambda number: f"OpaqueRef:{number:036}")


@st.composite
def set_pairs(draw):
    """Draw a set and what became of it: members came and went, sometimes in another order."""
    before = draw(st.lists(references, max_size=50, unique=draw(st.booleans())))
    after = [member for member in before if draw(st.integers(0, 9))]
    for member in draw(st.lists(references, max_size=4)):
        after.insert(draw(st.integers(0, len(after))), member)
    if not draw(st.integers(0, 5)):
        after = draw(st.permutations(after))
    return before, after


@given(pair=set_pairs())
def test_sets_come_out_in_the_same_order_however_they_change(pair):
    before, after = ({"s": value} for value in pair)
    steps = patch(encode(before, spaced=False), encode(after, spaced=False))
    assert after == jsonpatch.apply_patch(before, steps)


@given(pair=set_pairs())
def test_members_are_never_longer_than_the_whole_set(pair):
    before, after = ({"s": value} for value in pair)
    steps = patch(encode(before, spaced=False), encode(after, spaced=False))
    whole = [{"op": "replace", "path": "/s", "value": after["s"]}]
    assert len(json.dumps(steps)) <= len(json.dumps(whole)) + 2 * len(steps)
