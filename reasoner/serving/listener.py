"""The HTTP server under the app: its socket, its connections with their limits, and how it stops."""

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from reasoner.errors import UsageError
from reasoner.serving.service import Service

try:
    from uvicorn.protocols.http import httptools_impl as in_c
except ImportError:  # httptools is an optional part of uvicorn
    in_c = None  # type: ignore[assignment]

MAX_HEADER_BYTES: Final = 1 << 16
"""Bytes that the head of a request may have."""
HEADER_SECONDS: Final = 30.0
"""Seconds in which the head of a request arrives, from the connection or its first byte."""
OFFER: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine and reached from nowhere else."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 is any free one.

    Raises:
        UsageError: the host is unknown, or the port is in use or not allowed.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=2048)
        # Made again from its descriptor, it knows its protocol: asyncio sends at once (TCP_NODELAY) where that is TCP.
        return socket.socket(fileno=listening.detach())
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(
            f"cannot listen at {host}:{port}: {why}: choose another --host or --port"
        ) from error


class WatchedConnection(asyncio.Protocol):
    """A connection that is closed where the head of its next request does not arrive in time; mixed into a parser."""

    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: Any
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        """Start a timer while the head of a request is expected, and stop it when the head has arrived."""
        awaited = self.cycle is None or self.cycle.response_complete
        if awaited and self._due is None:
            self._due = self.loop.call_later(HEADER_SECONDS, self.transport.close)
        elif not awaited and self._due:
            self._due.cancel()
            self._due = None


class Connection(WatchedConnection, H11Protocol):
    """A connection that h11 parses, in Python."""


if in_c:

    class FastConnection(WatchedConnection, in_c.HttpToolsProtocol):
        """A connection that httptools parses, in C, with the limits of h11: httptools leaves them to its user."""

        _size = 0
        """Bytes since a part of a body or the end of a request: those of a head, or of what follows a body."""

        def data_received(self, data: bytes) -> None:
            self._size += len(data)
            # httptools drops the body of a request that offers another protocol, as Java's client does. No body that is
            # read here has such a line.
            data = OFFER.sub(b"\r\nx-offer:", data)
            super().data_received(data)
            if self._size > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

        def on_headers_complete(self) -> None:
            hosts = [value for name, value in self.headers if name == b"host"]
            if len(hosts) > 1 or (
                not hosts and self.parser.get_http_version() != "1.0"
            ):
                raise ValueError("a request names one Host")
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._size = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._size = 0
            super().on_message_complete()

        def send_400_response(self, msg: str) -> None:
            if (
                self.cycle
                and self.cycle.response_started
                and not self.cycle.response_complete
            ):
                # A second response would be read as a part of the first.
                self.transport.close()
            else:
                super().send_400_response(msg)


CONNECTION: Final[Any] = FastConnection if in_c else Connection
"""The fastest connection that is installed."""


class Listener(uvicorn.Server):
    """Serves an ASGI app until it is stopped.

    The first `stop` takes no more connections and lets requests end for `drain` seconds; then, or at the second
    `stop`, they are cut off.
    """

    def __init__(self, app: Any, service: Service, *, drain: float = 30.0) -> None:
        self._drain = drain
        self._service = service
        config = uvicorn.Config(
            app,
            http=CONNECTION,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL + 1,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            # Seconds that a connection is kept between two requests
            timeout_keep_alive=75,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle no signals: the caller does."""
        yield

    def stop(self) -> None:
        """Stop gracefully, or, when called again, at once."""
        if self.should_exit:
            self._cut()
            return
        self.should_exit = True
        self._service.drain()
        asyncio.get_running_loop().call_later(self._drain, self._cut)

    def _cut(self) -> None:
        self._service.cancel()
        # Seconds in which requests that are cut off may send their error, before their connections are closed
        asyncio.get_running_loop().call_later(1.0, self._abort)

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
