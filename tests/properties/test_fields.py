"""Masks against plain Python: what they show, and that equal ones are equal."""

import json

from hypothesis import given
from hypothesis import strategies as st

from xoproxy.cache.diff import split
from xoproxy.cache.fields import FieldPath, Mask, field_path
from xoproxy.model import XapiClass

VM = XapiClass("VM")
MAPS = ("other_config", "platform")
PLAIN = ("name_label", "tags", "VCPUs_max")

keys = st.sampled_from(["k", "a.b", "xo:id", "", 'q"\\', "é", "a b"]) | st.text(max_size=5)
paths = st.one_of(
    st.sampled_from([*PLAIN, *MAPS]).map(FieldPath),
    st.builds(FieldPath, st.sampled_from(MAPS), keys),
)
records = st.fixed_dictionaries(
    {},
    optional={
        "name_label": st.text(max_size=5),
        "tags": st.lists(st.text(max_size=3), max_size=3),
        "VCPUs_max": st.integers(0, 9),
        **dict.fromkeys(MAPS, st.none() | st.dictionaries(keys, st.text(max_size=3), max_size=4)),
        "uuid": st.text(max_size=5),
    },
)


def naive(asked, record):
    whole = {path.field for path in asked if path.key is None}
    shown = {}
    for name, value in record.items():
        wanted = {path.key for path in asked if path.field == name}
        if name in whole or (wanted and value is None):
            shown[name] = value
        elif wanted:
            shown[name] = {k: v for k, v in value.items() if k in wanted}
    return shown


@given(st.lists(paths, max_size=8), records)
def test_a_mask_shows_what_is_asked_for(asked, record):
    cut = Mask.of(asked).cut(split(json.dumps(record).encode()))

    assert {name: json.loads(bytes(value)) for name, value in cut.items()} == naive(asked, record)


@given(st.lists(paths, max_size=8), st.randoms())
def test_the_order_of_paths_means_nothing(asked, shuffled):
    other = asked * 2
    shuffled.shuffle(other)

    assert Mask.of(other) == Mask.of(asked)
    assert Mask.of(other).texts == Mask.of(asked).texts


@given(paths)
def test_a_path_is_read_as_it_is_written(path):
    assert field_path(str(path), VM) == path
