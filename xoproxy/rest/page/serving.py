"""Serves the page with a policy under which only its own script and style can run.

The page is one file, so script and style stand in it; the policy names them by their hashes, which
are computed from the file as it is. No other script runs, however it came in; nothing is loaded
from anywhere; connections go to this origin only; no markup is ever made from text.
"""

import base64
import gzip
import hashlib
import re
from collections.abc import Sequence
from http import HTTPStatus
from importlib.resources import files

from aiohttp import hdrs, web

_ELEMENT = re.compile(rb"<(?P<name>script|style)>(?P<content>.*?)</(?P=name)>", re.DOTALL)


def content_policy(page: bytes) -> str:
    """Return the Content-Security-Policy of a page, with the hashes of its inline elements."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for element in _ELEMENT.finditer(page):
        digest = base64.b64encode(hashlib.sha256(element["content"]).digest()).decode()
        hashes[element["name"].decode()].append(f"'sha256-{digest}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(hashes['script'])}",
            f"style-src {' '.join(hashes['style'])}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def routes() -> Sequence[web.RouteDef]:
    """Return the route `/`."""
    # A pattern that ends at "\n" alone: the hash is over the bytes that the browser sees, and a
    # parser turns "\r\n" into "\n" before it compares.
    page = files(__package__).joinpath("index.html").read_bytes().replace(b"\r\n", b"\n")
    packed = gzip.compress(page, mtime=0)
    etag = hashlib.sha256(page).hexdigest()[:16]
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": content_policy(page),
        "Content-Type": "text/html; charset=utf-8",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "ETag": f'W/"{etag}"',
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }

    async def index(request: web.Request) -> web.Response:
        if any(tag.value == etag for tag in request.if_none_match or ()):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            return web.Response(body=packed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=page, headers=headers)

    return (web.get("/", index),)
