"""Ends a command within a second of Ctrl-C, SIGTERM or SIGHUP, whatever it waits for."""

import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
Handler = Callable[[int, FrameType | None], None]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 0.2
"""Seconds in which cancelled work may wait for exact costs; then it is cancelled again, which ends such waits."""
AGAIN = 0.05
"""Seconds between further cancellations."""
LIMIT = 0.6
"""Seconds after which the work is left as it is."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.code = 128 + signum


def code_of(interrupt: KeyboardInterrupt) -> int:
    """The exit code that shells know: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return interrupt.code if isinstance(interrupt, Interrupted) else 128 + signal.SIGINT


@contextmanager
def raised() -> Iterator[None]:
    """The signals raise `Interrupted` in the body; those that are ignored stay ignored."""

    def interrupt(signum: int, _frame: FrameType | None) -> None:
        raise Interrupted(signum)

    with _handled(interrupt, _heeded()):
        yield


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """`asyncio.run`, but a signal ends it within `LIMIT` seconds, and a second one at once.

    The first one cancels the work. Work that still waits after `PATIENCE` seconds, be it for the exact cost of what it
    gave up or for an engine to close, is cancelled again and again.

    Raises:
        Interrupted: a signal came. The process should then end, as threads and tasks may still be there.
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
        loop.call_later(wait, cancel, AGAIN)

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
        with _handled(interrupt, [*_heeded(), signal.SIGALRM]):
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
            # Closing the runner would wait for threads. What is left of the work is not to complain.
            loop.set_exception_handler(lambda *_: None)
            asyncio.set_event_loop(None)
            loop.close()
        else:
            runner.close()


def _heeded() -> list[signal.Signals]:
    """The signals that Python handles or that would end it: not those that are ignored, as under nohup."""
    return [signum for signum in SIGNALS if signal.getsignal(signum) not in {signal.SIG_IGN, None}]


@contextmanager
def _handled(handler: Handler, signums: list[signal.Signals]) -> Iterator[None]:
    """Handles signals in the body, unless they are handled otherwise meanwhile. Only the main thread can."""
    mine = signums if threading.current_thread() is threading.main_thread() else []
    before = {signum: signal.signal(signum, handler) for signum in mine}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            if signal.getsignal(signum) is handler:
                signal.signal(signum, earlier)
