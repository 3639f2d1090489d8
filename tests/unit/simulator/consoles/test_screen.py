"""What a screen shows, and what it says has changed."""

import pytest

from xoproxy.simulator.consoles.screen import COLUMNS, HEIGHT, ROWS, WIDTH, Screen


@pytest.fixture
def screen() -> Screen:
    return Screen("vm-1")


def line(screen: Screen, row: int) -> str:
    return "".join(screen.characters[row * COLUMNS : (row + 1) * COLUMNS]).rstrip()


def changed(screen: Screen, before: list[int]) -> set[int]:
    return {n for n, (a, b) in enumerate(zip(before, screen.versions, strict=True)) if a != b}


def test_a_new_screen_shows_its_title_and_a_prompt(screen):
    assert [line(screen, row) for row in range(3)] == [" vm-1", "", ">"]


def test_a_title_is_replaced_whole_and_cut_to_the_screen(screen):
    screen.set_title("x" * 200)
    assert line(screen, 0) == " " + "x" * 79
    screen.set_title("y")
    assert line(screen, 0) == " y"


def test_text_goes_on_in_the_next_line_when_it_is_full(screen):
    screen.type("a" * 100)

    assert [line(screen, 2), line(screen, 3)] == ["> " + "a" * 78, "a" * 22]


def test_only_what_changed_is_said_to_have(screen):
    before = list(screen.versions)
    screen.type("ab")

    assert changed(screen, before) == {2 * COLUMNS + 2, 2 * COLUMNS + 3}


def test_erasing_stops_at_the_prompt_and_rings(screen):
    screen.type("ab")
    screen.erase()
    assert (line(screen, 2), screen.bells) == ("> a", 0)
    screen.erase()
    screen.erase()
    assert (line(screen, 2), screen.bells) == (">", 1)


def test_the_last_line_scrolls_everything_but_the_title(screen):
    for number in range(ROWS):
        screen.type(f"{number}\n")

    assert line(screen, 0) == " vm-1"
    assert line(screen, 1) == ""
    assert [line(screen, row) for row in (2, ROWS - 2, ROWS - 1)] == ["> 3", "> 24", ">"]


def test_a_moved_pointer_changes_where_it_was_and_is(screen):
    screen.point(4, 40)
    before = list(screen.versions)
    screen.point(400, 200)

    assert {cell // COLUMNS for cell in changed(screen, before)} == {2, 12}
    before = list(screen.versions)
    screen.point(400, 200)
    assert changed(screen, before) == set()


def test_the_pointer_stays_on_the_screen(screen):
    screen.point(65535, 65535)

    assert screen.pointer == (WIDTH - 1, HEIGHT - 1)


def test_those_who_watch_are_told(screen):
    told = []
    screen.changed.append(lambda: told.append(1))
    screen.type("x")
    screen.point(1, 1)
    screen.ring()
    screen.set_title("z")

    assert len(told) == 4
