"""The app: its routes, who asks, and only errors of the API."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reasoner.errors import UsageError
from reasoner.serving.chat import ChatReply
from reasoner.serving.choose import choose
from reasoner.serving.errors import ApiError, api_error
from reasoner.serving.listener import MAX_HEADER_BYTES, is_loopback
from reasoner.serving.messages import CountRequest, MessageReply
from reasoner.serving.metrics import NO_STRATEGY
from reasoner.serving.page import page_routes, trace_response
from reasoner.serving.replies import Reply
from reasoner.serving.requests import ChatRequest, TokenizeRequest, checked, read
from reasoner.serving.responses import KeptMessages, ResponseReply
from reasoner.serving.service import ANYONE, Service
from reasoner.serving.stream import (
    CLOSE,
    EventStream,
    headers_of,
    read_body,
    reply,
    unless_left,
)

TRACES: Final = "/v1/reasoner/traces/"
MESSAGES: Final = "/v1/messages"
"""The beginning of the paths of Anthropic's clients."""
COUNT: Final = f"{MESSAGES}/count_tokens"
TOKENIZE: Final = "/tokenize"
"""The path at which a vLLM server tells the tokens of a prompt; it is beside /v1."""
REPLIES: Final[Mapping[str, Any]] = {
    "/v1/chat/completions": ChatReply,
    MESSAGES: MessageReply,
    "/v1/responses": ResponseReply,
}
"""The class of the replies of each route; it `reads` the route's requests."""
PUBLIC: Final = ("/", "/health")
"""Paths that need no key."""

MIN_KEY: Final = 8
"""Characters that a key has at least: a shorter one is guessed."""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Keys:
    """The keys of a server by the names of their clients; without any, everybody is one client.

    Raises:
        UsageError: a key is too short, cannot be sent in a header, or is given twice. The message names the key, and
            does not hold it.
    """

    def __init__(self, keys: Mapping[str, object] | None = None) -> None:
        self._digests: dict[str, bytes] = {}
        for name, text in (keys or {}).items():
            if not isinstance(text, str):
                raise UsageError(f"the key {name} must be a text")
            if not (text.isascii() and text.isprintable()) or " " in text:
                raise UsageError(
                    f"the key {name} must be printable ASCII without blanks, to be sent in a header"
                )
            if len(text) < MIN_KEY:
                raise UsageError(
                    f"the key {name} has {len(text)} characters: it must have at least {MIN_KEY}"
                )
            if _digest(text) in self._digests.values():
                raise UsageError("two keys are the same: give each client its own")
            self._digests[name] = _digest(text)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def client(self, authorization: str | None) -> str:
        """The name of the client of a header `Authorization: Bearer KEY`. All keys are compared, in constant time.

        Raises:
            ApiError: 401, there is no key or it is not known.
        """
        if not self._digests:
            return ANYONE
        scheme, _, text = (authorization or "").partition(" ")
        given = _digest(text.strip() if scheme.lower() == "bearer" else "")
        known = [
            name
            for name, digest in self._digests.items()
            if hmac.compare_digest(digest, given)
        ]
        if known:
            return known[0]
        what = (
            "the API key is not known to this server" if text else "no API key is given"
        )
        raise ApiError(
            401,
            f"{what}: send the header `Authorization: Bearer KEY`",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


class App:
    """The app of a service, which may still be starting.

    It finds the client of each request by its key, unless its path is public. Without keys, it serves only requests
    that name this machine as Host: a web page elsewhere cannot reach it by another name.
    """

    def __init__(self, service: Service, keys: Keys) -> None:
        self._service = service
        self._keys = keys
        self._messages = KeptMessages()
        self._created = int(time.time())
        self._router = Router(
            [
                Route("/health", self._health),
                Route("/metrics", self._metrics),
                Route("/v1/models", self._models),
                Route("/v1/models/{name:path}", self._model),
                *(Route(path, self._health, methods=["POST"]) for path in REPLIES),
                Route(TRACES + "{id}.jsonl", self._trace),
                Route(TRACES + "{id}", self._trace, methods=["GET", "POST"]),
                Route(COUNT, self._count, methods=["POST"]),
                Route(TOKENIZE, self._tokenize, methods=["POST"]),
                *page_routes(),
            ],
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; whatever fails is an error of the API."""
        if scope["type"] != "http":
            return
        started, kind = (
            False,
            REPLIES.get(scope["path"]) if scope["method"] == "POST" else None,
        )
        own = [
            (b"x-request-id", f"req_{secrets.token_hex(12)}".encode()),
            (b"x-content-type-options", b"nosniff"),
        ]

        async def tagged(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        try:
            # Without blanks and line ends: parsers bound only what has not arrived whole.
            named = sum(len(name) + len(value) for name, value in scope["headers"])
            if (
                len(scope["raw_path"]) + len(scope["query_string"]) + named
                > MAX_HEADER_BYTES
            ):
                problem = f"the head of the request is too large: at most {MAX_HEADER_BYTES:,} bytes are allowed"
                raise ApiError(431, problem, headers=CLOSE)
            scope["app"], headers = self, headers_of(scope)
            client = self._client(scope, headers)
            # What is asked most often does not pass through the router.
            if kind:
                serve: ASGIApp = await self._answer(
                    kind, client or ANYONE, headers, receive
                )
            else:
                serve = self._router
            await serve(scope, receive, tagged)
        except Exception as failure:
            error = self._error_of(failure, scope)
            if not started:
                form = (
                    MessageReply.refusal
                    if scope["path"].startswith(MESSAGES)
                    else ApiError.document
                )
                await reply(form(error), error.status, error.headers)(
                    scope, receive, tagged
                )

    def _client(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """Who asks; None where the path is public."""
        host = headers.get("host", "")
        if not self._keys and not is_loopback(
            host.rpartition(":")[0] if host[-1:].isdigit() and ":" in host else host
        ):
            raise ApiError(
                403,
                "a server without keys serves its own machine only: the Host must be localhost",
            )
        # Beginnings of such paths; traces ask for the key themselves
        if scope["path"] in PUBLIC or scope["path"].startswith(("/page/", TRACES)):
            return None
        # Anthropic's clients send their key under another name.
        key = headers.get("authorization") or f"Bearer {headers.get('x-api-key', '')}"
        return self._keys.client(key)

    def _error_of(self, failure: Exception, scope: Scope) -> ApiError:
        where = f"{scope['method']} {scope['path'][:200]}"
        match failure:
            case HTTPException(status_code=404):
                return ApiError(404, f"there is no {where}", code="not_found")
            case HTTPException(status_code=405):
                allowed = dict(failure.headers or {})
                what = f"{where} is not allowed: use {allowed['Allow']}"
                return ApiError(405, what, code="method_not_allowed", headers=allowed)
        return api_error(failure, self._service.report)

    async def _health(self, _request: Request) -> Response:
        """200 if the server is ready, 503 while it starts or stops, or after its engine was lost."""
        state = self._service.state
        return reply({"status": state}, 200 if state == "ready" else 503)

    async def _metrics(self, _request: Request) -> Response:
        """The counters, for Prometheus."""
        return Response(
            self._service.metrics.text(),
            media_type="text/plain; version=0.0.4; charset=utf-8",
        )

    async def _models(self, _request: Request) -> Response:
        """The model, and one entry for each alias."""
        return reply(
            {
                "object": "list",
                "data": [self._entry(name) for name in self._service.offer.models],
            }
        )

    async def _model(self, request: Request) -> Response:
        """One entry of the models."""
        name = request.path_params["name"]
        if name not in self._service.offer.models:
            raise ApiError(
                404,
                f"no model {name[:200]!r}: see GET /v1/models",
                code="model_not_found",
                param="model",
            )
        return reply(self._entry(name))

    def _entry(self, name: str) -> dict[str, Any]:
        offer = self._service.offer
        thinking = offer.model.thinking
        about = {
            "description": offer.models[name],
            "group": offer.group_of(name),
            "max_model_len": offer.model.context or None,
            "reasoning_parser": thinking.parser if thinking else "none",
        }
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "reasoner",
            **about,
        }

    async def _answer(
        self, kind: Any, client: str, headers: Mapping[str, str], receive: Receive
    ) -> Response:
        """A question, answered by the strategy that the request chooses; streamed or not."""
        service = self._service
        try:
            offer = service.offer
            asked = read(await self._body(headers, receive), kind.reads)
            if kind is ResponseReply:
                asked = asked.completed(partial(self._messages.text, client))
            # A request of another form becomes a chat, in which not all of it may fit.
            with checked(ChatRequest):
                made: Reply = kind(asked, offer.prices)
            if isinstance(made, ResponseReply):
                made.keep = partial(self._messages.keep, client)
            jobs = choose(made.asked, offer)
        except ApiError as error:
            service.metrics.end(
                NO_STRATEGY, "refused" if error.status < 500 else "error", 0
            )
            raise
        work = partial(service.answer, jobs, client)
        if made.asked.stream:
            return EventStream(
                lambda follow: service.start(work(follow)), made, len(jobs)
            )
        return reply(made.whole(await unless_left(service.start(work()), receive)))

    async def _count(self, request: Request) -> Response:
        """The tokens of a prompt in the form of Anthropic's clients."""
        asked = read(await self._body(request.headers, request.receive), CountRequest)
        with checked(ChatRequest):
            chat = asked.chat
        [job] = choose(chat, self._service.offer)
        return reply({"input_tokens": await self._service.prompt_tokens(job)})

    async def _tokenize(self, request: Request) -> Response:
        """The token ids of a chat or a text, in vLLM's form; `in_thinking` says whether the chat opens thinking."""
        asked = read(
            await self._body(request.headers, request.receive), TokenizeRequest
        )
        service, offer = self._service, self._service.offer
        about = {"max_model_len": offer.model.context}
        if asked.messages:
            with checked(ChatRequest):
                chat = asked.chat
            [job] = choose(chat, offer)
            rendered = await service.tokenized(job)
            ids = rendered.token_ids or ()
            about["in_thinking"] = rendered.in_thinking
        else:
            ids = await service.encoded(asked.prompt, whole=asked.add_special_tokens)
        return reply({"count": len(ids), "tokens": ids, **about})

    async def _body(
        self, headers: Mapping[str, str], receive: Receive, **kind: Any
    ) -> bytes:
        limits = self._service.limits
        return await read_body(
            headers,
            receive,
            **{"limit": limits.body_bytes, "seconds": limits.body_seconds, **kind},
        )

    async def _trace(self, request: Request) -> Response:
        """The trace of a request, or its search tree as a page. Only who made the request sees it.

        A browser that follows a link sends no key, so the page of the server posts it as the field `key` of a form. It
        is read only where there is a trace of this id, which cannot be guessed.
        """
        name = request.path_params["id"]
        trace, authorization = (
            self._service.traces.get(name),
            request.headers.get("authorization"),
        )
        if request.method == "POST" and trace:
            form = await self._body(
                request.headers,
                request.receive,
                # Bytes of a form that holds a key
                limit=4096,
                kind="application/x-www-form-urlencoded",
            )
            authorization = f"Bearer {parse_qs(form.decode('utf-8', 'replace')).get('key', [''])[0]}"
        client = (
            None
            if request.method == "POST" and not trace
            else self._keys.client(authorization)
        )
        if trace is None or trace.owner != client:
            what = (
                f"no trace {name[:40]!r} of yours: the server keeps the last ones only"
            )
            raise ApiError(404, what, code="trace_not_found")
        return await trace_response(
            trace, as_page=not request.url.path.endswith(".jsonl")
        )
