"""The page on which a person asks the server, and the search trees that it links to."""

import asyncio
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import HTMLResponse

from reasoner.serving.errors import ApiError
from reasoner.serving.traces import KeptTrace, RecentTraces
from reasoner.serving.wire import read_body
from reasoner.trace.page import base_style

FOLDER: Final = Path(__file__).with_name("page")
FORM: Final = "application/x-www-form-urlencoded"
MAX_FORM_BYTES: Final = 4096
"""Of the form that carries a key."""
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Only the page's own script and styles run, and they speak to this server alone."""
TREE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A tree has no script, and its styles are within it."""
Authorize = Callable[[str | None], str]
"""The owner that the value of an Authorization header stands for, "" on a server without keys.

Raises:
    ApiError: there is no such key.
"""


def page_routes() -> APIRouter:
    """GET / and its style sheet and script, which need no key."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def index() -> Response:
        return _asset("index.html", "text/html")

    @routes.get("/page/style.css")
    def style() -> Response:
        return _asset("style.css", "text/css")

    @routes.get("/page/app.js")
    def script() -> Response:
        return _asset("app.js", "text/javascript")

    return routes


def _asset(name: str, media_type: str) -> Response:
    return Response(_content(name), media_type=media_type, headers=_headers(PAGE_POLICY, "no-cache"))


@cache
def _content(name: str) -> str:
    own = (FOLDER / name).read_text(encoding="utf-8")
    return base_style() + own if name == "style.css" else own


def _headers(policy: str, cached: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-VendorOptions": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": cached,
    }


def trace_routes(traces: RecentTraces, authorize: Authorize, *, seconds: float) -> APIRouter:
    """GET /v1/reasoner/traces/ID, the search tree as a page, and ID.jsonl, the trace. Only its owner sees a trace.

    A browser that follows a link sends no key, so the page of the server posts it as the field `key` of a form, within
    `seconds`. It is read only where there is a trace of this id, which cannot be guessed.
    """
    routes = APIRouter(prefix="/v1/reasoner/traces")

    def existing(trace_id: str, trace: KeptTrace | None) -> KeptTrace:
        if trace is None:
            what = f"no trace {trace_id[:40]!r} of yours: the server keeps the last ones only"
            raise ApiError(404, what, code="trace_not_found")
        return trace

    def kept(trace_id: str, authorization: str | None) -> KeptTrace:
        return existing(trace_id, traces.get(trace_id, authorize(authorization)))

    @routes.get("/{trace_id}.jsonl", response_model=None, responses=_serves("application/jsonl"))
    def lines(trace_id: str, authorization: Annotated[str | None, Header()] = None) -> Response:
        """The trace of a request, one event per line, as `reasoner trace FILE` reads it."""
        lines = kept(trace_id, authorization).lines()
        return Response(lines, media_type="application/jsonl", headers=_headers(TREE_POLICY, "no-store"))

    @routes.get("/{trace_id}", response_model=None, responses=_serves("text/html"))
    async def tree(trace_id: str, authorization: Annotated[str | None, Header()] = None) -> Response:
        """The search tree of a request, as a page."""
        return await _tree(kept(trace_id, authorization))

    @routes.post("/{trace_id}", include_in_schema=False)
    async def tree_by_form(trace_id: str, request: Request) -> Response:
        existing(trace_id, traces.any(trace_id))
        body = await read_body(request, limit=MAX_FORM_BYTES, seconds=seconds, kind=FORM)
        key = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0]
        return await _tree(kept(trace_id, f"Bearer {key}" if key else None))

    return routes


def _serves(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {}}}}


async def _tree(trace: KeptTrace) -> Response:
    # Drawing a large tree takes longer than other requests should wait.
    page = await asyncio.to_thread(trace.page)
    return HTMLResponse(page, headers=_headers(TREE_POLICY, "no-store"))
