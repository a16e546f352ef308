"""Files of a run that were damaged: the error names the line and the remedy, which repairs the run."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from reasoner_evals.runs.records import RunFolder
from tests.cli.command import Run

ARM = "arithmetic.self_consistency-n4"


@pytest.fixture
def asked(tmp_path: Path) -> tuple[str, ...]:
    """A run of five questions into `tmp_path / "run"`."""
    small = ("arithmetic", "--limit", "5", "-s", "self_consistency:n=4")
    return ("eval", *small, "-e", "simulated:tokens=20", "--out", str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (
            "items.jsonl",
            "delete this file, and `reasoner eval --resume {run}` writes it again",
        ),
        ("verdicts.jsonl", "make the verdicts again with: reasoner runs grade {run}"),
        (
            f"arms/{ARM}/journal.jsonl",
            "`reasoner eval --resume {run}` makes the journal again from the trace",
        ),
        (f"arms/{ARM}/trace.jsonl", f"move {{run}}/arms/{ARM} away and resume again"),
    ],
)
def test_a_damaged_line_is_named_and_repaired_by_what_the_error_says(
    name: str,
    remedy: str,
    asked: tuple[str, ...],
    run: Run,
    tmp_path: Path,
) -> None:
    assert run(*asked).code == 0
    folder = str(tmp_path / "run")
    path = tmp_path / "run" / name
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[
        content.index(b'"question_id":', content.index(b"\n"))
        + len(b'"question_id":"q-')
    ] ^= 0x01
    path.write_bytes(damaged)
    told = (
        run("eval", "--resume", folder)
        if path.name == "trace.jsonl"
        else run("compare", folder, folder)
    )
    assert (told.code, told.out) == (2, "")
    assert f"{path}:2 is damaged: its content does not match its checksum" in told.error
    assert remedy.format(run=folder) in told.error
    if path.name == "items.jsonl":
        path.unlink()
    if path.name == "trace.jsonl":
        path.parent.rename(tmp_path / "away")
    assert (
        run(
            *(
                ("runs", "grade")
                if path.name == "verdicts.jsonl"
                else ("eval", "--resume")
            ),
            folder,
        ).code
        == 0
    )
    assert run("compare", folder, folder).code == 0
    if path.name != "trace.jsonl":
        assert sorted(path.read_bytes().splitlines()) == sorted(content.splitlines())


def shuffled(lines: list[bytes], _: list[bytes]) -> list[bytes]:
    return random.Random(0).sample(lines, len(lines))


def first_sample(lines: list[bytes]) -> int:
    return next(
        index for index, line in enumerate(lines) if b'"event":"sampled"' in line
    )


def repeated(lines: list[bytes], _: list[bytes]) -> list[bytes]:
    at = first_sample(lines)
    return [*lines[:at], lines[at], *lines[at:]]


def repeated_later(lines: list[bytes], _: list[bytes]) -> list[bytes]:
    return [*lines, lines[first_sample(lines)]]


def holed(lines: list[bytes], _: list[bytes]) -> list[bytes]:
    at = first_sample(lines)
    return [*lines[:at], *lines[at + 1 :]]


def interleaved(lines: list[bytes], others: list[bytes]) -> list[bytes]:
    return [line for pair in zip(lines, others, strict=False) for line in pair]


@pytest.mark.parametrize(
    "attack", [shuffled, repeated, repeated_later, holed, interleaved]
)
def test_lines_that_were_moved_never_change_a_cost_silently(
    attack: Callable[[list[bytes], list[bytes]], list[bytes]],
    asked: tuple[str, ...],
    run: Run,
    tmp_path: Path,
) -> None:
    assert run(*asked).code == 0
    assert run(*asked[:-1], str(tmp_path / "other"), "--seeds", "7,").code == 0
    [other] = (tmp_path / "other").glob("arms/*/trace.jsonl")
    trace = RunFolder(tmp_path / "run").arm(ARM).trace
    lines = trace.read_bytes().splitlines(keepends=True)
    trace.write_bytes(
        b"".join(attack(lines, other.read_bytes().splitlines(keepends=True)))
    )
    told = run("eval", "--resume", str(tmp_path / "run"))
    assert (told.code, told.out) == (2, "")
    assert f"{trace}: question 'q-" in told.error
    assert f"move {trace.parent} away and resume again" in told.error
