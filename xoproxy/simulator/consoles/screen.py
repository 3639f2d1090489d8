"""A text screen that several viewers look at, with a pointer over it.

Content counts in cells, each with a number that rises when it changes, so that every viewer can
tell by itself what it has not yet seen; nothing is kept per viewer here.
"""

from collections.abc import Callable
from typing import Final

from xoproxy.simulator.consoles.font import CELL_HEIGHT, CELL_WIDTH, drawable

COLUMNS: Final = 80
ROWS: Final = 25
WIDTH: Final = COLUMNS * CELL_WIDTH
HEIGHT: Final = ROWS * CELL_HEIGHT
FIRST_ROW: Final = 2  # of what is typed, below the title
PROMPT: Final = "> "
POINTER_REACH: Final = 4  # pixels to each side

PLAIN: Final = 0
TITLE: Final = 1


class Screen:
    """The screen of one machine. `changed` callbacks run after every change."""

    def __init__(self, title: str) -> None:
        self.characters = [" "] * (COLUMNS * ROWS)
        self.styles = [TITLE] * COLUMNS + [PLAIN] * (COLUMNS * (ROWS - 1))
        self.versions = [0] * (COLUMNS * ROWS)
        self.pointer: tuple[int, int] | None = None
        self.changed: list[Callable[[], None]] = []
        self.bells = 0
        self._version = 0
        self._row = FIRST_ROW
        self._column = 0
        self.set_title(title)
        self.type(PROMPT)

    def set_title(self, title: str) -> None:
        """Write what machine this is into the first line."""
        self._version += 1
        text = f" {drawable(title)}"[:COLUMNS].ljust(COLUMNS)
        for column, character in enumerate(text):
            self._put(column, character)
        self._tell()

    def type(self, text: str) -> None:
        """Write where the cursor is; a newline starts a line with the prompt."""
        self._version += 1
        for character in text:
            if character == "\n":
                self._new_line()
                for each in PROMPT:
                    self._write(each)
            else:
                for each in drawable(character):
                    self._write(each)
        self._tell()

    def erase(self) -> None:
        """Take back the last character of the line; there is nothing before the prompt."""
        if self._column <= len(PROMPT):
            self.ring()
            return
        self._version += 1
        self._column -= 1
        self._put(self._row * COLUMNS + self._column, " ")
        self._tell()

    def ring(self) -> None:
        """Ring the bell."""
        self.bells += 1
        self._tell()

    def point(self, x: int, y: int) -> None:
        """Move the pointer."""
        moved = min(x, WIDTH - 1), min(y, HEIGHT - 1)
        if moved == self.pointer:
            return
        self._version += 1
        for place in filter(None, (self.pointer, moved)):
            for cell in _under(*place):
                self.versions[cell] = self._version
        self.pointer = moved
        self._tell()

    def _write(self, character: str) -> None:
        if self._column == COLUMNS:
            self._new_line()
        self._put(self._row * COLUMNS + self._column, character)
        self._column += 1

    def _new_line(self) -> None:
        self._column = 0
        if self._row < ROWS - 1:
            self._row += 1
            return
        kept = self.characters[(FIRST_ROW + 1) * COLUMNS :] + [" "] * COLUMNS
        for offset, character in enumerate(kept):
            self._put(FIRST_ROW * COLUMNS + offset, character)

    def _put(self, cell: int, character: str) -> None:
        if self.characters[cell] != character:
            self.characters[cell] = character
            self.versions[cell] = self._version

    def _tell(self) -> None:
        for callback in list(self.changed):
            callback()


def _under(x: int, y: int) -> list[int]:
    """List the cells that a pointer covers."""
    columns = range(
        max(0, x - POINTER_REACH) // CELL_WIDTH, min(WIDTH - 1, x + POINTER_REACH) // CELL_WIDTH + 1
    )
    rows = range(
        max(0, y - POINTER_REACH) // CELL_HEIGHT,
        min(HEIGHT - 1, y + POINTER_REACH) // CELL_HEIGHT + 1,
    )
    return [row * COLUMNS + column for row in rows for column in columns]
