import pytest

from xoproxy.cache.filter_syntax import Criterion, Op
from xoproxy.cache.filter_values import Refusal, is_nothing, key_check, regex_of, value_check
from xoproxy.cache.schema import FieldType

STRING, INT, FLOAT = FieldType("string"), FieldType("int"), FieldType("float")
BOOL, DATE, REF = FieldType("bool"), FieldType("datetime"), FieldType("ref")
ENUM = FieldType("enum", values=frozenset({"Running", "Halted"}))
TAGS, NUMBERS = FieldType("set", "string"), FieldType("set", "int")
REFS, OPERATIONS = FieldType("set", "ref"), FieldType("set", "enum", values=frozenset({"start"}))
TEXTS, RATES, FLAGS = FieldType("map", "string"), FieldType("map", "float"), FieldType("map", "set")

OPS = {"": Op.HAS, "=": Op.IS, "<": Op.LESS, "<=": Op.AT_MOST, ">": Op.MORE, ">=": Op.AT_LEAST}


def criterion(text):
    """Read a criterion as it is written: `>4`, `=x`, `/x/i`, null."""
    if text == "null":
        return Criterion(Op.NULL)
    if text.startswith("/"):
        pattern, _, flags = text[1:].rpartition("/")
        return Criterion(Op.REGEX, pattern, ignore_case=bool(flags))
    op = text[: len(text) - len(text.lstrip("<>="))]
    return Criterion(OPS[op], text[len(op) :])


@pytest.mark.parametrize(
    ("kind", "written", "passing", "failing"),
    [
        (STRING, "WEB", ["web", "my Web-1"], ["we b", "", None, 1, ["web"]]),
        (STRING, "straße", ["STRASSE 1"], ["strase"]),
        (STRING, "=web", ["web"], ["Web", "web-1", None]),
        (STRING, "=", [""], ["x"]),
        (STRING, "/^web/", ["web-1"], ["my web", "Web", 1, None, ["web"]]),
        (STRING, "/^web/i", ["Web-1"], ["my web"]),
        (STRING, "null", [None], ["", "x"]),
        (ENUM, "Running", ["Running"], ["running", "Run", None]),
        (ENUM, "=Running", ["Running"], ["Halted"]),
        (ENUM, "=Dreaming", ["Dreaming"], ["Running"]),
        (ENUM, "/^R/", ["Running"], ["Halted"]),
        (REF, "OpaqueRef:1", ["OpaqueRef:1"], ["OpaqueRef:11", "opaqueref:1"]),
        (REF, "null", ["OpaqueRef:NULL", None], ["OpaqueRef:1", ""]),
        (BOOL, "true", [True], [False, 1, "true", None]),
        (BOOL, "=false", [False], [True, 0, None, ""]),
        (INT, "4", [4, 4.0], [5, "4", True, None]),
        (INT, "1", [1], [True]),
        (INT, "0", [0], [False]),
        (INT, "=-1", [-1], [1]),
        (INT, ">4", [5, 4.5], [4, "5", True, None]),
        (INT, ">=4", [4, 5], [3]),
        (INT, "<4", [3, -1], [4, False]),
        (INT, "<=4", [4], [5]),
        (INT, ">9007199254740992", [9007199254740993], [9007199254740992]),
        (INT, ">=4KiB", [4096], [4095]),
        (INT, "1.5GiB", [3 << 29], [1.5]),
        (FLOAT, "0.5", [0.5], [0.6]),
        (FLOAT, ">1e3", [1001], [1000, None]),
        (
            DATE,
            "2024-01-31",
            ["20240131T12:00:00Z", "2024-01-31T00:00:00Z"],
            ["20240130T00:00:00Z"],
        ),
        (DATE, "=20240131T12:00:00Z", ["20240131T12:00:00Z"], ["20240131T12:00:01Z"]),
        (DATE, ">20240131", ["20240201T00:00:00Z"], ["20240131T12:00:00Z", None]),
        (DATE, ">=2024-01-31", ["20240131T00:00:00Z"], ["20240130T23:59:59Z"]),
        (DATE, "<2024", ["20231231T23:59:59Z"], ["20240101T00:00:00Z"]),
        (DATE, "<=2024-01", ["20240131T00:00:00Z"], ["20240201T00:00:00Z"]),
        (DATE, ">2024-01-31T12:00", ["20240131T12:01:00Z"], ["20240131T12:00:59Z"]),
        (DATE, "/T12/", ["20240131T12:00:00Z"], ["20240131T11:00:00Z"]),
        (TAGS, "prod", [["prod"], ["a", "prod"]], [["Prod"], ["production"], [], "prod", None]),
        (TAGS, "/^p/", [["a", "prod"]], [["a"], [], "prod"]),
        (TAGS, "null", [[], None], [["a"]]),
        (NUMBERS, "1", [[0, 1]], [[0], [True]]),
        (NUMBERS, ">1", [[0, 2]], [[0, 1]]),
        (REFS, "OpaqueRef:1", [["OpaqueRef:1"]], [["OpaqueRef:2"], []]),
        (OPERATIONS, "start", [["start"]], [["start_on"]]),
        (TEXTS, "auto", [{"auto": "1"}, {"x": "auto"}], [{"auto_x": "1"}, {}, None, "auto"]),
        (TEXTS, "/^a/", [{"auto": ""}, {"x": "auto"}], [{"x": "y"}]),
        (TEXTS, "null", [{}, None], [{"a": ""}]),
    ],
)
def test_a_value_is_tested_by_its_type(kind, written, passing, failing):
    check = value_check("field", kind)(criterion(written))

    assert [v for v in passing if not check(v)] == []
    assert [v for v in failing if check(v)] == []


@pytest.mark.parametrize("field", ["uuid", "obj_uuid", "PVS_uuid"])
def test_uuids_are_compared_whole(field):
    check = value_check(field, STRING)(Criterion(Op.HAS, "abc"))

    assert check("abc")
    assert not check("abcd")
    assert not check("ABC")


@pytest.mark.parametrize(
    ("kind", "written", "passing", "failing"),
    [
        (TEXTS, "TRUE", ["true", "is true"], ["false", None]),
        (TEXTS, "=true", ["true"], ["True"]),
        (TEXTS, ">4", ["5", "4.5", "1e3"], ["4", "five", "", "9" * 99, None]),
        (TEXTS, "null", [None], ["", "x"]),
        (RATES, ">0.5", [0.6], [0.5, "0.6"]),
        (FLAGS, "online", [["online"]], [["offline"], "online"]),
    ],
)
def test_the_value_of_a_key_is_tested_by_the_maps_type(kind, written, passing, failing):
    check = key_check(kind)(criterion(written))

    assert [v for v in passing if not check(v)] == []
    assert [v for v in failing if check(v)] == []


@pytest.mark.parametrize(
    ("kind", "written", "message", "hint"),
    [
        (STRING, ">4", "only numbers and dates", ":value"),
        (ENUM, ">4", "only numbers and dates", ":value"),
        (ENUM, "running", "there is no 'running'", "Running"),
        (OPERATIONS, "Start", "there is no 'Start'", "start"),
        (ENUM, "Runing", "there is no 'Runing'", "did you mean Running"),
        (REF, "<4", "only numbers and dates", ":value"),
        (BOOL, "yes", "true or false", ":true"),
        (BOOL, ">true", "true or false", ":true"),
        (BOOL, "/t/", "true or false", ":true"),
        (INT, "four", "this is a number", ":4"),
        (INT, "nan", "this is a number", ":4"),
        (INT, "1_000", "this is a number", ":4"),
        (INT, "9" * 99, "this is a number", ":4"),
        (INT, "/4/", "this is a number", ":4"),
        (FLOAT, ">inf", "this is a number", ":4"),
        (DATE, ">yesterday", "this is a date", "20240131"),
        (DATE, "=31.1.2024", "this is a date", "20240131"),
        (TAGS, ">4", "only numbers and dates", ":value"),
        (TEXTS, ">4", "this is a map", ".key"),
        (STRING, "/(/", "is not closed", ""),
        (TAGS, "/(/", "is not closed", ""),
        (TEXTS, "/(/", "is not closed", ""),
    ],
)
def test_what_makes_no_sense_for_a_type_is_refused(kind, written, message, hint):
    with pytest.raises(Refusal) as raised:
        value_check("field", kind)(criterion(written))

    assert message in raised.value.message
    assert hint in (raised.value.hint or "")


def test_numbers_in_maps_are_checked_when_the_filter_is_read():
    with pytest.raises(Refusal, match="number"):
        key_check(TEXTS)(Criterion(Op.MORE, "many"))


@pytest.mark.parametrize("value", [None, "OpaqueRef:NULL", [], {}])
def test_nothing(value):
    assert is_nothing(value)


@pytest.mark.parametrize("value", [False, 0, 0.0, "", "null", [None], {"": None}])
def test_something(value):
    assert not is_nothing(value)


def test_equal_patterns_are_one():
    first = Criterion(Op.REGEX, "^web", ignore_case=True)

    assert regex_of(first) is regex_of(Criterion(Op.REGEX, "^web", ignore_case=True))
    assert regex_of(first) is not regex_of(Criterion(Op.REGEX, "^web"))
