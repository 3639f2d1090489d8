"""Carries operations out: page check, sign-in, rights, body, answer, in this order.

Requests are authenticated by `Authorization: Bearer <API token>` or by HTTP Basic with user name
and password; there are no cookies. A page of a foreign origin is refused before anything else, so
that credentials that a browser attaches by itself are of no use to it.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from pydantic import TypeAdapter, ValidationError

from xoproxy.auth import (
    Accounts,
    Administration,
    Directory,
    Identity,
    Tokens,
    is_foreign_page,
)
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized
from xoproxy.rest.grants import Grants, Objects
from xoproxy.rest.groups import Groups
from xoproxy.rest.openapi import openapi
from xoproxy.rest.operations import Body, Operation, Request, Who
from xoproxy.rest.pools import Pools, Registry
from xoproxy.rest.problems import JSON_HEADERS, Handler, invalid_body, problems
from xoproxy.rest.roles import Roles
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
    """

    accounts: Accounts
    directory: Directory
    administration: Administration
    tokens: Tokens
    registry: Registry
    objects: Objects
    revoked: Revoked


def api_application(services: Services, trusted_origins: Collection[str] = ()) -> web.Application:
    """Build the application to be mounted at /api/v1.

    Args:
        services: what the operations work on.
        trusted_origins: web origins whose pages may use the API beside our own.
    """
    operations = _operations(services)
    document = openapi(operations)

    async def describe(_request: web.Request) -> web.Response:
        return web.Response(body=document, headers=JSON_HEADERS)

    application = web.Application(middlewares=[problems])
    application.router.add_get("/openapi.json", describe)
    for operation in operations:
        handler = _handler(operation, services, trusted_origins)
        application.router.add_route(operation.method, operation.path, handler)
    return application


def _operations(services: Services) -> tuple[Operation, ...]:
    directory, administration = services.directory, services.administration
    return (
        *Pools(services.registry).operations(),
        *Users(services.accounts, directory, administration, services.tokens).operations(),
        *Groups(directory, administration).operations(),
        *Roles(directory, administration).operations(),
        *Grants(directory, administration, services.objects).operations(),
        *TokenOperations(directory, services.tokens, services.revoked).operations(),
    )


def _handler(operation: Operation, services: Services, trusted_origins: Collection[str]) -> Handler:
    write: Callable[[Any], bytes] | None = (
        TypeAdapter(operation.answer).dump_json if operation.answer else None
    )

    async def handle(request: web.Request) -> web.Response:
        if is_foreign_page(request.headers, trusted_origins):
            raise RequestRefused(
                ErrorCode.FORBIDDEN,
                "a page of another origin may not use the API; if it is yours, add its origin to "
                "server.trusted_origins",
            )
        identity = await authenticate(request, services.accounts)
        administers = services.directory.rights_of(identity).administers
        if operation.who is Who.ADMINISTRATORS and not administers:
            raise RequestRefused(ErrorCode.FORBIDDEN, "this needs an administrator")
        query = _query(request, operation)
        body = await _body(request, operation)
        peer = request.remote or ""
        asked = Request(identity, administers, peer, request.match_info, query, body)
        result = await operation.run(asked)
        if write is None:
            return web.Response(status=operation.status, headers={"Cache-Control": "no-store"})
        headers = dict(JSON_HEADERS)
        if operation.status == HTTPStatus.CREATED:
            headers[hdrs.LOCATION] = f"{request.path}/{result.id}"
        return web.Response(body=write(result), status=operation.status, headers=headers)

    return handle


async def authenticate(request: web.Request, accounts: Accounts) -> Identity:
    """Return who makes a request.

    Raises:
        Unauthorized: nobody that we know.
    """
    scheme, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    match scheme.lower():
        case "bearer":
            return accounts.login_token(value.strip())
        case "basic":
            try:
                text = base64.b64decode(value.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise Unauthorized("the Basic credentials are not Base64 of UTF-8 text") from None
            name, _, password = text.partition(":")
            return await accounts.login_password(name, password, request.remote or "")
        case _:
            raise Unauthorized(
                "sign in with an API token (Bearer) or with user name and password (Basic)"
            )


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
