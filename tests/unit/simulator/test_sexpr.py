"""S-expressions of XAPI database files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xoproxy.simulator import sexpr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("()", []),
        ("('a')", ["a"]),
        ("('a' 'b c' '')", ["a", "b c", ""]),
        ("(('k' 'v') ('' 'w'))", [["k", "v"], ["", "w"]]),
        ('(("name" "Windows|C:\\\\WINDOWS"))', [["name", "Windows|C:\\WINDOWS"]]),
        (r"""('say \"hi\"' 'it\'s')""", ['say "hi"', "it's"]),
        (r"""('(\'a\' \'b\')')""", ["('a' 'b')"]),
        ("('a'\n\t 'b' )", ["a", "b"]),
        ("(a 'b')", ["a", "b"]),
        ("'lonely'", "lonely"),
        ("('(' ')')", ["(", ")"]),
        (r"('\\\\')", ["\\\\"]),
    ],
)
def test_sets_and_maps_are_read(text: str, value: object) -> None:
    assert value == sexpr.parse(text)


@pytest.mark.parametrize("text", ["", "  ", "('a'", "('a') ('b')", ")", "('a", '("a)', "('a' ' )"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(sexpr.SexprError):
        sexpr.parse(text)


def test_an_unclosed_list_tells_what_was_read() -> None:
    with pytest.raises(sexpr.UnclosedError) as caught:
        sexpr.parse("(('a' '1') ('b' '2')")
    assert caught.value.value == [["a", "1"], ["b", "2"]]


def test_protected_white_space_comes_back() -> None:
    assert sexpr.unprotect("CPU%_%_X%.%.100%%%n%t%r%.%x") == "CPU    X  100%\n\t\r %x"


_values = st.recursive(
    st.text(alphabet=st.sampled_from("ab'\"\\() %\n")), lambda inner: st.lists(inner, max_size=4)
)


def _written(value: sexpr.Sexpr, quote: str) -> str:
    if isinstance(value, list):
        return "(" + " ".join(_written(inner, quote) for inner in value) + ")"
    for character in "\\'\"":
        value = value.replace(character, "\\" + character)
    return quote + value + quote


@given(value=_values, quote=st.sampled_from("'\""))
def test_what_xapi_writes_is_read_back(value: sexpr.Sexpr, quote: str) -> None:
    assert value == sexpr.parse(_written(value, quote))


def test_a_record_is_written_as_a_struct() -> None:
    record = {"name": "it's", "n": 4, "ok": True, "tags": ["a", 'b"'], "map": {"k": "\\v"}}
    written = sexpr.write_struct(record)
    assert sexpr.parse(written) == [
        "struct",
        ["name", "it's"],
        ["n", "4"],
        ["ok", ["boolean", "1"]],
        ["tags", ["array", "a", 'b"']],
        ["map", ["struct", ["k", "\\v"]]],
    ]


_plain = st.recursive(
    st.booleans() | st.text(alphabet=st.sampled_from("ab'\"\\() %\n")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
)


@given(value=st.dictionaries(st.sampled_from("abc"), _plain, max_size=3))
def test_a_struct_is_read_back(value: dict) -> None:
    assert sexpr.read_struct(sexpr.write_struct(value)) == value


@pytest.mark.parametrize("text", ["('other' 'a')", "('struct' 'a')", "('struct' ('a'))", "("])
def test_what_is_no_struct_is_refused(text: str) -> None:
    with pytest.raises(sexpr.SexprError):
        sexpr.read_struct(text)
