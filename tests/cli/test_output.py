"""Output that cannot be written, and text of models that must not reach a terminal as it is."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.system.printing import printable
from tests.cli.command import Ended, Run, finish, start
from tests.engines.fake_server import FakeServer

SOLVE = ("solve", "What is 3+4?", "-e", "simulated")
HOSTILE = "\x1b[2J\x1b[31mred\x07\r\nherring\x9b31m\u202egnirts\u2028\x7f\x00\t"
ANY_TEXT = st.text(st.characters(codec=None, categories=None))


@pytest.fixture(params=["closed pipe", "full disk"])
def sink(request: pytest.FixtureRequest) -> Iterator[int]:
    """A file descriptor that takes nothing."""
    if request.param == "full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("arguments", [SOLVE, ("list", "engines"), ("solve", "--help")])
def test_a_standard_output_that_takes_nothing_is_an_error_in_one_line(
    arguments: tuple[str, ...], sink: int
) -> None:
    ended = finish(start(*arguments, stdout=sink))
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert arguments[-1] == "--help" or ended.error.startswith(
        "error: cannot write to standard output: "
    )
    assert ("vote     7 ×" in ended.err, "answer   7\n" in ended.err) == (
        arguments == SOLVE,
    ) * 2


def test_a_standard_error_that_takes_nothing_costs_nothing(sink: int) -> None:
    ended = finish(start(*SOLVE, stderr=sink))
    assert (ended.code, ended.out) == (0, "7\n")


@pytest.mark.parametrize(
    ("closed", "arguments", "expected"),
    [
        ("2>&-", SOLVE, Ended(0, "7\n", "")),
        (">&-", (*SOLVE, "-s", "nope"), 2),
        (">&-", SOLVE, 1),
        ("<&-", ("solve", "-", "-e", "simulated"), 2),
    ],
)
def test_streams_that_were_closed_before_the_start(
    closed: str, arguments: tuple[str, ...], expected: Ended | int
) -> None:
    shell = (
        "sh",
        "-c",
        f'exec "$0" "$@" {closed}',
        sys.executable,
        "-c",
        "from reasoner.cli import main; main()",
    )
    ended = finish(start(*arguments, command=shell))
    assert "Traceback" not in ended.err
    assert ended == expected if isinstance(expected, Ended) else ended.code == expected


def test_a_terminal_of_another_encoding_gets_what_it_can_show() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    asked = (
        "solve",
        "q",
        "-a",
        "text",
        "-s",
        "self_consistency:n=20",
        "-e",
        "simulated:answers=café,weights=1",
    )
    ended = finish(start(*asked, env=environment))
    assert (ended.code, ended.out) == (0, "caf?\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_model_wrote_never_reaches_the_terminal_raw(
    as_json: bool, run: Run, tmp_path: Path
) -> None:
    trace = tmp_path / "out.jsonl"
    asked = ("solve", "Say it.", "-a", "text", *(("--json",) if as_json else ()))
    reply = ("\\boxed{", HOSTILE.replace("\r\n", " "), "long " * 40, "}")
    with FakeServer(reply=reply, models=("ti\x1b[31mny\nerror: fake",)) as server:
        drawn = run(
            *asked, "-e", "openai", "--base-url", server.url, "--trace", str(trace)
        )
    played = run(*asked, "-e", f"replay:{trace}")
    for ended in (drawn, played):
        assert ended.code == 0
        assert ended.out.count("\n") == 1
        assert not [
            line
            for line in (ended.out + ended.err).split("\n")
            if not line.isprintable()
        ]
        assert "error: fake" not in ended.err.splitlines()
    if as_json:
        assert "\x1b[31mred\x07" in json.loads(played.out)["answer"]["text"]
    else:
        assert played.out == drawn.out
        assert (
            "[U+001B][31mred[U+0007] herring[U+009B]31m[U+202E]gnirts [U+007F][U+0000]"
            in played.out
        )
        assert len(played.out) < 600


def without_joiners(text: str) -> str:
    """Text without what emoji and some scripts are made of."""
    return text.replace("\u200c", "").replace("\u200d", "")


@given(ANY_TEXT, st.integers(1, 200))
def test_printable_text_is_one_bounded_line_without_control_characters(
    text: str, limit: int
) -> None:
    shown = printable(text, limit=limit)
    assert without_joiners(shown).isprintable()
    assert len(shown) <= limit
    assert shown == " ".join(shown.split())


NOISE = """
import os, subprocess, sys
from pathlib import Path
from reasoner.cli.terminal import own_streams
print("before")
with own_streams(Path(sys.argv[1])) as terminal:
    print("noise of Python")
    os.write(1, b"noise of C++\\n")
    subprocess.run(["sh", "-c", "echo noise of a child >&2"])
    terminal.say("for a person")
    terminal.give("data")
print("after")
"""


def test_what_libraries_print_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "new" / "engine.log"
    ended = finish(start(str(log), command=(sys.executable, "-c", NOISE)))
    assert ended == Ended(0, "before\ndata\nafter\n", "for a person\n")
    noise = log.read_text(encoding="utf-8").splitlines()
    assert sorted(noise) == ["noise of C++", "noise of Python", "noise of a child"]
