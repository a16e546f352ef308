"""The output of a command, separated from what libraries print and safe from what models wrote."""

import errno
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from reasoner.errors import ReasonerError
from reasoner.system.printing import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

__all__ = [
    "LABEL", "OutputLost", "ReaderLeft", "Terminal", "abandon", "columns", "engine_log", "indented", "labelled",
    "one_line", "own_streams", "printable",
]  # fmt: skip

LABEL = 8
"""Columns of the label before a text."""
PIPED = 100
"""Columns that are used where standard output is not a terminal."""
MIN_WIDTH = 40
"""Columns that are used at least; a narrower terminal breaks the lines itself."""
MAX_WORD = 100
"""Characters from which a word is broken after all."""
_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60"
_WORD = re.compile(rf"\s*(?:[{_WIDE}]|[^\s{_WIDE}]+)")
"""Chinese and Japanese have no blanks between words: a line may end after each character."""
MAX_WIDTH = 140
"""Columns that are used at most: longer lines are hard to read."""


class OutputLost(ReasonerError):
    """Standard output cannot be written: it is closed, its reader has gone, or the disk is full."""


class ReaderLeft(OutputLost):
    """The reader of standard output took some lines and left, as `head` does: not a failure."""


@dataclass(slots=True)
class Terminal:
    """Writes data to `out`, everything else to `err`."""

    out: TextIO
    err: TextIO
    _given: int = 0
    """The number of lines of data that were written."""

    def say(self, line: str) -> None:
        """Write one line for a person; ignore failures, as the run matters more."""
        with suppress(OSError):
            _write(self.err, one_line(line))

    def say_labelled(self, label: str, text: str) -> None:
        """Write a label and a text for a person, wrapped on a terminal."""
        line = f"{label:<{LABEL}} {text}"
        if not self.err.isatty():
            self.say(line)
            return
        indent = " " * (LABEL + 1)
        for part in textwrap.wrap(
            line,
            max(self.columns, 2 * len(indent)),
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ):
            self.say(part)

    def point_to(self, log: Path | None) -> None:
        """Name the file with the engine's own output, if there is any."""
        if log and log.exists() and log.stat().st_size:
            self.say(f"vLLM's own output is in {log}")

    @property
    def columns(self) -> int:
        """The width of the terminal that `err` is."""
        return os.get_terminal_size(self.err.fileno()).columns or 80

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
            raise kind("cannot write to standard output: its reader has gone") from error
        except OSError as error:
            why = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise OutputLost(f"cannot write to standard output: {why}") from error
        self._given += 1

    def show(self, *parts: "RenderableType", width: int) -> None:
        """Write data that rich lays out in `width` columns. Raises as `give`."""
        from rich.console import Console
        from rich.text import Text

        console = Console(
            file=self.out,
            width=width,
            # Rich's own NO_COLOR keeps bold and dim text.
            color_system=None if os.environ.get("NO_COLOR") else "auto",
            highlight=False,
            markup=False,
            emoji=False,
        )
        for part in parts:
            with console.capture() as captured:
                console.print(_Rows([("", part)], 0) if isinstance(part, str | Text) else part, crop=False)
            for line in captured.get().split("\n")[:-1]:
                self.give(line.rstrip())


def columns() -> int:
    """The width of standard output, or `PIPED`, within the limits of what can be read."""
    return max(min(shutil.get_terminal_size((PIPED, 24)).columns, MAX_WIDTH), MIN_WIDTH)


def labelled(rows: "Iterable[tuple[str, str | Text]]") -> "RenderableType":
    """A label and a text in each row; a label is shown once for successive rows, above the text where it is narrow."""
    listed = list(rows)
    return _Rows(listed, max(LABEL, *(len(label) for label, _ in listed), 0) + 1)


def indented(text: str, columns: int, label: str = "") -> "RenderableType":
    """A text that begins in this column, after a label that fits before it."""
    return _Rows([(label, text)], columns, stacks=False)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Labels, and texts beside them; no word is broken, so one that is too long goes over the edge."""

    rows: "Sequence[tuple[str, str | Text]]"
    indent: int
    stacks: bool = True

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        from rich.text import Text

        narrow = self.indent > options.max_width // 3
        previous = ""
        for label, given in self.rows:
            text = Text(one_line(given)) if isinstance(given, str) else given
            longest = max((len(word) for word in text.plain.split()), default=0)
            stacked = self.stacks and (narrow or longest > options.max_width - self.indent)
            indent = 2 if stacked else self.indent
            shown = "" if label == previous else label
            previous = label
            if stacked and shown:
                yield Text(shown)
                shown = ""
            for line in _lines(text, options.max_width - indent):
                yield Text.assemble(shown.ljust(indent), line, no_wrap=True, overflow="ignore", end="\n")
                shown = ""


def _lines(text: "Text", width: int) -> "Iterator[Text]":
    """A text in lines of `width` columns, but for longer words, which rich alone would break."""
    from rich.cells import cell_len

    for paragraph in text.split("\n", allow_blank=True):
        breaks, column = [], 0
        for word in _WORD.finditer(paragraph.plain):
            begin, start = word.start(), word.end() - len(word[0].lstrip())
            if column and column + cell_len(word[0]) > width:
                breaks.append(start)
                begin, column = start, 0
            if word.end() - start >= MAX_WORD:
                breaks += range(start + width, word.end(), width)
            column += cell_len(paragraph.plain[begin : word.end()])
        for line in paragraph.divide(breaks):
            line.rstrip()
            yield line


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
        yield Terminal(sys.stdout, sys.stderr)
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
    if not type(engine).__module__.startswith("reasoner.engines.vllm"):
        return None
    from reasoner.models.cache import cache_home

    return cache_home() / "engine.log"


def _open_log(log: Path) -> int:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
