"""The page on which a person asks the server, and the traces that it links to."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reasoner.journal.lines import sealed_line
from reasoner.trace.events import Event, Proposed, Sampled, Thought, event_adapter
from reasoner.trace.page import base_style, page
from reasoner.trace.view import search_trees

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
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""A tree has no script, and its styles are within it."""


def page_routes() -> list[Route]:
    """GET / and its style sheet and script, which need no key."""
    return [Route(path, _asset) for path in ASSETS]


async def _asset(request: Request) -> Response:
    name, media_type = ASSETS[request.url.path]
    return Response(
        _content(name), media_type=media_type, headers=_headers(PAGE_POLICY, "no-cache")
    )


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


async def trace_response(trace: "KeptTrace", *, as_page: bool) -> Response:
    """The search tree of a trace as a page, or the trace as `reasoner trace FILE` reads it."""
    headers = _headers(TREE_POLICY, "no-store")
    if as_page:
        # Drawing a large tree takes longer than other requests should wait.
        return Response(
            await asyncio.to_thread(trace.page), media_type="text/html", headers=headers
        )
    return Response(trace.lines(), media_type="application/jsonl", headers=headers)


MAX_BYTES: Final = 64 << 20
"""Of all traces together, as JSON."""
MAX_LATER: Final = 1 << 18
"""Of a trace that is kept as it is until it is read."""
MAX_SHARE: Final = 8
"""A trace that has more than this part of `MAX_BYTES` is not kept."""


@dataclass(frozen=True, slots=True)
class KeptTrace:
    """The trace of one question, which its `owner` alone may read: its events, or its lines where it is large."""

    id: str
    owner: str
    size: int
    content: Sequence[Event] | bytes

    def lines(self) -> bytes:
        """The trace as `reasoner trace FILE` reads it."""
        return self.content if isinstance(self.content, bytes) else _lines(self.content)

    def page(self) -> str:
        """The search tree of each question, as the page that `reasoner trace FILE -o OUT.html` writes.

        It takes up to a second of computing for a large trace: run it in a thread.
        """
        validate = event_adapter().validate_json
        events = (
            validate(line[: line.rindex(b',"crc32"')] + b"}")
            for line in self.lines().splitlines()
        )
        return "\n".join(page(search_trees(events), source=f"trace {self.id}"))


def _lines(events: Sequence[Event]) -> bytes:
    """Events as the lines of a file, up to one with text that is not valid Unicode: later ones may refer to it."""
    lines: list[bytes] = []
    with suppress(ValueError):
        lines.extend(map(sealed_line, events))
    return b"".join(lines)


def _size_of(events: Sequence[Event], size: int) -> int:
    """Bytes of events that are kept as they are, and of what has this `size`; an upper bound."""
    for event in events:
        # Bytes of an event that is kept as it is, besides what was generated
        size += 1 << 11
        # Types are compared as they are, which takes no call: this is for each event of each request.
        if type(event) is Sampled or type(event) is Thought:
            rows = (
                len(event.logprobs.sampled) + sum(map(len, event.logprobs.top))
                if event.logprobs
                else 0
            )
            size += 8 * (len(event.text) + len(event.thinking)) + 40 * (
                len(event.token_ids) + rows
            )
        elif type(event) is Proposed:
            size += 256 * len(event.vote_state.votes)
    return size


class RecentTraces:
    """The traces of the last requests, at most `number`, of at most `size` bytes together; the oldest are dropped."""

    def __init__(self, *, number: int = 200, size: int = MAX_BYTES) -> None:
        self._number = number
        self._limit = size
        self._traces: OrderedDict[str, KeptTrace] = OrderedDict()
        self.size = 0
        """Bytes of all traces."""

    def keep(self, owner: str, events: Sequence[Event], *, prompt: int) -> str | None:
        """Keep all events of a question with a prompt of this many characters; the id of its trace.

        A large trace is written at once, as its lines take less room. None: it is too large to be kept.
        """
        content: Sequence[Event] | bytes = events
        size = _size_of(events, 8 * prompt)
        if size > MAX_LATER:
            content = _lines(events)
            size = len(content)
        if size > self._limit // MAX_SHARE:
            return None
        # Random bytes of an id: it cannot be guessed
        trace = KeptTrace(secrets.token_urlsafe(18), owner, size, content)
        self._traces[trace.id] = trace
        self.size += size
        while len(self._traces) > self._number or self.size > self._limit:
            _, oldest = self._traces.popitem(last=False)
            self.size -= oldest.size
        return trace.id

    def get(self, trace_id: str) -> KeptTrace | None:
        """The trace of this id, whoever made it; None if there is none or it was dropped."""
        return self._traces.get(trace_id)
