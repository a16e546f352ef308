"""What foreign code raises, as an error of this library; a cancellation from outside stays what it is."""

import asyncio
from types import TracebackType

from reasoner.errors import PlanError, ReasonerError
from reasoner.origin import where

LONGEST = 500
"""Characters of a foreign exception's text that are kept."""


def from_outside(failure: BaseException) -> bool:
    """Whether it ends the work from outside: the task is cancelled, its coroutine closed, or Ctrl-C was pressed.

    A `CancelledError` that nobody asked this task for was raised by the code that runs in it.
    """
    if isinstance(failure, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(failure, KeyboardInterrupt | GeneratorExit)


def described(failure: BaseException) -> str:
    """The exception's type and text in one line of bounded length, whatever its text is."""
    try:
        text = " ".join(str(failure).split())
    except Exception:
        text = ""
    # A lone surrogate cannot be written to a trace.
    text = text[:LONGEST].encode("utf-8", "backslashreplace").decode()
    return f"{type(failure).__name__}: {text}" if text else type(failure).__name__


class Blaming:
    """A context in which what foreign code raises becomes `error`, with the name of who raised it.

    This library's own errors and what comes from outside pass. It has no state, so that one object serves all.
    """

    __slots__ = ("_error", "_who")

    def __init__(self, who: str, error: type[ReasonerError] = PlanError) -> None:
        self._who = who
        self._error = error

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if failure is None or isinstance(failure, ReasonerError) or from_outside(failure):
            return
        raise self.error(failure) from failure

    def error(self, failure: BaseException) -> ReasonerError:
        """The exception as an error; one of this library stays what it is."""
        if isinstance(failure, ReasonerError):
            return failure
        return self._error(f"{self._who} failed with {described(failure)}{where(failure)}")
