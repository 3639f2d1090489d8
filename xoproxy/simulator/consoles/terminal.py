"""The serial console of a machine: a login, and a shell that knows a few words.

It is one line that all its viewers share: everybody sees what anybody types. A viewer that does
not read loses what it did not read in time, as on a serial line.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

LINE_LIMIT: Final = 256
BACKLOG: Final = 64 * 1024  # bytes that wait for a viewer
BELL: Final = "\a"
_COMMANDS: Final = {
    "help": "this list",
    "hostname": "the name of this machine",
    "uptime": "for how long it has been running",
    "logout": "end the session",
}


class _Mode(Enum):
    LOGIN = auto()
    PASSWORD = auto()
    SHELL = auto()


class Terminal:
    """A serial line.

    Args:
        name: tells the machine's name.
        uptime_s: tells how long it has been running.
    """

    def __init__(self, name: Callable[[], str], uptime_s: Callable[[], float]) -> None:
        self._name = name
        self._uptime_s = uptime_s
        self._mode = _Mode.LOGIN
        self._line = ""
        self._user = ""
        self._after_return = False
        self._listeners: list[Callable[[str], None]] = []

    def attach(self, listener: Callable[[str], None]) -> None:
        """Let a viewer follow: it is told where things stand, then whatever happens."""
        self._listeners.append(listener)
        shown = "" if self._mode is _Mode.PASSWORD else self._line
        listener(f"\r\n{self._name()} ttyS0 (simulated)\r\n\r\n{self._prompt()}{shown}")

    def detach(self, listener: Callable[[str], None]) -> None:
        self._listeners.remove(listener)

    def type(self, text: str) -> None:
        """Take what a viewer typed: CR, LF or both end a line."""
        for character in text:
            follows_return, self._after_return = self._after_return, character == "\r"
            match character:
                case "\n" if follows_return:
                    pass
                case "\r" | "\n":
                    self._enter()
                case "\b" | "\x7f":
                    self._erase()
                case "\x15":  # Ctrl-U
                    while self._line:
                        self._erase()
                case "\x03" | "\x04":  # Ctrl-C, Ctrl-D
                    self._line = ""
                    self._say(f"^{chr(ord(character) + 64)}\r\n{self._prompt()}")
                case _ if character.isprintable() and len(self._line) < LINE_LIMIT:
                    self._line += character
                    self._say("" if self._mode is _Mode.PASSWORD else character)
                case _:
                    self._say(BELL)

    def _erase(self) -> None:
        if not self._line:
            self._say(BELL)
            return
        self._line = self._line[:-1]
        self._say("" if self._mode is _Mode.PASSWORD else "\b \b")

    def _enter(self) -> None:
        line, self._line = self._line.strip(), ""
        answer = ""
        match self._mode:
            case _Mode.LOGIN if line:
                self._user, self._mode = line, _Mode.PASSWORD
            case _Mode.PASSWORD:
                self._mode = _Mode.SHELL
            case _Mode.SHELL if line:
                answer = self._run(line) + "\r\n"
        self._say(f"\r\n{answer}{self._prompt()}")

    def _run(self, line: str) -> str:
        match line.split(maxsplit=1)[0]:
            case "help":
                return "\r\n".join(f"{word:<10}{use}" for word, use in _COMMANDS.items())
            case "hostname":
                return self._name()
            case "uptime":
                minutes = int(self._uptime_s()) // 60
                days, minutes = divmod(minutes, 1440)
                return f"up {days} days, {minutes // 60}:{minutes % 60:02}"
            case "logout" | "exit":
                self._mode = _Mode.LOGIN
                return ""
            case word:
                return f"{word}: command not found"

    def _prompt(self) -> str:
        match self._mode:
            case _Mode.LOGIN:
                return f"{self._name()} login: "
            case _Mode.PASSWORD:
                return "Password: "
            case _:
                return f"{self._user}@{self._name()}:~$ "

    def _say(self, text: str) -> None:
        if text:
            for listener in list(self._listeners):
                listener(text)


class TerminalViewer:
    """A viewer of a terminal: bytes in, bytes out, at most BACKLOG of them waiting."""

    def __init__(self, terminal: Terminal, wake: Callable[[], None]) -> None:
        self._terminal = terminal
        self._wake = wake
        self._waiting = bytearray()
        terminal.attach(self._hear)

    def receive(self, data: bytes) -> bool:
        """Take what came; all of it is activity."""
        self._terminal.type(data.decode("utf-8", "replace"))
        return True

    def take(self) -> bytes:
        """Return what is to be sent now."""
        data = bytes(self._waiting)
        self._waiting.clear()
        return data

    def close(self) -> None:
        self._terminal.detach(self._hear)

    def _hear(self, text: str) -> None:
        self._waiting += text.encode()
        del self._waiting[:-BACKLOG]
        self._wake()
