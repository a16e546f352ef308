"""The routes of the server."""

import asyncio
import time
from functools import partial
from typing import Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from reasoner.serving.bodies import read_body as read_json
from reasoner.serving.choice import Job, choose
from reasoner.serving.description import describe
from reasoner.serving.errors import ApiError
from reasoner.serving.forms import ChatForm, CompletionForm, Form, ReadForm, ResponseForm
from reasoner.serving.front import REPORTED, Front, read_body, refused, reply
from reasoner.serving.limits import Client, Keys
from reasoner.serving.metrics import NO_STRATEGY
from reasoner.serving.page import page_routes, trace_routes
from reasoner.serving.replies import model_entry, model_list
from reasoner.serving.requests import CompareRequest
from reasoner.serving.service import Service, opaque
from reasoner.serving.streams import EventStream, unless_left

PUBLIC: Final = ("/", "/health", "/page/", "/v1/reasoner/traces/")
"""Paths that need no key, and beginnings of such paths; traces ask for it themselves."""
LARGE: Final = 1 << 16
"""Bytes of a body that is read in a thread."""


def make_app(service: Service, keys: Keys) -> ASGIApp:
    """The app of a service, which may still be starting."""
    app = FastAPI(title="reasoner", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    routes = _Routes(service)
    for method, path, route in (
        ("GET", "/health", routes.health),
        ("GET", "/metrics", routes.metrics),
        ("GET", "/v1/models", routes.models),
        ("GET", "/v1/models/{name:path}", routes.model),
        ("POST", "/v1/chat/completions", routes.chat),
        ("POST", "/v1/completions", routes.completions),
        ("POST", "/v1/responses", routes.responses),
        ("POST", "/v1/reasoner/estimate", routes.estimate),
        ("POST", "/v1/reasoner/compare", routes.compare),
    ):
        app.add_api_route(path, route, methods=[method], response_model=None)
    app.include_router(page_routes())
    app.include_router(
        trace_routes(service.traces, lambda header: keys.client(header).name, seconds=service.limits.body_seconds)
    )
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)

    async def unexpected(request: Request, failure: Exception) -> Response:
        request.scope["state"][REPORTED] = True
        return refused(opaque(failure, service.report))

    app.add_exception_handler(Exception, unexpected)
    return Front(app, keys, public=PUBLIC, report=service.report)


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

    async def chat(self, request: Request) -> Response:
        """A chat, answered by the strategy that the request chooses; streamed or not."""
        return await self._answer(request, ChatForm)

    async def completions(self, request: Request) -> Response:
        """Raw prompts, continued."""
        return await self._answer(request, CompletionForm)

    async def responses(self, request: Request) -> Response:
        """The same as a chat, in the form of responses."""
        return await self._answer(request, ResponseForm)

    async def estimate(self, request: Request) -> Response:
        """What a chat would cost."""
        _, jobs = await self._asked(request, ChatForm)
        task = self._service.start(self._service.estimate(jobs, _client(request)))
        return reply(await unless_left(task, request.receive))

    async def compare(self, request: Request) -> Response:
        """Whether two replies to a question give the same answer."""
        asked = read_json(await self._body(request), CompareRequest)
        task = self._service.start(self._service.compare(asked, _client(request)))
        return reply(await unless_left(task, request.receive))

    async def _answer(self, request: Request, read: ReadForm) -> Response:
        form, jobs = await self._asked(request, read)
        service = self._service
        answer = partial(service.answer, jobs, _client(request))
        if form.asked.stream:
            return EventStream(lambda follow: service.start(answer(follow)), form, len(jobs))
        answered = await unless_left(service.start(answer()), request.receive)
        return reply(form.whole(answered))

    async def _body(self, request: Request) -> bytes:
        limits = self._service.limits
        return await read_body(request, limit=limits.body_bytes, seconds=limits.body_seconds)

    async def _asked(self, request: Request, read: ReadForm) -> tuple[Form, list[Job]]:
        """The request in its form, and its jobs."""
        try:
            offer = self._service.offer
            body = await self._body(request)

            def understood() -> tuple[Form, list[Job]]:
                form = read(body, offer)
                return form, choose(form.asked, offer)

            # A large body takes longer than other requests should wait.
            return await asyncio.to_thread(understood) if len(body) > LARGE else understood()
        except ApiError as error:
            self._service.metrics.end(NO_STRATEGY, "refused" if error.status < 500 else "error", 0)
            raise


def _client(request: Request) -> Client:
    client: Client = request.state.client
    return client
