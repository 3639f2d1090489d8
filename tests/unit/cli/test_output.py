"""How values look to people, and JSON to programs."""

import json
from datetime import UTC, datetime

import pytest

from xoproxy.cli.output import cell, print_json, print_members, print_rows, said


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        ("", ""),
        ("2026 Tower", "2026 Tower"),
        ("2026-01-02", "2026-01-02"),
        ({"code": "UNREACHABLE", "message": "No answer."}, "No answer. (UNREACHABLE)"),
        ({"id": "a", "name": "bob"}, "bob"),
        ({"kind": "tag", "value": "prod", "text": "tag prod"}, "tag prod"),
        ({"class": "VM", "name": "web", "uuid": "u"}, "VM web"),
        ({"class": "VBD", "name": "", "uuid": "u"}, "VBD u"),
        ({"class": "VBD", "name": "", "uuid": None}, "VBD -"),
        ([], "-"),
        ([{"id": "a", "name": "bob"}, "view"], "bob, view"),
    ],
)
def test_values_are_written_for_people(value, shown):
    assert cell(value) == shown


def test_moments_are_written_in_the_time_zone_of_the_reader():
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    expected = moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert cell("2026-01-02T03:04:05.678Z") == expected


def test_json_is_one_line_and_keeps_letters(capsys):
    print_json({"name": "Zürich\n"})
    out = capsys.readouterr().out
    assert out == '{"name": "Zürich\\n"}\n'
    assert json.loads(out) == {"name": "Zürich\n"}


def test_rows_that_are_piped_stay_on_one_line_each(capsys):
    rows = [{"id": "a", "name": "x" * 300}, {"id": "b"}]
    print_rows(rows, {"id": "ID", "name": "NAME"}, "none")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["ID", "NAME"], ["a", "x" * 300], ["b", "-"]]


def test_control_characters_of_a_name_do_not_reach_the_terminal(capsys):
    print_rows([{"id": "a\x1b[2Jb\x07"}], {"id": "ID"}, "none")
    print_members({"id": "a\x1b[2Jb\x07"}, {"id": "Id"})
    print_members({"id": [{"name": "a\x1b[2Jb\x07"}]}, {"id": "Id"})
    said({}, "a\x1b[2Jb\x07").show()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out


def test_no_rows_say_what_to_do(capsys):
    print_rows([], {"id": "ID"}, "Add one.")
    assert capsys.readouterr().out == "Add one.\n"
