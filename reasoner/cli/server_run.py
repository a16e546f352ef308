"""A server, from its socket to its end: what `reasoner serve` runs."""

import asyncio
import gc
import resource
import shlex
from dataclasses import dataclass, field
from traceback import format_exception
from typing import TYPE_CHECKING, Any, Final

from reasoner.cli import interrupts
from reasoner.cli.exits import ANSWERED, ENGINE, code_of, error_line
from reasoner.cli.progress import Display, watch
from reasoner.cli.terminal import Terminal, engine_log, own_streams
from reasoner.engine import Engine
from reasoner.errors import ReasonerError
from reasoner.execution.launching import cancel_all
from reasoner.serving.app import make_app
from reasoner.serving.choose import Offer
from reasoner.serving.config import ServerLimits
from reasoner.serving.limits import Keys
from reasoner.serving.listener import Listener, listen
from reasoner.serving.service import Service
from reasoner.serving.traces import RecentTraces

if TYPE_CHECKING:
    from rich.console import RenderableType

COLLECT_EVERY: Final = (20_000, 20, 100)
"""When garbage is collected: Python's own thresholds have a server walk its objects for a sixth of its time."""
MAX_FILES: Final = 65_536
"""Open files that a server asks for: each connection is one."""


class _Start(Display):
    """What is shown until the server is ready."""

    def picture(self, columns: int, rows: int) -> "RenderableType":
        """The stage, cut to one line."""
        from rich.text import Text

        return Text(self.waiting(), overflow="ellipsis", no_wrap=True)


@dataclass(slots=True)
class ServerRun:
    """One server that the command line and the settings describe."""

    engine: Engine
    offer: Offer
    limits: ServerLimits
    keys: Keys
    quiet: bool = field(kw_only=True)
    verbose: bool = field(kw_only=True)
    _terminal: Terminal = field(init=False)

    def run(self, host: str, port: int, *, drain: float) -> int:
        """Serve until a signal comes; the exit code.

        Raises:
            UsageError: an alias does not fit, or the address cannot be listened at.
        """
        service = Service(self.engine, self.offer, self.limits, traces=RecentTraces(), report=self._report)
        log = engine_log(self.engine)
        with listen(host, port) as at, own_streams(log) as terminal:
            self._terminal = terminal
            address = _address(host, at.getsockname()[1])
            listener = Listener(make_app(service, self.keys), at, service, drain=drain)
            try:
                interrupts.run(lambda: self._serve(service, listener, address))
            except KeyboardInterrupt as interrupt:
                terminal.say("interrupted")
                return interrupts.code_of(interrupt)
            except ReasonerError as error:
                terminal.say(error_line(error))
                if (code := code_of(error)) == ENGINE:
                    terminal.point_to(log)
                return code
            return ANSWERED

    async def _serve(self, service: Service, listener: Listener, address: str) -> None:
        """Answer /health from the first moment, and requests once the engine has started."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unhandled)
        _raise_open_files()
        serving = asyncio.ensure_future(listener.serve())
        display = _Start(self._terminal, quiet=self.quiet)
        try:
            with display.shown():
                watch(self.engine, display)
                display.begin(f"starting {self.engine.name}")
                await service.__aenter__()
            try:
                gc.freeze()
                gc.set_threshold(*COLLECT_EVERY)
                self._show_ready(service, address)
                with interrupts.handled(lambda: self._stop(listener)):
                    await serving
            finally:
                await service.__aexit__(None, None, None)
        finally:
            await cancel_all([serving])

    def _stop(self, listener: Listener) -> None:
        if not self.quiet:
            self._terminal.say(listener.stopping)
        listener.stop()

    def _show_ready(self, service: Service, address: str) -> None:
        if self.quiet:
            return
        model, aliases = service.offer.model, len(service.offer.aliases)
        self._terminal.say(f"ready    {address} serves {model} and {aliases} aliases of it; Ctrl-C stops it")
        body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "What is 3 + 4?"}}]}}'
        key = '-H "Authorization: Bearer $KEY" ' if self.keys else ""
        json = "-H 'Content-Type: application/json'"
        self._terminal.say(f"try      curl {address}/v1/chat/completions {json} {key}-d {shlex.quote(body)}")

    def _report(self, number: str, failure: BaseException) -> None:
        if not self.verbose:
            return
        for part in format_exception(failure):
            for line in part.splitlines():
                self._terminal.say(f"{number} {line}")

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio would print of a failure in no request."""
        self._report("-", context.get("exception") or RuntimeError(context["message"]))


def _address(host: str, port: int) -> str:
    """The address as a URL that this machine reaches."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 # the name of an address
    return f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{port}"


def _raise_open_files() -> None:
    """Let this process open as many files as its system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
