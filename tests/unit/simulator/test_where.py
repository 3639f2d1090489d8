"""The filter language of get_all_records_where."""

import pytest

from xoproxy.simulator.calls import where
from xoproxy.simulator.failures import XapiError

RECORD = {
    "name_label": "web",
    "is_a_template": False,
    "VCPUs_max": 2,
    "tags": ["a", "b"],
    "other_config": {"k": "v"},
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("true", True),
        ("false", False),
        ("not false", True),
        ('field "name__label"="web"', True),
        ('field "name_label" = "web"', True),
        ("field 'name__label'='db'", False),
        ('field "is_a_template"="false"', True),
        ('field "VCPUs_max"="2"', True),
        ("""field "tags"="('a' 'b')" """, True),
        ("""field "other_config"="(('k' 'v'))" """, True),
        ('"a"="a"', True),
        ("true and false or true", True),
        ("true or true and false", True),
        ("not false and false", False),
        ("(true or true) and false", False),
        ("not (true and false)", True),
        (r'field "name__label"="w\"b"', False),
    ],
)
def test_filters(expression: str, expected: bool):  # noqa: FBT001
    assert where.parse(expression)(RECORD) is expected


@pytest.mark.parametrize(
    "expression", ["", "bad(", 'field "x"', "true true", "(true", '"a" =', "not", "field = 'a'"]
)
def test_what_does_not_parse_is_an_invalid_value(expression: str):
    with pytest.raises(XapiError) as caught:
        where.parse(expression)
    assert caught.value.description[:2] == ["INVALID_VALUE", expression]


def test_an_unknown_field_is_an_error_when_a_record_is_looked_at():
    predicate = where.parse('field "nosuch"="x"')

    with pytest.raises(XapiError) as caught:
        predicate(RECORD)
    assert caught.value.description == ["INTERNAL_ERROR", "missing field", "nosuch", ""]
