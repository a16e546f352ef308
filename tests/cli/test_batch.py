"""`reasoner batch` on the simulated engine: files in and out, columns, bad rows, budgets, and what continues a batch."""

import csv
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import RequestLost
from reasoner.types import Completion
from tests.cli.command import Ended, Run
from tests.helpers import largest_file

SIMULATED = ("-e", "simulated")
Rows = list[dict[str, Any]]


def questions(count: int, **more: Any) -> Rows:
    return [{"question": f"What is {index} + 4?", **more} for index in range(count)]


def write(path: Path, rows: Rows) -> Path:
    """The rows in the format of the file's suffix."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    elif kind == "csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def read(path: Path) -> Any:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


def batch(run: Run, *arguments: object, stdin: bytes = b"") -> Ended:
    engine = () if "-e" in arguments or "--base-url" in arguments else SIMULATED
    return run("batch", *map(str, arguments), *engine, stdin=stdin)


def spent(rows: Rows) -> int:
    return sum(int(row["tokens"]) for row in rows)


# Files


NOTES = [
    'a "quote", and\na line',
    "\ufeffmark",
    "nul \0 byte",
    "x" * 100_000,
    "é漢🙂\u2028",
]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("csv", "parquet"),
        ("parquet", "jsonl"),
        ("jsonl.gz", "jsonl"),
    ],
)
def test_every_format_gives_the_same_answers(
    given: str, written: str, run: Run, tmp_path: Path
) -> None:
    rows = [
        {**row, "n": index, "note": note}
        for index, (row, note) in enumerate(zip(questions(5), NOTES, strict=True))
    ]
    source, answers = write(tmp_path / f"q.{given}", rows), tmp_path / f"a.{written}"
    ended = batch(run, source, "-o", answers, "-n", 3)
    assert (ended.code, ended.out) == (0, "")
    found = sorted(read(answers), key=lambda row: int(row["row"]))
    expected = [
        json.loads(line) for line in batch(run, source, "-n", 3).out.split("\n")[:-1]
    ]
    expected.sort(key=lambda row: row["row"])
    assert [str(row["n"]) for row in found] == ["0", "1", "2", "3", "4"]
    for name in ("question", "note"):
        assert [row[name] for row in found] == [row[name] for row in rows]
    for name in ("answer", "text", "ended_by", "id"):
        assert [row[name] for row in found] == [row[name] for row in expected]
    for name in ("tokens", "samples", "generated_tokens"):
        assert [int(row[name]) for row in found] == [row[name] for row in expected]
    assert list(found[0]) == list(expected[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [source.name, answers.name]
    )


def test_columns_are_kept_and_never_replace_a_result(run: Run, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "What is 3 + 4?",
            "key": "a",
            "answer": "7",
            "tags": ["x", {"y": 1}],
            "row": 9,
            "input_row": 8,
        }
    ]
    source = write(tmp_path / "q.jsonl", rows)
    [line] = batch(run, source, "--columns", "question:prompt,id:key").out.splitlines()
    row = json.loads(line)
    assert (row["row"], row["id"], row["input_answer"], row["tags"]) == (
        1,
        "a",
        "7",
        ["x", {"y": 1}],
    )
    assert (row["input_row"], row["input_input_row"]) == (9, 8)


def test_values_of_several_types_are_json_in_a_table(run: Run, tmp_path: Path) -> None:
    mixed: list[Any] = [1, "one", 2.5, None, {"a": [True]}, 2**70]
    rows = [
        {**row, "mixed": value, "late": index or None}
        for index, (row, value) in enumerate(zip(questions(6), mixed, strict=True))
    ]
    source = write(tmp_path / "q.jsonl", rows)
    assert batch(run, source, "-o", tmp_path / "a.parquet", "-s", "single").code == 0
    found = sorted(read(tmp_path / "a.parquet"), key=lambda row: int(row["row"]))
    assert [row["mixed"] for row in found] == [
        "1",
        "one",
        "2.5",
        None,
        '{"a": [true]}',
        str(2**70),
    ]
    assert [row["late"] for row in found] == [None, 1, 2, 3, 4, 5]


# Budgets


def test_one_budget_bounds_all_and_may_be_raised_when_the_batch_continues(
    run: Run, tmp_path: Path
) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(30)), tmp_path / "a.jsonl"
    short = batch(run, source, "-o", answers, "--total", "tokens=600")
    assert short.code == 3
    assert (
        "without an answer: raise it, and the same command asks them again"
        in short.error
    )
    first = read(answers)
    assert spent(first) <= 600
    assert len(first) == 30
    unanswered = {row["id"] for row in first if row["answer"] is None}
    more = batch(run, source, "-o", answers, "--total", "tokens=9k")
    assert more.code == 0
    second = read(answers)
    assert len({row["id"] for row in second}) == len(second) == 30
    assert all(row["answer"] for row in second)
    assert [row for row in second if row["id"] not in unanswered] == [
        row for row in first if row["answer"]
    ]
    # What the questions cost that were asked again is a part of the budget.
    assert (
        spent(second) + spent([row for row in first if row["answer"] is None]) <= 9000
    )


# Continuing


def test_the_same_command_continues_and_other_settings_are_refused(
    run: Run, tmp_path: Path
) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(12)), tmp_path / "a.jsonl"
    with largest_file(4000):
        full = batch(run, source, "-o", answers, "-n", 3)
    assert full.code == 1
    assert (
        f"cannot write the answers {answers}: File too large" in full.err
        or "cannot write the trace" in full.err
    )
    assert full.err.splitlines()[-1].endswith("the same command continues")
    other = batch(run, source, "-o", answers, "-n", 4)
    assert other.code == 2
    assert (
        "was started with other settings (--strategy: self_consistency:n=3, now self_consistency:n=4)"
        in other.error
    )
    assert batch(run, source, "-o", answers, "-n", 3).code == 0
    whole = [json.loads(line) for line in batch(run, source, "-n", 3).out.splitlines()]
    assert sorted(
        (row["id"], row["answer"], row["tokens"]) for row in read(answers)
    ) == sorted((row["id"], row["answer"], row["tokens"]) for row in whole)
    finished = batch(run, source, "-o", answers, "-n", 2)
    assert finished.code == 2
    assert "exists and belongs to no interrupted batch" in finished.error
    assert batch(run, source, "-o", answers, "-n", 2, "--overwrite").code == 0
    assert {row["samples"] for row in read(answers)} == {2}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("bad", [False, True])
def test_a_finished_batch_has_nothing_left_to_do(
    suffix: str, bad: bool, run: Run, tmp_path: Path
) -> None:
    rows = [
        {"id": "=1", "question": "What is 3 + 4?"},
        *({"question": " "} for _ in range(bad)),
        *questions(2),
    ]
    source, answers = write(tmp_path / "q.jsonl", rows), tmp_path / f"a.{suffix}"
    assert batch(run, source, "-o", answers, "--total", "tokens=9k").code == bad
    before = answers.read_bytes()
    for more in ((), ("--total", "tokens=10k", "--concurrency", "2")):
        again = batch(run, source, "-o", answers, *more)
        assert (again.code, answers.read_bytes()) == (bad, before)
        assert (
            f"nothing to do: {answers} has a line for each row; --overwrite answers them again"
            in again.err
        )
        assert ("1 row ended in an error" in again.err) == bad
    assert (
        batch(run, source, "-o", answers, "-q").err
        == "error: 1 row ended in an error, which the answers name\n" * bad
    )
    for changed in (
        rows[:-1],
        [*rows, *questions(1)],
        [*rows[:-1], {"question": "What is 9 + 9?"}],
    ):
        write(source, changed)
        refused = batch(run, source, "-o", answers)
        assert (refused.code, answers.read_bytes()) == (2, before)
        assert "exists and belongs to no interrupted batch" in refused.err


def test_lines_that_are_there_twice_are_said_and_taken_out_and_two_answers_to_a_row_are_refused(
    run: Run, tmp_path: Path
) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(12)), tmp_path / "a.jsonl"
    assert (
        batch(run, source, "-o", answers, "-s", "single", "--total", "samples=5").code
        == 3
    )
    whole = answers.read_bytes().splitlines(keepends=True)
    first = next(line for line in whole if json.loads(line)["answer"])
    answers.write_bytes(
        b"".join([*whole, *whole[3:], first.replace(b'"tokens": ', b'"tokens": 1')])
    )
    two = batch(run, source, "-o", answers, "-s", "single", "--total", "samples=90")
    assert two.code == 2
    assert f"has two answers to row {json.loads(first)['row']} (" in two.err
    assert "delete one of the lines, or start again with --overwrite" in two.err
    answers.write_bytes(b"".join([*whole, *whole[3:]]))
    ended = batch(run, source, "-o", answers, "-s", "single", "--total", "samples=12")
    # Each sample counts once, so that the budget pays for a sample of every other row.
    assert ended.code == 0
    assert f"warning: 9 lines were in {answers} twice: one of each is kept" in ended.err
    assert sorted(row["row"] for row in read(answers)) == list(range(1, 13))
    assert ended.err.splitlines()[-1].startswith("12 of 12 rows")


def test_rows_may_be_added_at_the_end_of_the_input_and_nowhere_else(
    run: Run, tmp_path: Path
) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(8)), tmp_path / "a.jsonl"
    assert (
        batch(run, source, "-o", answers, "-s", "single", "--total", "samples=5").code
        == 3
    )
    done = {row["id"] for row in read(answers) if row["answer"] is not None}
    assert 0 < len(done) < 8
    write(source, [{"question": "What is 9 + 9?"}, *questions(8)])
    shifted = batch(run, source, "-o", answers, "-s", "single", "--total", "samples=90")
    assert shifted.code == 2
    assert "is not the one that was answered: the input has changed" in shifted.err
    write(source, [*questions(8), {"question": "What is 9 + 9?"}])
    assert (
        batch(run, source, "-o", answers, "-s", "single", "--total", "samples=90").code
        == 0
    )
    assert sorted(row["row"] for row in read(answers)) == list(range(1, 10))


@pytest.mark.parametrize(
    ("kind", "column"), [("jsonl", "question"), ("parquet", "note")]
)
def test_a_row_that_changed_after_its_answer_is_named_and_nothing_is_answered_twice(
    kind: str, column: str, run: Run, tmp_path: Path
) -> None:
    rows = [
        {"id": f"q{index}", **row, "note": index}
        for index, row in enumerate(questions(8))
    ]
    source, answers = write(tmp_path / f"q.{kind}", rows), tmp_path / "a.jsonl"
    assert (
        batch(run, source, "-o", answers, "-s", "single", "--total", "samples=5").code
        == 3
    )
    lines = {row["row"]: row for row in read(answers) if row["answer"]}
    number = min(lines)
    edited = [
        {**row, column: 99 if column == "note" else "What is 9 + 9?"}
        if place == number
        else row
        for place, row in enumerate(rows, 1)
    ]
    write(source, edited)
    changed = batch(run, source, "-o", answers, "-s", "single", "--total", "samples=90")
    assert changed.code == 2
    wanted = f"error: row {number} ('q{number - 1}') has changed since it was answered: restore it, delete its line"
    assert [line for line in changed.err.splitlines() if line.startswith(wanted)]
    # It would be refused again.
    assert "the same command continues" not in changed.err
    # Reordered columns are no change.
    write(source, [dict(reversed(row.items())) for row in rows])
    assert (
        batch(run, source, "-o", answers, "-s", "single", "--total", "samples=90").code
        == 0
    )
    found = {row["row"]: row for row in read(answers)}
    assert len(read(answers)) == len(found) == 8
    assert {name: found[name] for name in lines} == lines


DAMAGED_ROW = (
    b'{"row": 1e15, "id": "x", "error": null, "answer": "7", "ended_by": "rule"}'
)


@pytest.mark.parametrize("damage", [b"no json\n", DAMAGED_ROW + b"\n"])
def test_answers_that_are_not_those_of_the_batch_are_refused(
    damage: bytes, run: Run, tmp_path: Path
) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(8)), tmp_path / "a.jsonl"
    assert (
        batch(run, source, "-o", answers, "-s", "single", "--total", "samples=5").code
        == 3
    )
    answers.write_bytes(answers.read_bytes() + damage)
    ended = batch(run, source, "-o", answers, "-s", "single", "--total", "samples=90")
    assert ended.code == 2
    assert "start again with --overwrite" in ended.err


# An engine that fails


@contextmanager
def failing(error: Exception, *numbers: int) -> Iterator[None]:
    """The engine fails the questions of these rows."""
    sample = SimulatedEngine.sample

    async def fails(engine: SimulatedEngine, request: SampleRequest) -> Completion:
        if int(request.question_id[1:].partition("-")[0]) in numbers:
            raise error
        return await sample(engine, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulatedEngine, "sample", fails)
        yield


def test_a_question_that_fails_is_asked_again_by_the_same_command(
    run: Run, tmp_path: Path
) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(6)), tmp_path / "a.csv"
    with failing(RequestLost("the connection broke"), 2, 5):
        ended = batch(run, source, "-o", answers, "-n", 2)
    assert ended.code == 4
    assert (
        ended.error
        == "error: 2 rows ended in an error, which the answers name; the same command asks them again"
    )
    assert sum("the connection broke" in row["error"] for row in read(answers)) == 2
    again = batch(run, source, "-o", answers, "-n", 2)
    assert again.code == 0
    # What a failed row cost is a part of its answer's cost, and counts once.
    assert f" {spent(read(answers)):,} tokens" in again.err.splitlines()[-1]
    assert [row["error"] for row in read(answers)] == [""] * 6
    assert sorted(int(row["row"]) for row in read(answers)) == [1, 2, 3, 4, 5, 6]


# Progress


def test_rows_with_reference_answers_are_graded(tmp_path: Path, run: Run) -> None:
    rows = [
        {"prompt": "What is 3 + 4?", "target": "7"},
        {"prompt": "What is 2 + 2?", "target": "2 + 2\n#### 4.0"},
        {"prompt": "What is 1 + 1?", "target": "3"},
        {"prompt": "What is 1 + 2?", "target": ""},
        {"prompt": "What is 1 + 3?", "target": "many"},
    ]
    asked = write(tmp_path / "questions.jsonl", rows[:4])
    command = (asked, "-o", tmp_path / "answers.jsonl", "-s", "single", "-a", "number")
    named = ("--columns", "question:prompt,answer:target")
    sure = ("-e", "simulated:accuracy=1")
    ended = batch(run, *command, *named, *sure)
    assert "2 of 3 right" in ended.err
    lines = read(tmp_path / "answers.jsonl")
    assert {line["prompt"]: line["right"] for line in lines} == dict(
        zip((row["prompt"] for row in rows), (True, True, False, None), strict=False)
    )
    # One that is not of the kind decides nothing; without the column, no answer is graded.
    write(asked, rows[4:])
    for columns in (named, ("--columns", "question:prompt")):
        ended = batch(run, *command, *columns, *sure, "--overwrite")
        assert ended.code == 0, ended.err
        assert "right" not in ended.err
        assert [line["right"] for line in read(tmp_path / "answers.jsonl")] == [None]
