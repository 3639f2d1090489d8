"""Carries operations out: page check, sign-in, rights, body, answer, in this order.

A page of a foreign origin is refused before anything else, so that credentials that a browser
attaches by itself are of no use to it. Who asks is found out by rest/authentication.py.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from pydantic import ValidationError

from xoproxy.auth import (
    Accounts,
    Administration,
    BrowserSessions,
    Directory,
    Identity,
    Peer,
    Peers,
    Tokens,
    is_foreign_page,
)
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.rest.answers import Writer, writer
from xoproxy.rest.audit import Audit, AuditOperations, Trail
from xoproxy.rest.authentication import authenticate, set_cookie
from xoproxy.rest.grants import Grants, Objects
from xoproxy.rest.groups import Groups
from xoproxy.rest.openapi import openapi
from xoproxy.rest.operations import Body, Operation, Request, Who, WithCookie
from xoproxy.rest.pools import Pools, Registry
from xoproxy.rest.problems import JSON_HEADERS, Handler, invalid_body, problems
from xoproxy.rest.roles import Roles
from xoproxy.rest.session import Sessions
from xoproxy.rest.tokens import Revoked, TokenOperations
from xoproxy.rest.users import Users

_BODY_BYTES = 64 * 1024
_BODY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Services:
    """What the operations work on.

    Args:
        accounts: signs requests in.
        directory: says what they may.
        administration: changes what the directory holds.
        tokens: the API tokens.
        registry: the pools.
        objects: what the pools hold.
        revoked: told of each revoked token.
        audit: where all of it is recorded.
        sessions: the browser sessions.
    """

    accounts: Accounts
    directory: Directory
    administration: Administration
    tokens: Tokens
    registry: Registry
    objects: Objects
    revoked: Revoked
    audit: Audit
    sessions: BrowserSessions


def api_application(
    services: Services, trusted_origins: Collection[str] = (), peers: Peers | None = None
) -> web.Application:
    """Build the application to be mounted at /api/v1.

    Args:
        services: what the operations work on.
        trusted_origins: web origins whose pages may use the API beside our own.
        peers: tells who is at the other end of a reverse proxy.
    """
    operations = _operations(services)
    document = openapi(operations)

    async def describe(_request: web.Request) -> web.Response:
        return web.Response(body=document, headers=JSON_HEADERS)

    application = web.Application(middlewares=[problems])
    application.router.add_get("/openapi.json", describe)
    for operation in operations:
        handler = _handler(operation, services, trusted_origins, peers or Peers())
        application.router.add_route(operation.method, operation.path, handler)
    return application


def _operations(services: Services) -> tuple[Operation, ...]:
    directory, administration = services.directory, services.administration
    return (
        *Pools(services.registry).operations(),
        *Users(
            services.accounts, directory, administration, services.tokens, services.sessions
        ).operations(),
        *Groups(directory, administration).operations(),
        *Roles(directory, administration).operations(),
        *Grants(directory, administration, services.objects).operations(),
        *Sessions(services.accounts, directory, services.sessions).operations(),
        *TokenOperations(directory, services.tokens, services.revoked).operations(),
        *AuditOperations(services.audit).operations(),
    )


def _handler(
    operation: Operation, services: Services, trusted_origins: Collection[str], peers: Peers
) -> Handler:
    write = writer(operation.answer) if operation.answer else None

    async def handle(request: web.Request) -> web.Response:
        if is_foreign_page(request.headers, trusted_origins):
            raise RequestRefused(
                ErrorCode.FORBIDDEN,
                "a page of another origin may not use the API; if it is yours, add its origin to "
                "server.trusted_origins",
            )
        peer = peers.peer(request.remote, request.headers, secure=request.secure)
        trail = Trail(services.audit, operation, request, peer.address)
        with trail.refusals():
            body = trail.body = await _body(request, operation) if operation.sign_in else None
            identity = trail.identity = await _who(request, operation, services, peer, body)
            _checked(operation, services.directory, identity)  # before more of it is read
            body = body or await _body(request, operation)
            asked = Request(
                identity,
                _checked(operation, services.directory, identity),  # as it is by now
                peer.address,
                request.match_info,
                _query(request, operation),
                body,
                request.headers.get(hdrs.USER_AGENT, ""),
            )
        result = await trail.run(asked)
        if not isinstance(result, WithCookie):
            return await _response(request, operation, write, result)
        response = await _response(request, operation, write, result.answer)
        set_cookie(response, result, secure=peer.secure)
        return response

    return handle


async def _who(
    request: web.Request,
    operation: Operation,
    services: Services,
    peer: Peer,
    body: Any,  # noqa: ANN401 - the operation's own model
) -> Identity:
    if operation.sign_in and hdrs.AUTHORIZATION not in request.headers:
        return await operation.sign_in(body, peer.address)
    return await authenticate(request, services.accounts, peer)


def _checked(operation: Operation, directory: Directory, identity: Identity) -> bool:
    """Return whether who asks administers.

    Raises:
        RequestRefused: FORBIDDEN, he may not ask for this.
    """
    if operation.who is not Who.NEWCOMERS and directory.must_change(identity):
        text = "choose another password first: PUT /api/v1/me/password"
        raise RequestRefused(ErrorCode.FORBIDDEN, text)
    administers = directory.rights_of(identity).administers
    if operation.who is Who.ADMINISTRATORS and not administers:
        raise RequestRefused(ErrorCode.FORBIDDEN, "this needs an administrator")
    return administers


async def _response(
    request: web.Request,
    operation: Operation,
    write: Writer | None,
    result: Any,  # noqa: ANN401 - what the operation answers
) -> web.Response:
    if write is None:
        return web.Response(status=operation.status, headers={"Cache-Control": "no-store"})
    headers = dict(JSON_HEADERS)
    if operation.status == HTTPStatus.CREATED:
        headers[hdrs.LOCATION] = f"{request.path}/{result.id}"
    return web.Response(body=await write(result), status=operation.status, headers=headers)


def _query(request: web.Request, operation: Operation) -> Body | None:
    if operation.query is None:
        return None
    given = dict(request.query)
    if len(given) != len(request.query):
        raise RequestRefused(ErrorCode.BAD_MESSAGE, "give each parameter once")
    try:
        return operation.query.model_validate(given)
    except ValidationError as error:
        raise invalid_body(error) from None


async def _body(request: web.Request, operation: Operation) -> Any:  # noqa: ANN401 - its own model
    if operation.body is None:
        return None
    if request.content_type != "application/json":
        # a form of a foreign page cannot have this type, not even without `Origin`
        raise RequestRefused(ErrorCode.BAD_MESSAGE, "send the body as application/json")
    content = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                content += chunk
                if len(content) > _BODY_BYTES:
                    text = f"a body has at most {_BODY_BYTES} bytes"
                    raise RequestRefused(ErrorCode.TOO_LARGE, text)
    except TimeoutError:
        text = f"the body did not arrive within {_BODY_TIMEOUT_S:g} s"
        raise RequestRefused(ErrorCode.TIMEOUT, text) from None
    try:
        return operation.body.model_validate_json(bytes(content))
    except ValidationError as error:
        raise invalid_body(error) from None
