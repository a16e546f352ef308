"""The page on which a person asks the server, and the search trees that it links to."""

import asyncio
from functools import cache
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reasoner.serving.traces import KeptTrace
from reasoner.trace.page import base_style

FOLDER: Final = Path(__file__).with_name("page")
ASSETS: Final = {
    "/": ("index.html", "text/html"),
    "/page/style.css": ("style.css", "text/css"),
    "/page/app.js": ("app.js", "text/javascript"),
}
"""The file of each path, and its media type."""
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Only the page's own script and styles run, and they speak to this server alone."""
TREE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A tree has no script, and its styles are within it."""


def page_routes() -> list[Route]:
    """GET / and its style sheet and script, which need no key."""
    return [Route(path, _asset) for path in ASSETS]


async def _asset(request: Request) -> Response:
    name, media_type = ASSETS[request.url.path]
    return Response(_content(name), media_type=media_type, headers=_headers(PAGE_POLICY, "no-cache"))


@cache
def _content(name: str) -> str:
    own = (FOLDER / name).read_text(encoding="utf-8")
    return base_style() + own if name == "style.css" else own


def _headers(policy: str, cached: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": cached,
    }


async def trace_response(trace: KeptTrace, *, as_page: bool) -> Response:
    """The search tree of a trace as a page, or the trace as `reasoner trace FILE` reads it."""
    headers = _headers(TREE_POLICY, "no-store")
    if as_page:
        # Drawing a large tree takes longer than other requests should wait.
        return Response(await asyncio.to_thread(trace.page), media_type="text/html", headers=headers)
    return Response(trace.lines(), media_type="application/jsonl", headers=headers)
