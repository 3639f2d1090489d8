"""JSON-RPC 1.0 and 2.0 as XAPI speaks them (POST /jsonrpc).

Without a `jsonrpc` member a request is version 1.0 and its answer has both `result` and `error`.
NaN and infinities are sent as bare words, which is not valid JSON, but what XAPI does.
"""

import json
from collections.abc import Iterable

from xoproxy.simulator.database import Row
from xoproxy.simulator.datamodel import ClassModel
from xoproxy.simulator.rpc import MalformedError, Request
from xoproxy.simulator.wiretypes import Json, WireType

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dump(value: Json) -> bytes:
    return _encoder.encode(value).encode("utf-8", "replace")


class JsonCodec:
    def value(self, kind: WireType, value: Json) -> bytes:
        del kind  # our form of a value is JSON's
        return dump(value)

    def count(self, number: int) -> bytes:
        return b"%d" % number

    def record(self, model: ClassModel, row: Row) -> bytes:
        cached = row.wire.get("json")
        if cached is None:
            cached = row.wire["json"] = dump(model.record(row.fields))
        return cached

    def struct(self, members: Iterable[tuple[str, bytes]]) -> bytes:
        return b"{" + b",".join([dump(name) + b":" + value for name, value in members]) + b"}"

    def array(self, items: Iterable[bytes]) -> bytes:
        return b"[" + b",".join(items) + b"]"


class JsonRpc:
    """JSON-RPC up to a version: pools that know 1.0 only answer so, whatever they are asked."""

    content_type = "application/json"

    def __init__(self, newest: int = 2) -> None:
        self.codec = JsonCodec()
        self._newest = newest

    def parse(self, body: bytes) -> Request:
        """Read a call. XAPI knows neither batches nor notifications."""
        try:
            call = json.loads(body.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"no JSON: {error}") from error
        if not isinstance(call, dict):
            raise MalformedError("a call is a JSON object")
        method, call_id = call.get("method"), call.get("id")
        if not isinstance(method, str):
            raise MalformedError("method is missing or no string")
        ids = (int, str) if self._newest > 1 else (int,)
        if isinstance(call_id, bool) or not isinstance(call_id, ids):
            raise MalformedError("id is missing or neither int nor string")
        if self._newest > 1 and call.get("jsonrpc", "2.0") != "2.0":
            raise MalformedError("jsonrpc must be 2.0")
        version = min(self._newest, 2 if "jsonrpc" in call else 1)
        return Request(method, _params(call, version), call_id, version)

    def success(self, request: Request, payload: bytes) -> bytes:
        if request.version == 1:
            return b'{"result":%b,"error":null,"id":%b}' % (payload, dump(request.id))
        return b'{"jsonrpc":"2.0","result":%b,"id":%b}' % (payload, dump(request.id))

    def failure(self, request: Request, description: list[str]) -> bytes:
        if request.version == 1:
            return dump({"result": None, "error": description, "id": request.id})
        code, *data = description
        error = {"code": 1, "message": code, "data": data}
        return dump({"jsonrpc": "2.0", "error": error, "id": request.id})

    def early_failure(self, description: list[str]) -> bytes:
        """Answer in XAPI's odd form: always version 2, a bare error, id 0."""
        return dump({"jsonrpc": "2.0", "error": description, "id": 0})


def _params(call: dict[str, Json], version: int) -> list[Json]:
    params = call.get("params")
    if isinstance(params, list):
        return params
    if isinstance(params, dict) and version == 2:  # noqa: PLR2004
        return [params]  # named parameters become one struct
    raise MalformedError("params is missing or no array")
