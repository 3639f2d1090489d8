"""Where the proxy is and who asks, from options and environment."""

import pytest

from xoproxy.cli.access import Access, access
from xoproxy.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("URL", "TOKEN", "TOKEN_FILE", "PASSWORD"):
        monkeypatch.delenv(f"XOPROXY_{name}", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)


@pytest.mark.parametrize(
    ("url", "websocket"),
    [
        ("http://127.0.0.1:8086", "ws://127.0.0.1:8086/ws"),
        ("http://127.0.0.1:8086/", "ws://127.0.0.1:8086/ws"),
        ("https://proxy.example/under/", "wss://proxy.example/under/ws"),
        ("http://[::1]:8086", "ws://[::1]:8086/ws"),
        ("wss://user:secret@proxy.example", "wss://proxy.example/ws"),
    ],
)
def test_the_websocket_is_beside_the_pages(url, websocket):
    assert Access(url, {}).websocket_url == websocket


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8086", "ftp://host", "http://", "http://host:port", "http://h/?x", "http://["],
)
def test_what_is_no_address_is_said_at_once(url, monkeypatch):
    monkeypatch.setenv("XOPROXY_TOKEN", "t")
    with pytest.raises(ConfigError, match="write http://host:8086"):
        access(url, None, None)


def test_url_and_token_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("XOPROXY_URL", "https://proxy.example")
    monkeypatch.setenv("XOPROXY_TOKEN", "xop_1")
    assert access(None, None, None) == Access("https://proxy.example", {"token": "xop_1"})


def test_a_named_user_goes_before_the_token(monkeypatch, tmp_path):
    monkeypatch.setenv("XOPROXY_TOKEN", "xop_1")
    monkeypatch.setenv("XOPROXY_PASSWORD", "from the environment")
    found = access(None, "admin", None).credentials
    assert found == {"username": "admin", "password": "from the environment"}
    (tmp_path / "secret").write_text("from the file\n")
    found = access(None, "admin", tmp_path / "secret").credentials
    assert found == {"username": "admin", "password": "from the file"}


def test_without_a_terminal_nobody_is_asked():
    with pytest.raises(ConfigError, match="XOPROXY_TOKEN"):
        access(None, None, None)
    with pytest.raises(ConfigError, match="XOPROXY_PASSWORD"):
        access(None, "admin", None)


def test_credentials_are_not_shown():
    assert "secret" not in repr(Access("http://h", {"password": "secret"}))
