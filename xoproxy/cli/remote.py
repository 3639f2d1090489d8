"""The administration commands' way to a running proxy: plain HTTP requests to its public API.

`http.client` rather than a library: it starts in no time, and it takes no HTTP proxy from the
environment for what is mostly this machine.
"""

import base64
import json
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from xoproxy import __version__
from xoproxy.cli.access import Access, access
from xoproxy.cli.exits import Exit, fail

_TIMEOUT_S = 30.0
_SECURE = {"https", "wss"}
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Address of the proxy; else XOPROXY_URL, else this machine.",
        show_default=False,
    ),
]
AsUser = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="USER",
        help="Sign in as this user rather than with XOPROXY_TOKEN.",
        show_default=False,
    ),
]
AsPasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--as-password-file",
        metavar="FILE",
        help="File with that user's password; else XOPROXY_PASSWORD, else a prompt.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def remote(url: str | None, user: str | None, password_file: Path | None) -> "Remote":
    """Build a `Remote` from what the options and the environment say."""
    return Remote(access(url, user, password_file))


class Remote:
    """A running proxy's API. Whatever goes wrong ends the command with one line and its code."""

    def __init__(self, found: Access) -> None:
        self._url = urlsplit(found.url)
        self._shown = f"{self._url.scheme}://{self._url.netloc.rpartition('@')[2]}"
        self._headers = {
            "Accept": "application/json",
            "Authorization": _authorization(found.credentials),
            "User-Agent": f"xoproxy/{__version__}",
        }

    def get(self, *path: str) -> Any:  # noqa: ANN401 - JSON
        return self._request("GET", path)

    def post(self, *path: str, body: Mapping[str, object] | None = None, expected: str = "") -> Any:  # noqa: ANN401
        """Post; a problem with the code `expected` is returned as {"error": ..}."""
        return self._request("POST", path, body, expected)

    def patch(self, *path: str, body: Mapping[str, object]) -> Any:  # noqa: ANN401
        return self._request("PATCH", path, body)

    def delete(self, *path: str) -> None:
        self._request("DELETE", path)

    def _request(
        self,
        method: str,
        path: tuple[str, ...],
        body: Mapping[str, object] | None = None,
        expected: str = "",
    ) -> Any:  # noqa: ANN401
        segments = "/".join(quote(segment, safe="") for segment in path)
        target = f"{self._url.path.rstrip('/')}/api/v1/{segments}"
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, target, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            content = response.read()
        except ssl.SSLError as error:
            fail(f"no secure connection to {self._shown}: {error.reason}", Exit.UNREACHABLE)
        except TimeoutError:
            fail(f"{self._shown} does not answer within {_TIMEOUT_S:g} s", Exit.UNREACHABLE)
        except OSError as error:
            fail(
                f"cannot reach a proxy at {self._shown} ({error.strerror or error}); is `xoproxy "
                "serve` running, and is XOPROXY_URL right?",
                Exit.UNREACHABLE,
            )
        except HTTPException:
            fail(f"what answers at {self._shown} does not speak HTTP", Exit.UNREACHABLE)
        finally:
            connection.close()
        return self._result(response, content, expected)

    def _connection(self) -> HTTPConnection:
        kind = HTTPSConnection if self._url.scheme in _SECURE else HTTPConnection
        return kind(self._url.hostname or "", self._url.port, timeout=_TIMEOUT_S)

    def _result(self, response: HTTPResponse, content: bytes, expected: str) -> Any:  # noqa: ANN401
        if response.status == HTTPStatus.NO_CONTENT:
            return None
        try:
            result = json.loads(content)
        except ValueError:
            broken = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            fail(
                f"what answers at {self._shown} is not xoproxy, or in trouble "
                f"(HTTP {response.status})",
                Exit.FAILURE if broken else Exit.UNREACHABLE,
            )
        if response.status < HTTPStatus.BAD_REQUEST:
            return result
        error = result.get("error") if isinstance(result, dict) else None
        if expected and isinstance(error, dict) and error.get("code") == expected:
            return result
        message = error.get("message") if isinstance(error, dict) else f"HTTP {response.status}"
        refused = response.status in _REFUSED
        return fail(str(message), Exit.UNAUTHORISED if refused else Exit.FAILURE)


def _authorization(credentials: Mapping[str, str]) -> str:
    if "token" in credentials:
        return f"Bearer {credentials['token']}"
    pair = f"{credentials['username']}:{credentials['password']}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
