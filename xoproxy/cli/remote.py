"""The administration commands' way to a running proxy: plain HTTP requests to its public API.

`http.client` rather than a library: it starts in no time, and it takes no HTTP proxy from the
environment for what is mostly this machine.
"""

import base64
import json
import ssl
from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from inspect import Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import typer

from xoproxy import __version__
from xoproxy.cli.access import Access, access
from xoproxy.cli.exits import Exit, fail
from xoproxy.cli.output import Result, print_json

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


_Command = TypeVar("_Command", bound=Callable[..., Result])


def on_proxy(app: typer.Typer, name: str | None = None) -> Callable[[_Command], _Command]:
    """Make a command of a function of a `Remote`, and add the options that all of them take.

    Args:
        app: whose command it is.
        name: of the command; None: the function's.
    """

    def register(function: _Command) -> _Command:
        @wraps(function)
        def command(
            *,
            url: Url,
            as_user: AsUser,
            as_password_file: AsPasswordFile,
            as_json: Json,
            **own: Any,  # noqa: ANN401 - what the function takes
        ) -> None:
            result = function(Remote(access(url, as_user, as_password_file)), **own)
            if as_json:
                print_json(result.value)
            else:
                result.show()
            if result.code:
                raise typer.Exit(result.code)

        # typer makes the command line of what a function says that it takes
        _, *own = signature(function).parameters.values()
        together = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own, *_SHARED)]
        command.__dict__["__signature__"] = Signature(together)
        command.__annotations__ = {p.name: p.annotation for p in together}
        app.command(name)(command)
        return function

    return register


def _shared(
    url: Url = None,
    as_user: AsUser = None,
    as_password_file: AsPasswordFile = None,
    as_json: Json = False,
) -> None:
    """Say what all commands take."""


_SHARED = tuple(signature(_shared).parameters.values())


class Remote:
    """A running proxy's API. Whatever goes wrong ends the command with one line and its code."""

    def __init__(self, found: Access) -> None:
        self.password = found.credentials.get("password")
        """By which we sign in, if it is by one."""
        self._url = urlsplit(found.url)
        self._shown = f"{self._url.scheme}://{self._url.netloc.rpartition('@')[2]}"
        self._headers = {
            "Accept": "application/json",
            "Authorization": _authorization(found.credentials),
            "User-Agent": f"xoproxy/{__version__}",
        }

    def get(self, *path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        return self._request("GET", path, query=query)

    def post(self, *path: str, body: Mapping[str, object] | None = None, expected: str = "") -> Any:  # noqa: ANN401
        """Post; a problem with the code `expected` is returned as {"error": ..}."""
        return self._request("POST", path, body, expected)

    def patch(self, *path: str, body: Mapping[str, object]) -> Any:  # noqa: ANN401
        return self._request("PATCH", path, body)

    def put(self, *path: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401
        return self._request("PUT", path, body)

    def delete(self, *path: str) -> Any:  # noqa: ANN401
        return self._request("DELETE", path)

    def _request(
        self,
        method: str,
        path: tuple[str, ...],
        body: Mapping[str, object] | None = None,
        expected: str = "",
        query: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401
        segments = "/".join(quote(segment, safe="") for segment in path)
        target = f"{self._url.path.rstrip('/')}/api/v1/{segments}"
        if query:
            target += f"?{urlencode(query)}"
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
        message = _message(error) if isinstance(error, dict) else f"HTTP {response.status}"
        refused = response.status in _REFUSED
        return fail(message, Exit.UNAUTHORISED if refused else Exit.FAILURE)


def _message(error: Mapping[str, Any]) -> str:
    data = error.get("data")
    hint = data.get("hint") if isinstance(data, dict) else None
    return f"{error.get('message')}: {hint}" if hint else str(error.get("message"))


def _authorization(credentials: Mapping[str, str]) -> str:
    if "token" in credentials:
        return f"Bearer {credentials['token']}"
    pair = f"{credentials['username']}:{credentials['password']}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
