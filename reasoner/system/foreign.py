"""Foreign code (strategies, verifiers, engines) is not trusted: its exceptions and its counts are checked here."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from traceback import walk_tb
from typing import Final

from reasoner.errors import PlanError, ReasonerError
from reasoner.system.printing import printable

MAX_LENGTH: Final = 500
"""Maximum characters of a foreign exception's text; the rest is cut."""
MAX_PER_REQUEST: Final = 10**9
"""Maximum tokens, and maximum calls, of one request or one rating."""
MAX_PER_QUESTION: Final = 10**15
"""Maximum of all requests of one question together; sums of it fit 64 bits."""
MAX_FLOPS: Final = 10**30
"""More than any computation that one question can ask for."""
_OURS = str(Path(__file__).parent) + os.sep
_STANDARD = str(Path(os.__file__).parent) + os.sep


def fault_in(
    counts: Sequence[tuple[str, object]], *, limit: int = MAX_PER_REQUEST
) -> str:
    """What is wrong with the first count that is not a whole number from 0 to `limit`; empty if all are fine."""
    for name, count in counts:
        if type(count) is not int and (
            not isinstance(count, int) or isinstance(count, bool)
        ):
            return f"{name} is {type(count).__name__}, not a whole number"
        if not 0 <= count <= limit:
            # Python refuses to print integers of over 4,300 digits.
            shown = (
                str(count)
                if count.bit_length() < 128
                else f"a number of {count.bit_length():,} bits"
            )
            return f"{name}={shown} is out of range: a count is 0 to {limit:,}"
    return ""


def where(failure: BaseException) -> str:
    """The location in foreign code that raised the exception, as " (FILE:LINE)"; empty if there is none.

    It is the deepest location outside Python's own code, and outside installed packages if possible.
    """
    locations = [
        (frame.f_code.co_filename, line)
        for frame, line in walk_tb(failure.__traceback__)
    ]
    installed = [
        (file, line)
        for file, line in locations
        if "site-packages" in file or not file.startswith(_STANDARD)
    ]
    foreign = [
        (file, line) for file, line in installed if not file.startswith((_OURS, "<"))
    ]
    own = [(file, line) for file, line in foreign if "site-packages" not in file]
    if not foreign:
        return ""
    file, line = (own or foreign)[-1]
    with suppress(OSError, ValueError):
        file = str(Path(file).relative_to(Path.cwd()))
    return f" ({file}:{line})"


def is_cancellation(failure: BaseException) -> bool:
    """Whether it ends the work from outside: the task is cancelled, its coroutine closed, or Ctrl-C was pressed.

    A `CancelledError` that nobody requested for this task was raised by the code that runs in it.
    """
    import asyncio

    if isinstance(failure, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(failure, KeyboardInterrupt | GeneratorExit)


def described(failure: BaseException) -> str:
    """The exception's type and text in one line of bounded length."""
    try:
        text = printable(str(failure), limit=MAX_LENGTH)
    except Exception:
        text = ""
    return f"{type(failure).__name__}: {text}" if text else type(failure).__name__


class ForeignErrors:
    """A context in which an exception of foreign code becomes `error`, with the name of the code that raised it.

    This library's own errors and what comes from outside pass. It has no state, so one object can be shared.
    """

    __slots__ = ("_error", "_who")

    def __init__(self, who: str, error: type[ReasonerError] = PlanError) -> None:
        self._who = who
        self._error = error

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: object, failure: BaseException | None, _traceback: object
    ) -> None:
        if (
            failure is None
            or isinstance(failure, ReasonerError)
            or is_cancellation(failure)
        ):
            return
        raise self.error(failure) from failure

    def error(self, failure: BaseException) -> ReasonerError:
        """The exception as an error; one of this library is returned unchanged."""
        if isinstance(failure, ReasonerError):
            return failure
        return self._error(
            f"{self._who} failed with {described(failure)}{where(failure)}"
        )
