"""Who makes a request, and the cookie by which a browser says so.

`Authorization` comes first: an API token (Bearer), or user name and password (Basic). Without it,
the cookie of a browser session counts. A browser attaches cookies to whatever a page asks for, so a
request that changes something has to prove, too, that no foreign page made it (auth/origins.py).
"""

import base64
import binascii
from datetime import UTC, datetime

from aiohttp import hdrs, web

from xoproxy.auth import (
    Accounts,
    Identity,
    Peer,
    cookie_name,
    is_forgeable,
    session_cookie,
)
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized
from xoproxy.rest.operations import WithCookie


async def authenticate(request: web.Request, accounts: Accounts, peer: Peer) -> Identity:
    """Return who makes a request.

    Raises:
        Unauthorized: nobody that we know.
        RequestRefused: FORBIDDEN, a page could have made it that is not ours.
    """
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is None:
        return _by_cookie(request, accounts, peer)
    scheme, _, value = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return accounts.login_token(value.strip())
        case "basic":
            try:
                text = base64.b64decode(value.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise Unauthorized("the Basic credentials are not Base64 of UTF-8 text") from None
            name, _, password = text.partition(":")
            return await accounts.login_password(name, password, peer.address)
        case _:
            raise _nobody()


def _by_cookie(request: web.Request, accounts: Accounts, peer: Peer) -> Identity:
    secret = session_cookie(request.cookies, secure=peer.secure)
    if secret is None:
        raise _nobody()
    if is_forgeable(request.method, request.headers):
        text = "a request that a cookie signs in and that changes something needs a header: "
        raise RequestRefused(ErrorCode.FORBIDDEN, text + "X-Requested-With: xoproxy")
    return accounts.login_session(secret)


def _nobody() -> Unauthorized:
    return Unauthorized(
        "sign in: POST /api/v1/session for a cookie; or send an API token (Bearer), or user name "
        "and password (Basic)"
    )


def set_cookie(response: web.StreamResponse, cookie: WithCookie, *, secure: bool) -> None:
    """Give a browser the secret of its session: for requests of our own pages only, and no script.

    Args:
        response: that carries it.
        cookie: what it holds.
        secure: whether it is to be sent over TLS only.
    """
    # not `expires`: the browser's clock may be another
    left_s = (cookie.ends_at - datetime.now(UTC)).total_seconds() if cookie.secret else 0
    _set(response, cookie.secret, max(0, int(left_s)), secure=secure)


def take_cookies(request: web.Request, response: web.StreamResponse) -> None:
    """Have a browser forget what its requests bring in vain."""
    for secure in (False, True):
        if session_cookie(request.cookies, secure=secure):
            _set(response, "", 0, secure=secure)


def _set(response: web.StreamResponse, secret: str, max_age_s: int, *, secure: bool) -> None:
    response.set_cookie(
        cookie_name(secure=secure),
        secret,
        max_age=max_age_s,
        path="/",
        secure=secure,
        httponly=True,
        samesite="Strict",
    )
