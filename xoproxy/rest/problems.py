"""Every error of the API as {"error": {"code", "message"}} with a fitting status."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web
from pydantic import ValidationError

from xoproxy.auth import SessionOver, Throttled
from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized
from xoproxy.rest.authentication import take_cookies

_STATUS = {
    ErrorCode.BAD_MESSAGE: HTTPStatus.BAD_REQUEST,
    ErrorCode.UNAUTHORISED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.CERTIFICATE: HTTPStatus.CONFLICT,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.POOL_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.TIMEOUT: HTTPStatus.REQUEST_TIMEOUT,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_CODE = {
    HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND,
    HTTPStatus.INTERNAL_SERVER_ERROR: ErrorCode.INTERNAL,
}
JSON_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into an answer."""
    try:
        return await handler(request)
    except Throttled as error:
        headers = {"Retry-After": str(error.retry_after_s)}
        status = HTTPStatus.TOO_MANY_REQUESTS
        return _problem(status, ErrorCode.UNAUTHORISED, str(error), headers)
    except Unauthorized as error:
        return _unauthorized(request, error)
    except RequestRefused as refused:
        status = _STATUS.get(refused.code, HTTPStatus.BAD_REQUEST)
        return _problem(status, refused.code, refused.message, data=refused.data)
    except web.HTTPException as error:  # aiohttp's own: no such path, no such method
        status = HTTPStatus(error.status)
        code = _CODE.get(status, ErrorCode.BAD_MESSAGE)
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _problem(status, code, f"{request.method} {request.path}: {status.phrase}", allow)


def _unauthorized(request: web.Request, error: Unauthorized) -> web.Response:
    if error.code is ErrorCode.BUSY:
        headers = {"Retry-After": "1"}
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, error.code, str(error), headers)
    challenge = 'Bearer realm="xoproxy"'
    if "Sec-Fetch-Mode" not in request.headers:
        # Programs may use Basic too. A browser would answer with a prompt of its own, remember what
        # is typed there, and attach it to requests that other sites' pages make.
        challenge += ', Basic realm="xoproxy", charset="UTF-8"'
    headers = {"WWW-Authenticate": challenge}
    response = _problem(HTTPStatus.UNAUTHORIZED, error.code, str(error), headers)
    if isinstance(error, SessionOver):
        take_cookies(request, response)
    return response


def _problem(
    status: HTTPStatus,
    code: ErrorCode,
    message: str,
    headers: Mapping[str, str] | None = None,
    data: object = None,
) -> web.Response:
    problem = {"code": code, "message": message}
    body = msgspec.json.encode({"error": problem if data is None else {**problem, "data": data}})
    return web.Response(body=body, status=status, headers={**JSON_HEADERS, **(headers or {})})


def invalid_body(error: ValidationError) -> RequestRefused:
    """Say in one line what is wrong with a body, without repeating it: it may hold a password."""
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such member"
    elif first["type"] == "missing":
        message = "is missing"
    return RequestRefused(ErrorCode.BAD_MESSAGE, f"{place}: {message}" if place else message)
