"""Exit codes, and commands that end with one of them."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from reasoner.cli.terminal import OutputLost, ReaderLeft, Terminal
from reasoner.errors import (
    BudgetExhausted,
    EngineError,
    ReasonerError,
    TraceError,
    UsageError,
)

ANSWERED = 0
OTHER = 1
USAGE = 2
EXHAUSTED = 3
ENGINE = 4

P = ParamSpec("P")


def code_of(error: ReasonerError) -> int:
    """The exit code of an error."""
    if isinstance(error, (UsageError, TraceError)):
        return USAGE
    if isinstance(error, BudgetExhausted):
        return EXHAUSTED
    return ENGINE if isinstance(error, EngineError) else OTHER


def code_of_run(error: ReasonerError) -> int:
    """The exit code of an error that ended a run. A file that cannot be written is not a usage error."""
    # An error of a file may be wrapped once on its way.
    causes = (error.__cause__, error.__cause__.__cause__ if error.__cause__ else None)
    unwritten = isinstance(error, TraceError) and any(
        isinstance(cause, OSError) for cause in causes
    )
    return OTHER if unwritten or isinstance(error, OutputLost) else code_of(error)


def guarded(command: Callable[P, int]) -> Callable[P, int]:
    """A command that turns errors of this library into a line on standard error and an exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except ReaderLeft:
            return ANSWERED
        except ReasonerError as error:
            Terminal().fail(error)
            return code_of(error)

    return run
