"""What all commands that talk to a running proxy share: where it is, and who asks."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import typer

from xoproxy.cli.exits import Exit, fail
from xoproxy.errors import ConfigError
from xoproxy.settings import read_secret

__all__ = ["Access", "Exit", "access", "fail"]

DEFAULT_URL = "http://127.0.0.1:8086"


@dataclass(frozen=True, slots=True)
class Access:
    """Where a proxy is and who asks.

    Args:
        url: of the proxy, "http://127.0.0.1:8086".
        credentials: members of the `auth` message.
    """

    url: str
    credentials: Mapping[str, str] = field(repr=False)

    @property
    def websocket_url(self) -> str:
        """The address of `/ws`.

        Raises:
            ConfigError: the URL is none that we can use.
        """
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
        if scheme is None or not host or parts.query or parts.fragment:
            raise ConfigError(f"{self.url!r} is no URL of a proxy: write http://host:8086")
        return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/ws"


def access(url: str | None, user: str | None, password_file: Path | None) -> Access:
    """Find out where the proxy is and how to sign in, asking only a person at a terminal.

    Args:
        url: from the command line; else XOPROXY_URL, else this machine.
        user: from the command line; else XOPROXY_TOKEN is used.
        password_file: from the command line; else XOPROXY_PASSWORD, else a prompt.

    Raises:
        ConfigError: something is missing or wrong.
    """
    found = Access(
        url or os.environ.get("XOPROXY_URL") or DEFAULT_URL, _credentials(user, password_file)
    )
    _ = found.websocket_url  # a wrong URL shall be said before anything else is done
    return found


def _credentials(user: str | None, password_file: Path | None) -> dict[str, str]:
    token = os.environ.get("XOPROXY_TOKEN")
    if not token and (path := os.environ.get("XOPROXY_TOKEN_FILE")):
        token = read_secret(Path(path), "XOPROXY_TOKEN_FILE")
    if user is None and token:
        if password_file is not None:
            raise ConfigError("--as-password-file needs --as USER")
        return {"token": token}
    if user is None:
        if not sys.stdin.isatty():
            raise ConfigError("set XOPROXY_TOKEN, or give --as USER")
        # not typer.prompt: it writes the last blank to standard output, into what --json prints
        print("User: ", end="", file=sys.stderr, flush=True)
        user = sys.stdin.readline().strip()
    return {"username": user, "password": _password(user, password_file)}


def _password(user: str, password_file: Path | None) -> str:
    if password_file is not None:
        return read_secret(password_file, "--as-password-file")
    if password := os.environ.get("XOPROXY_PASSWORD"):
        return password
    if not sys.stdin.isatty():
        raise ConfigError("set XOPROXY_PASSWORD, or give --as-password-file FILE")
    return str(typer.prompt(f"Password of {user}", hide_input=True, err=True))
