"""Where the command writes: its own streams, kept clean of what libraries print."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Terminal:
    """Data goes to `out`, everything else to `err`."""

    out: IO[str]
    err: IO[str]

    def say(self, line: str) -> None:
        """One line for a person."""
        self.err.write(line + "\n")
        self.err.flush()

    def give(self, line: str) -> None:
        """One line of data."""
        self.out.write(line + "\n")
        self.out.flush()


@contextmanager
def own_streams(log: Path | None) -> Iterator[Terminal]:
    """The command's streams; with `log`, all else that this process and its children print goes to that file.

    vLLM and torch write to the file descriptors themselves, from C++ and from other processes, so these are redirected.
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


def _open_log(log: Path) -> int:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def printable(text: str, *, limit: int = 60) -> str:
    """Text that a model wrote, fit for a terminal: one line, no control characters, at most `limit` characters."""
    clean = "".join(char if char.isprintable() else " " for char in text[: 4 * limit])
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
