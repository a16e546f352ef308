"""What a person sees on a terminal of 40 columns."""

import os
import re
import signal
import termios
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import Budget
from reasoner.cli.progress import QuestionProgress
from reasoner.cli.terminal import Terminal, wrapped
from tests.cli.command import ONE_AT_ONCE, GatedServer, Pty, Screen

ASK = ("solve", "How many?", "-s", "self_consistency:n=2", "-b", "tokens=100k")


@pytest.fixture
def server() -> Iterator[GatedServer]:
    with GatedServer(free=1) as serving:
        yield serving


def test_a_live_line_comes_changes_and_goes(server: GatedServer) -> None:
    pty = Pty(
        *ASK, "-e", ONE_AT_ONCE, "--base-url", server.url, columns=40, environment={}
    )
    pty.read_until("1 sample · ")
    [line] = pty.screen.lines
    assert len(line) <= 40
    assert line.startswith("1 sample · 47 of 100,000 tokens · ")
    assert line.endswith("…")
    server.let(1)
    assert (pty.finish(), pty.out) == (0, "4\n")
    starts = [line.partition(" ")[0] for line in pty.screen.lines]
    assert starts[0] == "vote"
    assert set(starts) == {"vote", "cost", "budget", "time", "note", ""}
    assert not [
        line
        for line in pty.screen.lines
        if "leading" in line or "starting" in line or "solving" in line
    ]
    assert pty.raw.count("\x1b[?25l") == pty.raw.count("\x1b[?25h") > 0


def test_an_interrupt_removes_the_live_line_and_says_the_best_until_then(
    server: GatedServer,
) -> None:
    pty = Pty(
        *ASK, "-e", ONE_AT_ONCE, "--base-url", server.url, columns=40, environment={}
    )
    pty.read_until("1 sample · ")
    pty.process.send_signal(signal.SIGINT)
    assert (pty.finish(), pty.out) == (130, "4\n")
    # The other sample is booked at its worst case: nobody can tell what it cost.
    said = (
        "interrupted after 1 sample · 559 of 100,000 tokens · leading 4 (1 of 1 vote)"
    )
    assert pty.screen.lines == [said[:40].rstrip(), said[40:].rstrip()]


def test_a_terminal_that_cannot_go_back_gets_plain_lines(server: GatedServer) -> None:
    server.let(1)
    pty = Pty(
        *ASK,
        "-e",
        ONE_AT_ONCE,
        "--base-url",
        server.url,
        columns=200,
        environment={"TERM": "dumb"},
    )
    assert (pty.finish(), pty.out) == (0, "4\n")
    assert "\x1b" not in pty.raw
    assert pty.screen.lines[:3] == [
        f"starting openai at {server.url}",
        "solving with tiny",
        "1 sample · 47 of 100,000 tokens · leading 4 (1 of 1 vote)",
    ]


def test_a_note_stays_above_the_live_line() -> None:
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 40))
    with os.fdopen(slave, "w", encoding="utf-8") as err, open(os.devnull, "w") as out:  # noqa: PTH123
        progress = QuestionProgress(Terminal(out, err), Budget())
        progress.note("before")
        progress.begin("starting " + 60 * "v")
        raw = os.read(master, 1 << 16).decode()
        with progress.shown():
            while "starting" not in raw:
                raw += os.read(master, 1 << 16).decode()
            progress.note("converting [the] model\x1b[2J")
        progress.note("after")
        while "after" not in raw:
            raw += os.read(master, 1 << 16).decode()
    os.close(master)
    assert "starting " + 30 * "v" + "…" in raw
    screen = Screen(40)
    screen.show(raw)
    assert screen.lines == ["before", "converting [the] model[U+001B][2J", "after"]


WORDS = st.lists(
    st.one_of(
        st.text("ab'-.:", min_size=1, max_size=30), st.just("`reasoner eval 'a b.csv'`")
    ),
    min_size=1,
)


@given(WORDS, st.integers(40, 100))
def test_a_line_ends_between_words_and_holds_as_many_as_fit(
    words: list[str], width: int
) -> None:
    lines = wrapped(" ".join(words), 2, "error: ", width).split("\n")
    assert " ".join(line.strip() for line in lines) == f"error: {' '.join(words)}"
    assert all(len(line) <= width for line in lines)
    for line, after in pairwise(lines):
        assert len(line) + 1 + len(re.match(r"`[^`]*`|\S+", after.strip())[0]) > width  # type: ignore[index]


def test_only_a_command_or_a_list_that_is_longer_than_a_line_is_broken() -> None:
    command = "`reasoner eval 'jsonl:path=q.csv,columns=[question:Frage nr.]'`"
    assert wrapped(f"say it: {command}", 2, width=70).split("\n")[1] == f"  {command}"
    assert wrapped(f"say it: {command}", 2, width=40).split("\n")[1:] == [
        "  'jsonl:path=q.csv,columns=[question:Frage nr.]'`"
    ]
    assert wrapped(
        "one: " + "strategies|verifiers|engines|tasks|rules", 2, width=40
    ).split("\n") == [
        "  one: strategies|verifiers|engines|",
        "  tasks|rules",
    ]
