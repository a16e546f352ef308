"""Ends a command within a second of Ctrl-C, SIGTERM or SIGHUP."""

import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 0.2
"""Seconds that cancelled work may wait for exact costs; then it is cancelled again, which ends the wait."""
LIMIT = 0.6
"""Seconds after which the work is abandoned."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.code = 128 + signum


def code_of(interrupt: KeyboardInterrupt) -> int:
    """The exit code that shells expect: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return interrupt.code if isinstance(interrupt, Interrupted) else 128 + signal.SIGINT


@contextmanager
def raised() -> Iterator[None]:
    """Let the signals raise `Interrupted` in the body; ignored signals stay ignored.

    Raises:
        Interrupted: a signal came, also where code that it interrupted raised another error for it.
    """
    caught: list[int] = []

    def interrupt(signum: int, _frame: FrameType | None) -> None:
        caught.append(signum)
        raise Interrupted(signum)

    with _handled(interrupt, _active()):
        try:
            yield
        except Exception:
            # While a C module or a class is made, an interrupt becomes a TypeError or a RuntimeError.
            if caught:
                raise Interrupted(caught[0]) from None
            raise


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """`asyncio.run`, but a signal ends it within `LIMIT` seconds, and a second signal ends it at once.

    The first signal cancels the work. Work that still waits after `PATIENCE` seconds, for the exact cost of cancelled
    requests or for an engine to close, is cancelled repeatedly.

    Raises:
        Interrupted: a signal came. The process should then end, as threads and tasks may remain.
    """
    import asyncio

    caught: list[int] = []
    tasks: list[asyncio.Task[T] | None] = []

    async def main() -> T:
        tasks.append(asyncio.current_task())
        return await work()

    def cancel(wait: float) -> None:
        for task in tasks:
            if task and not task.done():
                task.cancel()
        # Seconds between further cancellations
        loop.call_later(wait, cancel, 0.05)

    def interrupt(signum: int, _frame: FrameType | None) -> None:
        if caught:
            raise Interrupted(caught[0])
        caught.append(signum)
        # The alarm also ends work that keeps the loop from running.
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        loop.call_soon_threadsafe(cancel, PATIENCE)

    runner = asyncio.Runner()
    loop = runner.get_loop()
    try:
        with _handled(interrupt, [*_active(), signal.SIGALRM]):
            try:
                return runner.run(main())
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException:
        if caught:
            raise Interrupted(caught[0]) from None
        raise
    finally:
        if caught:
            # Closing the runner would wait for threads. Remaining tasks must not print warnings.
            loop.set_exception_handler(lambda *_: None)
            asyncio.set_event_loop(None)
            loop.close()
        else:
            runner.close()


@contextmanager
def handled(stop: Callable[[], None]) -> Iterator[None]:
    """In the body, each of the signals only calls `stop`, on the running event loop."""
    import asyncio

    loop = asyncio.get_running_loop()

    def call(_signum: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)

    with _handled(call, _active()):
        yield


def _active() -> list[signal.Signals]:
    """The signals that are not ignored; nohup ignores SIGHUP."""
    return [
        signum
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(signum) not in {signal.SIG_IGN, None}
    ]


@contextmanager
def _handled(
    handler: Callable[[int, FrameType | None], None], signums: list[signal.Signals]
) -> Iterator[None]:
    """Handle signals in the body. Handlers that the body sets itself are kept. Only the main thread can do this."""
    mine = signums if threading.current_thread() is threading.main_thread() else []
    before = {signum: signal.signal(signum, handler) for signum in mine}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            if signal.getsignal(signum) is handler:
                signal.signal(signum, earlier)
