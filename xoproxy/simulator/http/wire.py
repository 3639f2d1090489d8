"""What goes over the wire: request heads, the heads of answers, XAPI's HTML pages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

HEADER_LIMIT: Final = 1024
BODY_LIMIT: Final = 307_200

REASONS: Final = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorised",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    431: "Request Header Fields Too Large",
    500: "Internal Error",
    501: "Method Not Implemented",
    503: "Service Unavailable",
}


# What pages say above their text, where that is not the reason (http_svr.ml).
_HEADINGS: Final = {
    400: "HTTP 400 bad request",
    401: "HTTP 401 unauthorised",
    403: "HTTP 403 forbidden",
    408: "HTTP 408 request timeout",
    431: "HTTP 431 request header fields too large",
    500: "HTTP 500 internal server error",
    501: "HTTP 501 Method Not Implemented",
}


class PageError(Exception):
    """A request that is answered by an HTML page; the connection is closed.

    Args:
        status: one of REASONS.
        headers: in addition, like WWW-Authenticate.
        reason: instead of the usual one.
        bare: XAPI's handlers answer some errors by a head alone, without a page.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
        *,
        bare: bool = False,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.headers = dict(headers or {})
        self.reason = reason or REASONS[status]
        self.bare = bare


@dataclass(frozen=True, slots=True)
class Head:
    """The request line and the headers (names in lower case)."""

    method: str
    path: str
    version: str
    headers: dict[str, str]
    query: dict[str, str] = field(default_factory=dict)

    @property
    def keeps_alive(self) -> bool:
        asked = self.headers.get("connection", "").lower()
        return self.version != "1.0" and asked != "close"

    @property
    def cookies(self) -> dict[str, str]:
        """Read cookies as XAPI does (http.ml): XAPI's own clients put `&` between them."""
        text = self.headers.get("cookie", "")
        parts = (part.partition("=") for part in text.split(";" if ";" in text else "&"))
        return {unquote(name.strip()): unquote(value.strip()) for name, _, value in parts}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers; the connection is closed after it, as XAPI's handlers do.

    An empty content type is not sent.
    """

    body: bytes
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def parse_head(block: bytes) -> Head:
    first, *lines = block.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/"):  # noqa: PLR2004
        raise PageError(500)  # as XAPI: 400 is for handlers that miss a parameter
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    path, _, query = words[1].partition("?")
    asked = dict(reversed(parse_qsl(query, keep_blank_values=True)))  # the first one counts
    return Head(words[0], path, words[2].removeprefix("HTTP/"), headers, asked)


def body_length(head: Head) -> int:
    """Return Content-Length, without which XAPI reads nothing."""
    text = head.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit() or int(text) > BODY_LIMIT:
        raise PageError(500)
    return int(text)


def call_head(status: int, content_type: str, length: int, request: Head) -> bytes:
    """Return the head of an answer to a call."""
    return (
        f"{_status_line(request.version, status)}"
        f"Connection: {'keep-alive' if request.keeps_alive else 'close'}\r\n"
        "Cache-Control: no-cache, no-store\r\n"
        f"Content-Type: {content_type}\r\n"
        "Access-Control-Allow-Origin: *\r\n"
        "Access-Control-Allow-Headers: X-Requested-With\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def cors_head(request: Head) -> bytes:
    """Answer a browser's preflight."""
    asked = request.headers.get("access-control-request-headers", "")
    allowed = "X-Requested-With" + (f", {asked}" if asked else "")
    return (
        f"{_status_line(request.version, 200)}"
        f"Connection: {'keep-alive' if request.keeps_alive else 'close'}\r\n"
        "Cache-Control: no-cache, no-store\r\n"
        "Access-Control-Allow-Origin: *\r\n"
        f"Access-Control-Allow-Headers: {allowed}\r\n"
        "Access-Control-Allow-Methods: PUT\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def reply_head(reply: Reply, version: str) -> bytes:
    """Return the head of a handler's answer."""
    headers = dict(reply.headers)
    if reply.content_type:
        headers["Content-Type"] = reply.content_type
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"{_status_line(version, reply.status)}"
        "Connection: close\r\n"
        "Cache-Control: no-cache, no-store\r\n"
        "Access-Control-Allow-Origin: *\r\n"
        f"{extra}"
        f"Content-Length: {len(reply.body)}\r\n\r\n"
    ).encode()


def page(error: PageError, version: str) -> tuple[bytes, bytes]:
    """Return head and body of the HTML page that answers what is refused."""
    heading = _HEADINGS.get(error.status, error.reason)
    body = f"<html><body><h1>{heading}</h1>The request was refused.</body></html>".encode()
    extra = "".join(f"{name}: {value}\r\n" for name, value in error.headers.items())
    described = f"Content-Type: text/html\r\nContent-Length: {len(body)}\r\n"
    head = (
        f"{_status_line(version, error.status, error.reason)}"
        "Connection: close\r\n"
        "Cache-Control: no-cache, no-store\r\n"
        f"{extra}"
        f"{'' if error.bare else described}\r\n"
    ).encode()
    return head, b"" if error.bare else body


def _status_line(version: str, status: int, reason: str | None = None) -> str:
    """Answer HTTP/1.0 in kind."""
    return f"HTTP/{'1.0' if version == '1.0' else '1.1'} {status} {reason or REASONS[status]}\r\n"
