"""The API's description in OpenAPI 3.1, made from the same operations that serve it."""

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, get_args, get_origin

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from xoproxy import __version__
from xoproxy.auth import cookie_name
from xoproxy.rest.operations import Answer, Operation

_SHARED_REFUSALS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
)
_BODY_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_JSON = "application/json"
_REF = "#/components/schemas/{model}"


class ProblemDetail(Answer):
    """What went wrong, for programs and for people."""

    code: str
    message: str


class Problem(Answer):
    """The body of every error."""

    error: ProblemDetail


def openapi(operations: Iterable[Operation]) -> bytes:
    """Return the document as JSON."""
    operations = tuple(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "xoproxy",
            "version": __version__,
            "description": "Administration of the proxy. What pools hold is told over the "
            "WebSocket at /ws, not here.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}, {"password": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "xop_<id>_<secret>"},
                "password": {"type": "http", "scheme": "basic"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie_name(secure=False),
                    "description": f"Over TLS its name is {cookie_name(secure=True)}.",
                },
            },
            "schemas": _schemas(operations),
        },
    }
    return msgspec.json.encode(document)


def _operation(operation: Operation) -> dict[str, Any]:
    refusals = {*_SHARED_REFUSALS, *operation.refusals}
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.who.value,
    }
    if operation.sign_in:  # by its body, or by a header
        described["security"] = [{}, {"token": []}, {"password": []}]
    if parameters := list(_parameters(operation)):
        described["parameters"] = parameters
    if operation.query:
        refusals.add(HTTPStatus.BAD_REQUEST)
    if operation.body:
        refusals.update(_BODY_REFUSALS)
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    success: dict[str, Any] = {"description": operation.status.phrase}
    if operation.answer:
        success["content"] = _content(operation.answer)
    described["responses"] = {
        str(operation.status.value): success,
        **{
            str(status.value): {"description": status.phrase, "content": _content(Problem)}
            for status in sorted(refusals)
        },
    }
    return described


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    if operation.query:
        schema = operation.query.model_json_schema()
        for name, member in schema["properties"].items():
            needed = name in schema.get("required", ())
            yield {"name": name, "in": "query", "required": needed, "schema": member}


def _content(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a model or list[model]
    schema: dict[str, Any] = {"$ref": _REF.format(model=_model(kind).__name__)}
    if get_origin(kind) is list:
        schema = {"type": "array", "items": schema}
    return {_JSON: {"schema": schema}}


def _model(kind: Any) -> type[BaseModel]:  # noqa: ANN401
    model: type[BaseModel] = get_args(kind)[0] if get_origin(kind) is list else kind
    return model


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for operation in operations:
        if operation.body:
            models[operation.body, "validation"] = None
        if operation.answer:
            models[_model(operation.answer), "serialization"] = None
    _, schema = models_json_schema(list(models), ref_template=_REF)
    definitions: dict[str, Any] = schema["$defs"]
    return definitions
