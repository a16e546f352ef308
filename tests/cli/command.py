"""How these tests run the command: in this process, as a process of its own, or on a terminal."""

import os
import re
import select
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Protocol, Self

from tests.engines.fake_server import FakeServer
from tests.waiting import PATIENCE

MAIN = (sys.executable, "-c", "from reasoner.cli import main; main()")
ONE_AT_ONCE = "openai:max_concurrency=1"
"""The engine of a vote whose replies are let through one by one: votes count in launch order, and a server may get
requests that are sent at once in any."""


class Ended(NamedTuple):
    """What a finished command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error line, which is the only one and the last."""
        assert "Traceback" not in self.err, self.err
        lines = self.err.splitlines()
        assert [line.startswith("error: ") for line in lines] == [False] * (
            len(lines) - 1
        ) + [True], self.err
        return lines[-1]


class Run(Protocol):
    """Runs the command in this process."""

    def __call__(self, *arguments: str, stdin: BinaryIO | bytes = b"") -> Ended: ...


def start(
    *arguments: str, command: tuple[str, ...] = MAIN, **options: Any
) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [*command, *arguments],
        **{
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        },
    )


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for its end."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return Ended(process.returncode, out or "", err or "")


def read_until(process: subprocess.Popen[str], wanted: Callable[[str], bool]) -> str:
    """The first line of its standard error that is wanted."""
    assert process.stderr
    seen = []
    for line in process.stderr:
        seen.append(line)
        if wanted(line):
            return line
    raise AssertionError(f"it ended after {seen}")


@dataclass(slots=True, kw_only=True)
class GatedServer(FakeServer):
    """Answers as many sampling requests as were let through, and keeps the others waiting until more are."""

    free: int = 0
    asked: threading.Event = field(default_factory=threading.Event)
    _gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def let(self, requests: int) -> None:
        """Let this many through."""
        self._gate.release(requests)

    def __enter__(self) -> Self:
        if self.free:
            self.let(self.free)
        FakeServer.__enter__(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.let(100)
        FakeServer.__exit__(self, kind, error, trace)

    def events(self, body: dict[str, Any], *, chat: bool) -> Iterator[dict[str, Any]]:
        """The reply, once it may go."""
        self.asked.set()
        self._gate.acquire()
        yield from FakeServer.events(self, body, chat=chat)


_PIECE = re.compile(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|.", re.DOTALL)


@dataclass(slots=True)
class Screen:
    """A terminal of some columns: what a person sees of the bytes that were written to it."""

    columns: int
    rows: list[list[str]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    widest: int = 0

    def show(self, text: str) -> None:
        for piece in _PIECE.findall(text):
            if piece == "\r":
                self.column = 0
            elif piece == "\n":
                self._down()
            elif piece.startswith("\x1b"):
                self._obey(piece)
            else:
                self._put(piece)

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, without empty ones at the end."""
        return (
            "\n".join("".join(row).rstrip() for row in self.rows).rstrip().split("\n")
        )

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    def _put(self, piece: str) -> None:
        if self.column == self.columns:
            self.column = 0
            self._down()
        line = self.rows[self.row]
        line.extend(" " * (self.column + 1 - len(line)))
        line[self.column] = piece
        self.column += 1

    def _obey(self, sequence: str) -> None:
        if sequence == "\x1b[2K":
            self.rows[self.row] = []
        elif sequence.endswith("A"):
            self.row -= int(sequence[2:-1] or 1)
        else:
            assert sequence in ("\x1b[?25l", "\x1b[?25h", "\x1b[0m"), sequence


class Pty:
    """A command with a terminal as its standard error; its standard output is a pipe."""

    def __init__(
        self, *arguments: str, columns: int, environment: Mapping[str, str]
    ) -> None:
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        self.screen = Screen(columns)
        self.raw = ""
        # The variable would say more than the terminal does.
        inherited = {
            name: value for name, value in os.environ.items() if name != "COLUMNS"
        }
        self.process = start(
            *arguments,
            stderr=slave,
            stdin=slave,
            env={**inherited, "TERM": "xterm", **environment},
        )
        os.close(slave)

    def read_until(self, wanted: str) -> None:
        """Read until the screen shows it."""
        while not any(wanted in line for line in self.screen.lines):
            assert self._read(), self.raw[-500:]

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(PATIENCE)

    @property
    def out(self) -> str:
        assert self.process.stdout
        with self.process.stdout as pipe:
            return pipe.read()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], PATIENCE)
        assert ready, self.raw[-500:]
        try:
            data = os.read(self._master, 1 << 16).decode()
        except OSError:
            # Linux reports the end of a terminal as an error.
            return False
        self.raw += data
        self.screen.show(data)
        return bool(data)
