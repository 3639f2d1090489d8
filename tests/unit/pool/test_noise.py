import pytest

from xoproxy.pool.noise import is_noise

REST = b'{"name_label":"a","current_operations":{},"allowed_operations":["scan","destroy"]}'
SCAN = b'{"name_label":"a","current_operations":{"t1":"scan"},"allowed_operations":[]}'
SCAN_2 = b'{"name_label":"a","current_operations":{"t2":"scan"},"allowed_operations":[]}'
SCAN_NAMED = b'{"name_label":"b","current_operations":{"t1":"scan"},"allowed_operations":[]}'
DESTROY = (
    b'{"name_label":"a","current_operations":{"t1":"scan","t2":"destroy"},"allowed_operations":[]}'
)
FEWER = b'{"current_operations":{"t1":"scan"},"allowed_operations":[]}'
ODD = b'{"name_label":"a","current_operations":[1],"allowed_operations":[]}'
NONE = b'{"name_label":"a"}'


@pytest.mark.parametrize(
    ("before", "after", "noise"),
    [
        (REST, SCAN, True),
        (SCAN, SCAN_2, True),
        (SCAN, REST, False),  # the return to rest must show, whatever we hold
        (REST, SCAN_NAMED, False),
        (REST, DESTROY, False),
        (REST, FEWER, False),
        (REST, ODD, False),
        (REST, NONE, False),
    ],
)
def test_only_passing_operations_are_held_back(before, after, noise):
    assert noise is is_noise(before, after, frozenset({"scan"}))
