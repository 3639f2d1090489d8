"""The serial console; the tests read like a session."""

import pytest

from xoproxy.simulator.consoles.terminal import BACKLOG, Terminal, TerminalViewer

BANNER = "\r\nweb ttyS0 (simulated)\r\n\r\n"


class Session:
    def __init__(self) -> None:
        self.terminal = Terminal(lambda: "web", lambda: 93_900.0)
        self.viewer = TerminalViewer(self.terminal, lambda: None)

    def says(self) -> str:
        return self.viewer.take().decode()

    def type(self, text: str) -> str:
        assert self.viewer.receive(text.encode())
        return self.says()


@pytest.fixture
def session() -> Session:
    made = Session()
    assert made.says() == f"{BANNER}web login: "
    return made


@pytest.fixture
def shell(session) -> Session:
    session.type("root\rx\r")
    return session


def test_a_login_hides_the_password(session):
    assert session.type("root") == "root"
    assert session.type("\r\n") == "\r\nPassword: "
    assert session.type("secret") == ""
    assert session.type("\r") == "\r\nroot@web:~$ "


def test_an_empty_name_asks_again(session):
    assert session.type("\r") == "\r\nweb login: "


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_each_way_to_end_a_line_ends_one(shell, end):
    assert shell.type(f"hostname{end}") == "hostname\r\nweb\r\nroot@web:~$ "


def test_two_returns_are_two_lines(shell):
    assert shell.type("\r\r") == "\r\nroot@web:~$ " * 2
    assert shell.type("\n") == ""  # it belongs to the return before it


def test_a_line_can_be_edited(shell):
    assert shell.type("hostx\x7fname\r") == "hostx\b \bname\r\nweb\r\nroot@web:~$ "
    assert shell.type("abc\x15hostname\r").endswith("hostname\r\nweb\r\nroot@web:~$ ")
    assert shell.type("nonsense\x03") == "nonsense^C\r\nroot@web:~$ "
    assert shell.type("\b") == "\a"


def test_the_few_words_that_it_knows(shell):
    assert shell.type("uptime\r") == "uptime\r\nup 1 days, 2:05\r\nroot@web:~$ "
    assert "logout    end the session\r\n" in shell.type("help\r")
    assert shell.type("rm -rf /\r").endswith("\r\nrm: command not found\r\nroot@web:~$ ")
    assert shell.type("logout\r").endswith("web login: ")


def test_control_characters_and_overlong_lines_ring_the_bell(shell):
    assert shell.type("\x1b") == "\a"
    assert shell.type("x" * 300) == "x" * 256 + "\a" * 44


def test_one_who_comes_later_sees_where_things_stand(session):
    session.type("ro")
    late = TerminalViewer(session.terminal, lambda: None)

    assert late.take().decode() == f"{BANNER}web login: ro"
    session.type("ot\rpass")
    assert late.take().decode() == "ot\r\nPassword: "
    assert TerminalViewer(session.terminal, lambda: None).take().decode() == f"{BANNER}Password: "


def test_one_who_does_not_read_loses_the_oldest(session):
    lazy = TerminalViewer(session.terminal, lambda: None)
    for _ in range(10_000):
        session.type("\r")

    waiting = lazy.take()
    assert len(waiting) == BACKLOG
    assert waiting.endswith(b"web login: ")


def test_one_who_left_hears_nothing(session):
    other = TerminalViewer(session.terminal, lambda: None)
    other.take()
    other.close()
    session.type("x")

    assert other.take() == b""
