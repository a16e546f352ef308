"""The output of a command, separated from what libraries print and safe from what models wrote; its exit codes."""

import errno
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Literal, ParamSpec, TextIO

from reasoner.errors import (
    MAX_SHOWN,
    BudgetExhausted,
    EngineError,
    ReasonerError,
    TraceError,
    UsageError,
)
from reasoner.system.printing import one_line, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

ANSWERED = 0
OTHER = 1
USAGE = 2
EXHAUSTED = 3
ENGINE = 4
P = ParamSpec("P")
LABEL = 8
"""Columns of the label before a text."""
PIPED = 100
"""The width where standard output is not a terminal."""
MAX_WIDTH = 140
"""The greatest width: longer lines are hard to read."""
_COMMAND = re.compile(r"\s+|(?:(?<!\w)'[^']*'|\S)+")
"""Blanks and the words of a command; one is a text in quotes, so that it can be copied."""
_LIST = re.compile(r"[^,|(]*[,|(]+|[^,|(]+")
"""The parts of a list or a spec."""


class OutputLost(ReasonerError):
    """Standard output cannot be written: it is closed, its reader has gone, or the disk is full."""


class ReaderLeft(OutputLost):
    """The reader of standard output took some lines and left, as `head` does: not a failure."""


@dataclass(slots=True)
class Terminal:
    """Writes data to `out`, everything else to `err`."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    _given: int = 0
    """The number of lines of data that were written."""

    def say(self, line: str) -> None:
        """Write one line for a person; ignore failures, as the run matters more."""
        with suppress(OSError):
            _write(self.err, one_line(line))

    def say_labelled(self, label: str, text: str) -> None:
        """Write a label and a text for a person, wrapped on a terminal."""
        if not self.err.isatty():
            self.say(f"{label:<{LABEL}} {text}")
            return
        for line in wrapped(
            text, LABEL + 1, label, max(self._width, 2 * LABEL + 2)
        ).split("\n"):
            self.say(line)

    def fail(self, error: object) -> None:
        """Write an error in one line, which is wrapped on a terminal."""
        # Characters of an error that are shown, as it may name something of any length
        line = printable(str(error), limit=2000)
        # A word that is longer than the name of a file
        line = re.sub(r"\S{256,}", lambda word: f"{word[0][:MAX_SHOWN]}…", line)
        for part in (
            wrapped(line, 2, "error: ", self._width).split("\n")
            if self.err.isatty()
            else [f"error: {line}"]
        ):
            self.say(part)

    @property
    def _width(self) -> int:
        """The columns of the terminal for a person."""
        return os.get_terminal_size(self.err.fileno()).columns or 80

    def point_to(self, log: Path | None) -> None:
        """Name the file with the engine's own output, if there is any."""
        if log and log.exists() and log.stat().st_size:
            self.say(f"vLLM's own output is in {log}")

    def give(self, line: str) -> None:
        """Write one line of data.

        Raises:
            ReaderLeft: the reader left after some lines.
            OutputLost: it cannot be written.
        """
        try:
            _write(self.out, line)
        except BrokenPipeError as error:
            kind = ReaderLeft if self._given else OutputLost
            raise kind(
                "cannot write to standard output: its reader has gone"
            ) from error
        except OSError as error:
            why = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise OutputLost(f"cannot write to standard output: {why}") from error
        self._given += 1

    def show(self, *parts: "RenderableType", width: int | None = None) -> None:
        """Write data: texts as they are, other parts as rich lays them out in `width` columns. Raises as `give`."""
        for part in parts:
            if isinstance(part, str):
                for line in part.split("\n"):
                    self.give(one_line(line))
                continue
            from rich.console import Console

            # Rich's own NO_COLOR keeps bold and dim text.
            colors: Literal["auto"] | None = (
                None if os.environ.get("NO_COLOR") else "auto"
            )
            console = Console(
                file=self.out,
                width=width or columns(),
                color_system=colors,
                highlight=False,
                markup=False,
                emoji=False,
            )
            with console.capture() as captured:
                console.print(part, crop=False)
            for line in captured.get().split("\n")[:-1]:
                self.give(line.rstrip())


def columns() -> int:
    """The width of standard output, or `PIPED`, within the limits of what can be read."""
    # The least width; a narrower terminal breaks the lines itself
    return max(min(shutil.get_terminal_size((PIPED, 24)).columns, MAX_WIDTH), 40)


def wrapped(
    text: str, indent: int = 0, label: str = "", width: int | None = None
) -> str:
    """A text in lines of `width` columns, by default those of the terminal, which begin in column `indent`.

    The label stands before the first line. A word that is too long goes over the edge, unless it is a list.
    """
    first, others = one_line(label).ljust(indent), " " * indent
    wrapper = _Wrapper(
        width or columns(),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
    )
    return wrapper.fill(one_line(text)) or first.rstrip()


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines between words; commands and lists only where they are longer than a line."""

    def _split(self, text: str) -> list[str]:
        room, pieces = self.width - len(self.subsequent_indent), list[str]()
        # Blanks and words; one word is a command in backticks
        for word in re.findall(r"\s+|(?:`[^`]{1,140}`|\S)+", text):
            parts = _COMMAND if "`" in word else _LIST
            pieces += [word] if len(word) <= room else parts.findall(word)
        return pieces


def labelled(rows: Iterable[tuple[str, str]]) -> str:
    """A label and a text in each row; successive rows show the same label once, above the text where it is narrow."""
    listed = [(one_line(label), text) for label, text in rows]
    indent = max(LABEL, *(len(label) for label, _ in listed), 0) + 1
    above = indent > columns() // 3
    lines: list[str] = []
    previous = ""
    for label, text in listed:
        shown = "" if label == previous else label
        previous = label
        lines += [shown] if above and shown else []
        lines.append(wrapped(text, 2) if above else wrapped(text, indent, shown))
    return "\n".join(lines)


def _write(stream: TextIO, line: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()
    except OSError:
        abandon(stream)
        raise


def abandon(stream: TextIO) -> None:
    """Discard what a stream still buffers, so that closing it does not fail again."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def own_streams(log: Path | None) -> Iterator[Terminal]:
    """The command's streams; with `log`, all other output of this process and its children goes to that file.

    vLLM and torch write to the file descriptors from C++ and from other processes, so the descriptors are redirected.
    """
    if log is None:
        yield Terminal()
        return
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    sink = _open_log(log)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    with (
        os.fdopen(saved[0], "w", encoding="utf-8", errors="replace") as out,
        os.fdopen(saved[1], "w", encoding="utf-8", errors="replace") as err,
    ):
        try:
            yield Terminal(out, err)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)


def engine_log(engine: object) -> Path | None:
    """The file for what the engine prints itself; None where it prints nothing."""
    kept = getattr(engine, "stands_for", engine)
    if not type(kept).__module__.startswith("reasoner.engines.vllm"):
        return None
    from reasoner.models.cache import cache_home

    # With the engine of a server, only a verifier with a model of its own prints here.
    return cache_home() / ("engine.log" if kept is engine else "verifier.log")


def _open_log(log: Path) -> int:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


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
