"""A server, from its socket to its end: what `reasoner serve` runs."""

import asyncio
import gc
import resource
import shlex
from dataclasses import dataclass, field
from socket import socket
from traceback import format_exception
from typing import Any, Final

from reasoner.cli import interrupts
from reasoner.cli.session import EngineRun, announce
from reasoner.errors import ReasonerError
from reasoner.execution.launching import cancel_all
from reasoner.serving.app import App, Keys
from reasoner.serving.choose import Offer
from reasoner.serving.config import ServerLimits
from reasoner.serving.listener import Listener, listen
from reasoner.serving.service import Service

THRESHOLDS: Final = (20_000, 20, 100)
"""When garbage is collected: Python's own thresholds have a server walk its objects for a sixth of its time."""
MAX_FILES: Final = 65_536
"""Open files that a server asks for: each connection is one."""


@dataclass(slots=True, kw_only=True)
class ServerRun(EngineRun):
    """One server that the command line and the settings describe."""

    offer: Offer
    limits: ServerLimits
    keys: Keys
    host: str
    port: int
    _socket: socket = field(init=False)

    def run(self) -> int:
        """Serve until a signal comes; the exit code. Raises UsageError: the address cannot be listened at."""
        with listen(self.host, self.port) as self._socket:
            # `super()` does not work in a dataclass with slots.
            return EngineRun.run(self)

    async def work(self) -> None:
        """Answer /health from the first moment, and requests once the engine has started."""
        asyncio.get_running_loop().set_exception_handler(self._unhandled)
        _raise_open_files()
        service = Service(self.engine, self.offer, self.limits, report=self._report)
        listener = Listener(
            App(service, self.keys), service, drain=self.limits.drain_seconds
        )
        serving = asyncio.ensure_future(listener.serve([self._socket]))
        try:
            announce(self.engine, self.display)
            async with service:
                self.display.hide()
                gc.freeze()
                gc.set_threshold(*THRESHOLDS)
                self._show_ready(
                    service, _url(self.host, self._socket.getsockname()[1])
                )
                with interrupts.handled(lambda: self._stop(listener)):
                    await serving
        finally:
            await cancel_all([serving])

    def _stop(self, listener: Listener) -> None:
        seconds = self.limits.drain_seconds
        left = f"requests in flight have {seconds} s to end; another signal ends them at once"
        self.display.terminal.say(
            "stopping at once" if listener.should_exit else f"stopping: {left}"
        )
        listener.stop()

    def _show_ready(self, service: Service, address: str) -> None:
        model, aliases = service.offer.model.name, len(service.offer.aliases)
        self.display.terminal.say(
            f"ready    {address} serves {model} and {aliases} aliases of it; Ctrl-C stops it"
        )
        body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "What is 3 + 4?"}}]}}'
        key = '-H "Authorization: Bearer $KEY" ' if self.keys else ""
        json = "-H 'Content-Type: application/json'"
        self.display.terminal.say(
            f"try      curl {address}/v1/chat/completions {json} {key}-d {shlex.quote(body)}"
        )

    def _report(self, number: str, failure: BaseException) -> None:
        """Say why a request failed: in a line where an error of ours says it, else by its traceback."""
        own = isinstance(failure, ReasonerError)
        text = str(failure) if own else "".join(format_exception(failure))
        for line in text.splitlines():
            self.display.terminal.say(f"{number} {line}")

    def _unhandled(
        self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        """What asyncio would print of a failure in no request."""
        self._report("-", context.get("exception") or RuntimeError(context["message"]))


def _url(host: str, port: int) -> str:
    """The address as a URL that this machine reaches."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 # the name of an address
    return f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{port}"


def _raise_open_files() -> None:
    """Let this process open as many files as its system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
