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


@pytest.mark.parametrize("digit", [True, False], ids=["a digit", "a byte"])
def test_a_journal_that_is_damaged_is_reported_with_its_line_and_made_again_from_the_trace(
    digit: bool, asked: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    assert run(*asked).code == 0
    folder = RunFolder(tmp_path / "run")
    journal = folder.arm(ARM).journal
    whole = journal.read_bytes()
    place = whole.index(b'"generated_tokens":', whole.index(b"\n")) + len(b'"generated_tokens":')
    damaged = bytearray(whole)
    damaged[place] ^= 0x01 if digit else 0x80
    journal.write_bytes(damaged)
    told = run("report", str(folder.path))
    assert (told.code, told.out) == (2, "")
    assert f"{journal}:2 is damaged: its content does not match its checksum" in told.error
    assert f"`reasoner eval --resume {folder.path}` makes the journal again from the trace" in told.error
    resumed = run("eval", "--resume", str(folder.path))
    assert resumed.code == 0
    assert journal.read_bytes() == whole
    assert run("report", str(folder.path)).code == 0


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("items.jsonl", "delete this file, and `reasoner eval --resume {run}` writes it again"),
        (
            "arms/arithmetic.self_consistency-n4/trace.jsonl",
            "move {run}/arms/arithmetic.self_consistency-n4 away and resume again",
        ),
    ],
)
def test_what_is_damaged_is_repaired_by_what_the_error_says(
    name: str, remedy: str, asked: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    assert run(*asked).code == 0
    path = tmp_path / "run" / name
    content = path.read_bytes()
    place = content.index(b'"question_id":', content.index(b"\n")) + len(b'"question_id":"q-')
    path.write_bytes(content[:place] + b"7" + content[place + 1 :])
    told = run("eval", "--resume", str(tmp_path / "run"))
    if name == "items.jsonl":
        told = run("report", str(tmp_path / "run"))
    assert (told.code, told.out) == (2, "")
    assert f"{path}:2 is damaged: " in told.error
    assert remedy.format(run=tmp_path / "run") in told.error
    if name == "items.jsonl":
        path.unlink()
    else:
        path.parent.rename(tmp_path / "away")
    assert run("eval", "--resume", str(tmp_path / "run")).code == 0
    assert run("report", str(tmp_path / "run")).code == 0
    if name == "items.jsonl":
        assert path.read_bytes() == content


def shuffled(lines: list[bytes], _: list[bytes]) -> list[bytes]:
    return random.Random(0).sample(lines, len(lines))


def first_sample(lines: list[bytes]) -> int:
    return next(index for index, line in enumerate(lines) if b'"event":"sampled"' in line)


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


@pytest.mark.parametrize("attack", [shuffled, repeated, repeated_later, holed, interleaved])
def test_lines_that_were_moved_never_change_a_cost_silently(
    attack: Callable[[list[bytes], list[bytes]], list[bytes]], asked: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    assert run(*asked).code == 0
    assert run(*asked[:-1], str(tmp_path / "other"), "--seeds", "7,").code == 0
    [other] = (tmp_path / "other").glob("arms/*/trace.jsonl")
    trace = RunFolder(tmp_path / "run").arm(ARM).trace
    lines = trace.read_bytes().splitlines(keepends=True)
    trace.write_bytes(b"".join(attack(lines, other.read_bytes().splitlines(keepends=True))))
    told = run("eval", "--resume", str(tmp_path / "run"))
    assert (told.code, told.out) == (2, "")
    assert f"{trace}: question 'q-" in told.error
    assert f"move {trace.parent} away and resume again" in told.error
