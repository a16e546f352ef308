"""Exit codes, and errors in one line."""

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import click

from reasoner.cli.terminal import OutputLost, ReaderLeft, printable
from reasoner.errors import MAX_SHOWN, BudgetExhausted, EngineError, ReasonerError, TraceError, UsageError

ANSWERED = 0
OTHER = 1
USAGE = 2
EXHAUSTED = 3
ENGINE = 4

MAX_ERROR_LENGTH = 2000
"""Characters of an error that are shown, as it may name something of any length."""

_ENDLESS = re.compile(r"\S{256,}")
"""A word that is longer than the name of a file."""

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
    unwritten = isinstance(error, TraceError) and any(isinstance(cause, OSError) for cause in causes)
    return OTHER if unwritten or isinstance(error, OutputLost) else code_of(error)


def error_line(error: object) -> str:
    """An error in one line."""
    line = printable(str(error), limit=MAX_ERROR_LENGTH)
    return f"error: {_ENDLESS.sub(lambda word: f'{word[0][:MAX_SHOWN]}…', line)}"


def guarded(command: Callable[P, int]) -> Callable[P, int]:
    """A command that turns errors of this library into a line on standard error and an exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except ReaderLeft:
            return ANSWERED
        except ReasonerError as error:
            click.echo(error_line(error), err=True)
            return code_of(error)

    return run
