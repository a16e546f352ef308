"""Serves pages to this machine, for as long as a command runs."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock
from typing import Any, Final

from reasoner.errors import UsageError

HOST: Final = "127.0.0.1"
HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


OPEN: Final = 16
"""Connections that have a thread; others wait in the system's queue."""


class PageServer(ThreadingHTTPServer):
    """Answers GET with the status and page that `render` has for a path and its query, one at a time.

    It listens at 127.0.0.1, at any free port where `port` is 0, and serves only requests that name this machine as
    Host: a web page elsewhere cannot reach it by another name.

    Raises:
        UsageError: the port is in use or not allowed.
    """

    request_queue_size = 128
    """Connections that wait until one of those with a thread ends."""

    def __init__(self, render: Callable[[str], tuple[int, str]], port: int) -> None:
        self.render = render
        self.lock = Lock()
        self._places = BoundedSemaphore(OPEN)
        try:
            super().__init__((HOST, port), _Request)
        except OSError as error:
            raise UsageError(
                f"cannot listen at {HOST}:{port}: {error.strerror}: choose another --port"
            ) from error

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, once there is a place for one."""
        self._places.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection, and leave its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser left."""


class _Request(BaseHTTPRequestHandler):
    server: PageServer
    timeout = 5
    """Seconds in which a request arrives: it comes from this machine."""

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").removesuffix(f":{self.server.server_port}")
        if host in {HOST, "localhost"}:
            with self.server.lock:
                status, page = self.server.render(self.path)
        else:
            status, page = 403, "the Host must be localhost"
        body = page.encode("utf-8", "replace")
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal is the user's."""
