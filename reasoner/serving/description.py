"""The server's OpenAPI description: the bodies of its requests, and how they may end."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from reasoner.serving.requests import ChatRequest, CompareRequest, CompletionRequest, ResponseRequest

BODIES: Final[Mapping[str, type[BaseModel]]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponseRequest,
    "/v1/reasoner/estimate": ChatRequest,
    "/v1/reasoner/compare": CompareRequest,
}
"""What each route reads."""
METRICS: Final = "/metrics"
ENDS: Final = {
    200: "The reply.",
    400: "The request is not one, or cannot be honoured.",
    401: "There is no key, or it is not known.",
    404: "There is no such model.",
    405: "The method is not allowed.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    429: "A limit is reached.",
    500: "A failure of the server.",
    503: "The server is not ready.",
}
_REF: Final = "#/components/schemas/{model}"
_NULLABLE: Final = {"oneOf": [{"type": "string"}, {"type": "null"}]}
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": _NULLABLE,
                "code": _NULLABLE,
            },
        }
    },
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The description of the app's routes, made when it is first asked for."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation.update(_operation(path))
        document["components"] = {"schemas": _schemas()}
        app.openapi_schema = document
    return app.openapi_schema


def _operation(path: str) -> dict[str, Any]:
    """The body of a route, and how a request may end."""
    error = _content({"$ref": _ref("Error")})
    responses = {str(status): {"description": text} | ({} if status == 200 else error) for status, text in ENDS.items()}
    if path == METRICS:
        responses["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    if path not in BODIES:
        return {"responses": responses}
    streamed = {"text/event-stream": {"schema": {"type": "string"}}}
    responses["200"]["content"] = {"application/json": {"schema": {"type": "object"}}, **streamed}
    body = {"required": True} | _content({"$ref": _ref(BODIES[path].__name__)})
    return {"requestBody": body, "responses": responses}


def _schemas() -> dict[str, Any]:
    _, whole = models_json_schema([(cls, "validation") for cls in set(BODIES.values())], ref_template=_REF)
    schemas: dict[str, Any] = whole["$defs"]
    return {**schemas, "Error": _ERROR}


def _ref(name: str) -> str:
    return _REF.format(model=name)


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}
