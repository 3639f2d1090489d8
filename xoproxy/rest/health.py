"""What an operator's tools ask without signing in: nothing here names a pool, object or person."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol

import msgspec
from aiohttp import web

from xoproxy.rest.problems import JSON_HEADERS
from xoproxy.telemetry import METRICS_CONTENT_TYPE

_READY_TIMEOUT_S = 5.0


class Readiness(Protocol):
    """Knows what is missing before clients can be served."""

    async def unready(self) -> Sequence[str]:
        """Return a sentence for each thing that is missing, with ids of pools, not names."""


def health_routes(readiness: Readiness, metrics: Callable[[], bytes]) -> list[web.RouteDef]:
    """Return the routes /healthz, /readyz and /metrics.

    Args:
        readiness: for /readyz.
        metrics: returns the numbers in Prometheus' text format.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return _answer(HTTPStatus.OK, {"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                reasons = list(await readiness.unready())
        except TimeoutError:
            reasons = [f"no answer within {_READY_TIMEOUT_S:g} s"]
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return _answer(status, {"ready": not reasons, "reasons": reasons})

    async def expose(_request: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": METRICS_CONTENT_TYPE})

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/metrics", expose),
    ]


def _answer(status: HTTPStatus, body: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, headers=JSON_HEADERS)
