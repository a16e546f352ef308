"""The outermost layer of the app: who asks, an id for each request, bounded bodies, and only errors of the API."""

import asyncio
import secrets
from collections.abc import Collection
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reasoner.serving.errors import ApiError
from reasoner.serving.limits import Client, Keys
from reasoner.serving.listener import is_loopback
from reasoner.serving.service import Report, opaque, silent
from reasoner.serving.streams import encoded

LINGER: Final = 4
"""How many times its limit a body is read, and dropped, so that its client gets to read the refusal."""
REPORTED: Final = "reported"
"""Set in the state of a request whose failure the app has answered and reported; it raises it all the same."""
CLOSE: Final = {"Connection": "close"}


def reply(document: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(encoded(document), status, headers, "application/json")


def refused(error: ApiError) -> Response:
    """The response of an error."""
    return reply(error.document(), error.status, error.headers)


class Front:
    """Wraps the app: finds the client of each request by its key, unless its path is `public`, or begins as one in /.

    Without keys, only requests whose Host is this machine are served, so that no page of a browser reaches the server
    under a name of its own.
    """

    def __init__(self, app: ASGIApp, keys: Keys, *, public: Collection[str] = (), report: Report = silent) -> None:
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


async def read_body(request: Request, *, limit: int, seconds: float, kind: str = "application/json") -> bytes:
    """The body of a request, which has the media type `kind`.

    Raises:
        ApiError: 415 for another type, 413 for more than `limit` bytes, 408 where it takes more than `seconds`, 499
            where the client leaves.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != kind:
        # A page of a browser may send other types than JSON to this machine without asking it first.
        raise ApiError(415, f"the body has another media type: send it with the header `Content-Type: {kind}`")
    too_large = ApiError(413, f"the body is too large: at most {limit:,} bytes are allowed", headers=CLOSE)
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isascii() and declared.isdecimal() and len(declared) < 20 else 0
    if size > LINGER * limit or (size > limit and "expect" in request.headers):
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            received = 0
            async for part in request.stream():
                received += len(part)
                if received > LINGER * limit:
                    raise too_large
                if received <= limit:
                    body += part
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {seconds:g} s", headers=CLOSE) from None
    except ClientDisconnect:
        raise ApiError(499, "the client left", code="client_left") from None
    if received > limit:
        raise too_large
    return bytes(body)
