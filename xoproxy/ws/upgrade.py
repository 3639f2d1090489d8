"""What an upgrade to a WebSocket asks for and carries, and what is answered."""

from dataclasses import dataclass, field

from aiohttp import hdrs, web

from xoproxy.auth import Peer, session_cookie
from xoproxy.sessions.codec import Codec

_FULL_WINDOW = 15
_DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@dataclass(frozen=True, slots=True)
class Shown:
    """What an upgrade carries to sign in with; not to be logged."""

    bearer: str | None = field(repr=False)
    cookie: str | None = field(repr=False)


def shown(request: web.Request, peer: Peer) -> Shown:
    """Return what a request carries to sign in with."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" and token else None
    return Shown(bearer, session_cookie(request.cookies, secure=peer.secure))


def wanted_codec(request: web.Request) -> Codec:
    """Return the first subprotocol asked for that we speak.

    Raises:
        HTTPBadRequest: there is none.
    """
    offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
    for name in (part.strip() for part in offered.split(",")):
        for codec in Codec:
            if codec.value == name:
                return codec
    names = " or ".join(codec.value for codec in Codec)
    raise web.HTTPBadRequest(text=f"ask for the WebSocket subprotocol {names}\n")


def deflates(ws: web.WebSocketResponse) -> bool:
    """Tell whether a client takes compressed frames as we make them."""
    return ws.compress == _FULL_WINDOW


async def answer_deflate(request: web.Request, response: web.StreamResponse) -> None:
    """Promise, in the answer to an upgrade, what our shared frames rely on.

    aiohttp has read the client's offer and accepted it; our frames are stateless, so we say so, and
    ask the same of the client. An `on_response_prepare` hook of the application.
    """
    del request
    if (
        isinstance(response, web.WebSocketResponse)
        and hdrs.SEC_WEBSOCKET_EXTENSIONS in response.headers
        and deflates(response)
    ):
        response.headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = _DEFLATE
