"""`reasoner trace`: a tree for a person, for a program and as a page, and one line for what cannot be shown."""

import io
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from reasoner.cli.terminal import Terminal
from reasoner.cli.trace_view import full
from reasoner.testing.support import write_trace
from reasoner.trace.events import Event
from tests.cli.command import Run
from tests.trace.tree.growing import Trace, beam

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202e\u2066\r\n\0 [bold]markup[/bold] <script>"
TREE = """\
prompt, 5 tokens: How many?
├ #0 • continued 0.75 15 tok  First.
│ ├ #3 = answered 0.50 15 tok = 7  The answer is 7
│ └ #4 = answered 0.95 15 tok = 8  The answer is 8
├ #1 → path 0.50 15 tok  Second.
│ └ #5 → answer 0.90 15 tok = 7  So it is 7
└ #2 ✂ pruned 0.25 15 tok  Third.

→ the path to the answer
#1       0.50  Second.
#5       0.90  So it is 7
"""


def saved(path: Path, *traces: Trace) -> str:
    return str(
        write_trace(
            path / "t.jsonl", (event for trace in traces for event in trace.events)
        )
    )


def interleaved(*traces: Trace) -> Iterable[Event]:
    for place in range(max(len(trace.events) for trace in traces)):
        yield from (
            trace.events[place] for trace in traces if place < len(trace.events)
        )


def named(name: str) -> Trace:
    trace = beam()
    trace.events = [
        event.model_copy(update={"question_id": name}) for event in trace.events
    ]
    return trace


def test_the_tree_of_one_question_is_drawn(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, beam())
    shown = run("trace", path)
    assert (shown.code, shown.err) == (0, "")
    assert TREE in shown.out
    assert "answer   7\n" in shown.out
    assert (
        "drawn    6 sequences, depth 2: 2 continued, 3 answered, 1 pruned\n"
        in shown.out
    )
    assert "proposals 7 with 100% of the vote" in shown.out
    assert (
        "✂ pruned: incomplete, while others of its depth were continued\n" in shown.out
    )
    assert "repeat" not in shown.out
    monkeypatch.setenv("COLUMNS", "40")
    narrow = run("trace", path).out.splitlines()
    assert "├ #1 → path 0.50 15 tok  Second." in narrow
    assert "│ └ #5 → answer 0.90 15 tok = 7  So it …" in narrow
    assert max(map(len, narrow)) <= 40


def test_what_a_model_wrote_cannot_command_the_terminal(
    run: Run, tmp_path: Path
) -> None:
    trace = Trace(text=HOSTILE).begin()
    step = trace.draw("head", HOSTILE, value=0.5)
    trace.rate("head", 0, None, error=HOSTILE)
    trace.draw(trace.put(step, HOSTILE), HOSTILE, stop=None, answer=HOSTILE)
    shown = run("trace", saved(tmp_path, trace.propose(HOSTILE).end(HOSTILE)))
    assert shown.code == 0
    assert all(line.isprintable() for line in shown.out.splitlines())
    assert "[bold]markup[/bold]" in shown.out
    assert "not rated: [U+001B]]0;owned" in shown.out


def test_a_terminal_gets_colours_and_the_words_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown(out: io.StringIO) -> str:
        Terminal(out, out).show(
            *full(beam().tree, 100), "[red]x[/red] :smile:", width=100
        )
        return out.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    painted, piped = shown(Screen()), shown(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(Screen()) == piped
    words = re.sub(r"\x1b\[[\d;]*m", "", painted)
    assert [line.rstrip() for line in words.splitlines()] == piped.splitlines()
    assert "\x1b[1;32m" in painted
    assert piped.endswith("[red]x[/red] :smile:\n")


def test_several_questions_are_a_line_each(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_trace(tmp_path / "t.jsonl", interleaved(named("q1"), named("q2"))))
    shown = run("trace", path)
    assert shown.err == "choose one with --question ID\n"
    rows = [
        f"{name}       How many? · strategy: 7, 1 sample, tokens 8, depth 2"
        for name in ("q1", "q2")
    ]
    assert shown.out.splitlines() == rows
    monkeypatch.setenv("COLUMNS", "40")
    narrow = run("trace", path).out.splitlines()
    assert max(map(len, narrow)) <= 40
    chosen = run("trace", path, "--question", "q2")
    assert "question q2: How many?\n" in chosen.out


def test_a_page_is_written_beside_what_is_shown(run: Run, tmp_path: Path) -> None:
    path, page = saved(tmp_path, named("q1"), named("q2")), tmp_path / "out.html"
    shown = run("trace", path, "--out", str(page))
    assert shown.err.splitlines() == ["choose one with --question ID", f"wrote {page}"]
    assert page.read_text(encoding="utf-8").count('<article class="course"') == 2
    run("trace", path, "--out", str(page), "--question", "q1")
    assert page.read_text(encoding="utf-8").count('<article class="course"') == 1


def test_the_trace_itself_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    path, link = Path(saved(tmp_path, beam())), tmp_path / "link"
    link.symlink_to(path)
    before = path.read_bytes()
    assert run("trace", str(path), "--out", str(link)).error.endswith(
        "is the trace itself: name another file"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("missing.jsonl",),
            "cannot read the trace missing.jsonl: No such file or directory",
        ),
        (
            ("{trace}", "--question", "q-11"),
            "no question of the trace named 'q-11'; did you mean 'q-1'? (there are: q-1, q-2)",
        ),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    arguments: tuple[str, ...],
    said: str,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = saved(tmp_path, named("q-1"), named("q-2"))
    monkeypatch.chdir(tmp_path)
    ended = run("trace", *(argument.format(trace=path) for argument in arguments))
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.error
