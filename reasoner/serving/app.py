"""The routes of the server, and the outermost layer of the app: who asks, and only errors of the API."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final

from fastapi import FastAPI, Request
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reasoner.serving.bodies import read
from reasoner.serving.choose import Job, choose
from reasoner.serving.errors import ApiError, Report, opaque
from reasoner.serving.limits import Client, Keys
from reasoner.serving.listener import is_loopback
from reasoner.serving.metrics import NO_STRATEGY
from reasoner.serving.page import page_routes, trace_routes
from reasoner.serving.replies import ChatReply, model_entry, model_list
from reasoner.serving.requests import ChatRequest, CompareRequest
from reasoner.serving.responses import REPLIES, Reply
from reasoner.serving.service import Service
from reasoner.serving.wire import EventStream, read_body, refused, reply, unless_left

PUBLIC: Final = ("/", "/health", "/page/", "/v1/reasoner/traces/")
"""Paths that need no key, and beginnings of such paths; traces ask for it themselves."""
LARGE: Final = 1 << 16
"""Bytes of a body that is read in a thread."""
REPORTED: Final = "reported"
"""Set in the state of a request with a failure that the app has answered and reported; it raises it all the same."""
ESTIMATE: Final = "/v1/reasoner/estimate"
COMPARE: Final = "/v1/reasoner/compare"
BODIES: Final[dict[str, type[BaseModel]]] = {
    **{path: made.reads for path, made in REPLIES.items()},
    ESTIMATE: ChatRequest,
    COMPARE: CompareRequest,
}
"""What each route reads."""
_REF: Final = "#/components/schemas/{model}"


class ErrorObject(BaseModel):
    """What is wrong, in a line, and the field of the request that it is about."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorDocument(BaseModel):
    """The body of every response that is not a reply."""

    error: ErrorObject


def make_app(service: Service, keys: Keys) -> ASGIApp:
    """The app of a service, which may still be starting."""
    app = FastAPI(
        title="reasoner",
        docs_url=None,
        redoc_url=None,
        responses={"default": {"model": ErrorDocument, "description": "What is wrong, in a line."}},
    )
    routes = _Routes(service)
    app.get("/health", response_model=None)(routes.health)
    app.get("/metrics", response_model=None, responses={200: {"content": {"text/plain": {}}}})(routes.metrics)
    app.get("/v1/models", response_model=None)(routes.models)
    app.get("/v1/models/{name:path}", response_model=None)(routes.model)
    streamed: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
    for path, kind in REPLIES.items():
        app.post(path, response_model=None, responses=streamed, openapi_extra=_body(path))(routes.answering(kind))
    app.post(ESTIMATE, response_model=None, openapi_extra=_body(ESTIMATE))(routes.estimate)
    app.post(COMPARE, response_model=None, openapi_extra=_body(COMPARE))(routes.compare)
    app.include_router(page_routes())
    app.include_router(
        trace_routes(service.traces, lambda header: keys.client(header).name, seconds=service.limits.body_seconds)
    )
    app.openapi = partial(_described, app)  # type: ignore[method-assign]
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)

    async def unexpected(request: Request, failure: Exception) -> Response:
        request.scope["state"][REPORTED] = True
        return refused(opaque(failure, service.report))

    app.add_exception_handler(Exception, unexpected)
    return Front(app, keys, public=PUBLIC, report=service.report)


class _Routes:
    """What each route does."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._created = int(time.time())

    async def health(self) -> Response:
        """200 if the server is ready, 503 while it starts or stops, or after its engine was lost."""
        state = self._service.state
        return reply({"status": state}, 200 if state == "ready" else 503)

    async def metrics(self) -> Response:
        """The counters, for Prometheus."""
        return Response(self._service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self) -> Response:
        """The model, and one entry for each alias."""
        return reply(model_list(self._service.offer, created=self._created))

    async def model(self, name: str) -> Response:
        """One entry of the models."""
        models = self._service.offer.models
        if name not in models:
            raise ApiError(404, f"no model {name[:200]!r}: see GET /v1/models", code="model_not_found", param="model")
        return reply(model_entry(name, models[name], created=self._created))

    def answering(self, kind: Any) -> Callable[[Request], Awaitable[Response]]:
        """The route of a kind of reply."""
        service = self._service

        async def answer(request: Request) -> Response:
            """A question, answered by the strategy that the request chooses; streamed or not."""
            made, jobs = await self._asked(request, kind)
            work = partial(service.answer, jobs, request.state.client)
            if made.asked.stream:
                return EventStream(lambda follow: service.start(work(follow)), made, len(jobs))
            return reply(made.whole(await unless_left(service.start(work()), request.receive)))

        return answer

    async def estimate(self, request: Request) -> Response:
        """What a chat would cost."""
        _, jobs = await self._asked(request, ChatReply)
        task = self._service.start(self._service.estimate(jobs, request.state.client))
        return reply(await unless_left(task, request.receive))

    async def compare(self, request: Request) -> Response:
        """Whether two replies to a question give the same answer."""
        compared = read(await self._body(request), CompareRequest)
        task = self._service.start(self._service.compare(compared, request.state.client))
        return reply(await unless_left(task, request.receive))

    async def _asked(self, request: Request, kind: Any) -> tuple[Reply, list[Job]]:
        """The reply to be made, and the jobs behind it."""
        try:
            offer = self._service.offer
            body = await self._body(request)

            def understood() -> tuple[Reply, list[Job]]:
                made: Reply = kind(read(body, kind.reads), offer.prices)
                return made, choose(made.asked, offer)

            # A large body takes longer than other requests should wait.
            return await asyncio.to_thread(understood) if len(body) > LARGE else understood()
        except ApiError as error:
            self._service.metrics.end(NO_STRATEGY, "refused" if error.status < 500 else "error", 0)
            raise

    async def _body(self, request: Request) -> bytes:
        limits = self._service.limits
        return await read_body(request, limit=limits.body_bytes, seconds=limits.body_seconds)


def _body(path: str) -> dict[str, Any]:
    """The description of what a route reads itself."""
    schema = {"$ref": _REF.format(model=BODIES[path].__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with the bodies that the routes read themselves; made when it is first asked for."""
    if app.openapi_schema is None:
        app.openapi_schema = FastAPI.openapi(app)
        _, bodies = models_json_schema([(model, "validation") for model in set(BODIES.values())], ref_template=_REF)
        app.openapi_schema["components"]["schemas"] |= bodies["$defs"]
    return app.openapi_schema


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return refused(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path[:200]}"
    if error.status_code == 404:
        return refused(ApiError(404, f"there is no {where} (see GET /openapi.json)", code="not_found"))
    if error.status_code == 405:
        allowed = dict(error.headers or {})
        what = f"{where} is not allowed: use {allowed.get('Allow', 'another method')}"
        return refused(ApiError(405, what, code="method_not_allowed", headers=allowed))
    return refused(ApiError(error.status_code, str(error.detail)))


class Front:
    """Wraps the app: finds the client of each request by its key, unless its path is `public` or in a public folder.

    Without keys, it serves only requests that name this machine as Host: a web page elsewhere cannot reach it by
    another name.
    """

    def __init__(self, app: ASGIApp, keys: Keys, *, public: Collection[str], report: Report) -> None:
        self._app = app
        self._keys = keys
        self._public = frozenset(public)
        self._public_folders = tuple(path for path in public if path.endswith("/") and path != "/")
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return
        started = False
        own = [(b"x-request-id", f"req_{secrets.token_hex(12)}".encode()), (b"x-content-type-options", b"nosniff")]

        async def tagged(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        try:
            scope.setdefault("state", {})["client"] = self._client(scope)
            await self._app(scope, receive, tagged)
        except ApiError as error:
            await refused(error)(scope, receive, tagged)
        except Exception as failure:
            if scope["state"].get(REPORTED):
                return
            unexpected = opaque(failure, self._report)
            if not started:
                await refused(unexpected)(scope, receive, tagged)

    def _client(self, scope: Scope) -> Client | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._keys and not is_loopback(host.rpartition(":")[0] if host[-1:].isdigit() and ":" in host else host):
            raise ApiError(403, "a server without keys serves its own machine only: the Host must be localhost")
        if scope["path"] in self._public or scope["path"].startswith(self._public_folders):
            return None
        return self._keys.client(headers.get("authorization"))
