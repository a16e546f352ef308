"""What a person sees on a terminal of 40 columns."""

import os
import signal
import termios
from collections.abc import Iterator

import pytest

from reasoner.budget import Budget
from reasoner.cli.listing import command
from reasoner.cli.progress import Progress
from reasoner.cli.terminal import Terminal
from tests.cli.command import GatedServer, Pty, Screen

ASK = ("solve", "How many?", "-s", "self_consistency:n=2", "-b", "tokens=100k")


@pytest.fixture
def server() -> Iterator[GatedServer]:
    with GatedServer(free=1) as serving:
        yield serving


def test_a_live_line_comes_changes_and_goes(server: GatedServer) -> None:
    pty = Pty(*ASK, "-e", "openai", "--base-url", server.url, columns=40, environment={})
    pty.read_until("1 sample · ")
    [line] = pty.screen.lines
    assert len(line) <= 40
    assert line.startswith("1 sample · 47 of 100,000 tokens · ")
    assert line.endswith("…")
    server.let(1)
    assert (pty.finish(), pty.out) == (0, "4\n")
    starts = [line.partition(" ")[0] for line in pty.screen.lines]
    assert starts[0] == "vote"
    assert {"vote", "cost", "budget", "time", "note"} < set(starts)
    assert not [line for line in pty.screen.lines if "leading" in line or "starting" in line or "solving" in line]
    assert pty.raw.count("\x1b[?25l") == pty.raw.count("\x1b[?25h") > 0


def test_an_interrupt_removes_the_live_line_and_says_the_best_until_then(server: GatedServer) -> None:
    pty = Pty(*ASK, "-e", "openai", "--base-url", server.url, columns=40, environment={})
    pty.read_until("1 sample · ")
    pty.process.send_signal(signal.SIGINT)
    assert (pty.finish(), pty.out) == (130, "")
    said = "interrupted; until then: 1 sample · 47 of 100,000 tokens · leading 4 (100%)"
    assert pty.screen.lines == [said[:40], said[40:]]


def test_a_terminal_that_cannot_go_back_gets_plain_lines(server: GatedServer) -> None:
    server.let(1)
    pty = Pty(*ASK, "-e", "openai", "--base-url", server.url, columns=200, environment={"TERM": "dumb"})
    assert (pty.finish(), pty.out) == (0, "4\n")
    assert "\x1b" not in pty.raw
    assert pty.screen.lines[:3] == [
        f"starting openai at {server.url}",
        "solving with tiny",
        "1 sample · 47 of 100,000 tokens · leading 4 (100%)",
    ]


def test_lists_are_wrapped_to_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    command.main(["strategies"], standalone_mode=False)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


def test_a_note_stays_above_the_live_line() -> None:
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 40))
    with os.fdopen(slave, "w", encoding="utf-8") as err, open(os.devnull, "w") as out:  # noqa: PTH123
        progress = Progress(Terminal(out, err), Budget())
        progress.note("before")
        progress.begin("starting vLLM")
        with progress.shown():
            progress.note("converting [the] model\x1b[2J")
        progress.note("after")
        screen, raw = Screen(40), ""
        while "after" not in raw:
            raw += os.read(master, 1 << 16).decode()
        screen.show(raw)
    os.close(master)
    assert "starting vLLM … 0 s" in raw
    assert screen.lines == ["before", "converting [the] model [2J", "after"]
