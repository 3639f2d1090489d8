"""The font has what ASCII prints, each character a shape of its own."""

from xoproxy.simulator.consoles.font import CELL_HEIGHT, CELL_WIDTH, CELLS, drawable


def test_every_printable_character_has_a_cell_of_its_own():
    assert set(CELLS) == {chr(code) for code in range(0x20, 0x7F)}
    assert len(set(CELLS.values())) == len(CELLS)


def test_cells_are_all_of_one_size_and_keep_their_distance():
    for rows in CELLS.values():
        assert len(rows) == CELL_HEIGHT
        assert all(len(row) == CELL_WIDTH and set(row) <= {".", "#"} for row in rows)
        assert all(row[0] == row[-1] == "." for row in rows)


def test_other_text_becomes_drawable():
    assert drawable("plain") == "plain"
    assert drawable("Müller, señor Ŝ") == "Muller, senor S"
    assert drawable("日本\n") == "???"
