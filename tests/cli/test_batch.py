"""`reasoner batch` on the simulated engine: files in and out, columns, bad rows, budgets, and what continues a batch."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from reasoner.errors import EngineDied, EngineUnavailable, RequestLost
from reasoner.system import extras
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
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow as pa
        from pyarrow import feather, parquet

        table = pa.Table.from_pylist(rows)
        parquet.write_table(table, path) if kind == "parquet" else feather.write_feather(table, str(path))
    return path


def read(path: Path) -> Any:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    from pyarrow import ipc, parquet

    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    with ipc.open_file(path) as file:
        return file.read_all().to_pylist()


def batch(run: Run, *arguments: object, stdin: bytes = b"") -> Ended:
    engine = () if "-e" in arguments or "--base-url" in arguments else SIMULATED
    return run("batch", *map(str, arguments), *engine, stdin=stdin)


def spent(rows: Rows) -> int:
    return sum(int(row["tokens"]) for row in rows)


# Files


@pytest.mark.parametrize("written", ["jsonl", "csv", "parquet", "arrow"])
@pytest.mark.parametrize("given", ["jsonl", "csv", "parquet", "arrow", "jsonl.gz"])
def test_every_format_gives_the_same_answers(given: str, written: str, run: Run, tmp_path: Path) -> None:
    rows = [{**row, "n": index} for index, row in enumerate(questions(5))]
    source, answers = write(tmp_path / f"q.{given}", rows), tmp_path / f"a.{written}"
    ended = batch(run, source, "-o", answers, "-n", 3)
    assert (ended.code, ended.out) == (0, "")
    found = sorted(read(answers), key=lambda row: int(row["row"]))
    expected = [json.loads(line) for line in batch(run, source, "-n", 3).out.splitlines()]
    expected.sort(key=lambda row: row["row"])
    assert [str(row["n"]) for row in found] == ["0", "1", "2", "3", "4"]
    assert [row["question"] for row in found] == [row["question"] for row in rows]
    for name in ("answer", "text", "ended_by", "id"):
        assert [row[name] for row in found] == [row[name] for row in expected]
    for name in ("tokens", "samples", "generated_tokens"):
        assert [int(row[name]) for row in found] == [row[name] for row in expected]
    assert list(found[0]) == list(expected[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, answers.name])


def test_columns_are_named_and_kept_and_never_replace_a_result(run: Run, tmp_path: Path) -> None:
    rows = [{"prompt": "What is 3 + 4?", "key": "a", "answer": "7", "tags": ["x", {"y": 1}], "row": 9, "input_row": 8}]
    source = write(tmp_path / "q.jsonl", rows)
    [line] = batch(run, source, "--question-column", "prompt", "--id-column", "key").out.splitlines()
    row = json.loads(line)
    assert (row["row"], row["id"], row["input_answer"], row["tags"]) == (1, "a", "7", ["x", {"y": 1}])
    assert (row["input_row"], row["input_input_row"]) == (9, 8)
    [line] = batch(run, source, "--question-column", "prompt", "--keep", "tags").out.splitlines()
    assert {"tags"} == json.loads(line).keys() & rows[0].keys() - {"answer", "row"}
    [line] = batch(run, source, "--question-column", "prompt", "--keep", "none").out.splitlines()
    assert not json.loads(line).keys() & {"prompt", "tags", "key", "input_answer"}


def test_values_of_several_types_are_json_in_a_table(run: Run, tmp_path: Path) -> None:
    mixed: list[Any] = [1, "one", 2.5, None, {"a": [True]}, 2**70]
    rows = [
        {**row, "mixed": value, "late": index or None}
        for index, (row, value) in enumerate(zip(questions(6), mixed, strict=True))
    ]
    source = write(tmp_path / "q.jsonl", rows)
    assert batch(run, source, "-o", tmp_path / "a.parquet", "-s", "single").code == 0
    found = sorted(read(tmp_path / "a.parquet"), key=lambda row: int(row["row"]))
    assert [row["mixed"] for row in found] == ["1", "one", "2.5", None, '{"a": [true]}', str(2**70)]
    assert [row["late"] for row in found] == [None, 1, 2, 3, 4, 5]


def test_text_of_any_kind_passes_through(run: Run, tmp_path: Path) -> None:
    notes = ['a "quote", and\na line', "\ufeffmark", "nul \0 byte", "x" * 300_000, "é漢🙂", "\u2028"]
    rows = [{**row, "note": note} for row, note in zip(questions(6), notes, strict=True)]
    for kind in ("jsonl", "csv"):
        source = write(tmp_path / f"q.{kind}", rows)
        assert batch(run, source, "-o", tmp_path / f"a.{kind}", "-s", "single").code == 0
        found = sorted(read(tmp_path / f"a.{kind}"), key=lambda row: int(row["row"]))
        assert [row["note"] for row in found] == notes


@pytest.mark.parametrize("content", ["\ufeffquestion\r\nWhat is 3 + 4?\r\n", "question\nWhat is 3 + 4?"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_no_part_of_the_text(
    content: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "q.csv").write_bytes(content.encode())
    [line] = batch(run, tmp_path / "q.csv").out.splitlines()
    assert json.loads(line)["question"] == "What is 3 + 4?"


def test_standard_input_to_standard_output(run: Run) -> None:
    given = b'{"question": "What is 3 + 4?"}\n\n{"question": "What is 1 + 1?"}\n'
    ended = batch(run, "-", "-s", "single:temperature=0", stdin=given)
    assert ended.code == 0
    assert sorted(json.loads(line)["row"] for line in ended.out.splitlines()) == [1, 2]
    assert ended.err.splitlines()[-1].startswith("2 rows")
    one = batch(run, "-", "-s", "single:temperature=0", stdin=given.splitlines()[0])
    assert one.err.splitlines()[-1].startswith("1 row ")


# Rows that are no questions

BAD = [
    (b"not json", "q.jsonl:2 is not JSON: expecting value, column 1"),
    (b"[1]", "q.jsonl:2 is not a row"),
    (b'{"text": "q"}', "q.jsonl:2 has no column 'question' (it has text): give --question-column text"),
    (b'{"question": "  "}', "q.jsonl:2, column 'question': it is empty"),
    (b'{"question": ["q"]}', "q.jsonl:2, column 'question': a list is not text"),
    (b'{"question": "\\ud800"}', "q.jsonl:2: the question is not valid text"),
    (b"\xff\xfe", "q.jsonl:2 is not UTF-8: byte 0 is 0xff"),
    (b'{"question": "q", "id": "a"}', "q.jsonl:2: the id 'a' is also that of an earlier row"),
    (b'{"question": "q", "id": "' + b"x" * 600 + b'"}', "q.jsonl:2: the id has 600 characters"),
    (b'{"question": NaN}', "q.jsonl:2 is not readable JSON: NaN is not a number"),
    (b"[" * 100_000, "q.jsonl:2 is not readable JSON"),
]


@pytest.mark.parametrize(("line", "error"), BAD, ids=[error[10:40] for _, error in BAD])
def test_a_bad_row_is_an_error_of_that_row_only(line: bytes, error: str, run: Run, tmp_path: Path) -> None:
    good = [b'{"question": "What is 3 + 4?", "id": "a"}', b'{"question": "What is 1 + 1?", "id": "b"}']
    (tmp_path / "q.jsonl").write_bytes(b"\n".join([good[0], line, good[1]]))
    ended = batch(run, tmp_path / "q.jsonl", "-o", tmp_path / "a.jsonl")
    assert ended.code == 1
    assert ended.error == "error: 1 row ended in an error, which the answers name"
    rows = {row["row"]: row for row in read(tmp_path / "a.jsonl")}
    assert rows[2]["error"].startswith(error)
    assert rows[1]["answer"]
    assert rows[3]["answer"]
    assert not (tmp_path / "a.jsonl.state").exists()


REFUSED = [
    ("q.jsonl", b"", (), "q.jsonl has no rows"),
    ("q.jsonl", b"\n \n", (), "q.jsonl has no rows"),
    ("q.jsonl", b'{"prompt": "q"}', (), "q.jsonl:1 has no column 'question' (it has prompt): give --question-column prompt"),
    ("q.csv", b"question\n", (), "q.csv has no rows"),
    ("q.csv", b'question\n"q', (), "q.csv:2 is not CSV"),
    ("q.parquet", b"PAR1", (), "q.parquet is not a readable parquet file"),
    ("q.arrow", b"ARROW1", (), "q.arrow is not a readable Arrow file"),
    ("q.jsonl.gz", b"not gzip", (), "q.jsonl.gz cannot be read further: Not a gzipped file"),
    ("q.xlsx", b"", (), "is not a file of rows"),
    ("q.jsonl", b'{"question": "q"}', ("-o", "a.txt"), "must end in .jsonl, .csv, .parquet or .arrow"),
    ("q.jsonl", b'{"question": "q"}', ("-o", "q.jsonl"), "is the file of the questions"),
    ("q.jsonl", b'{"question": "q"}', ("-o", "no/a.jsonl"), "cannot write --output no/a.jsonl: No such file or directory"),
    ("q.jsonl", b'{"question": "q"}', ("--concurrency", "0"), "--concurrency must be at least 1 (got 0)"),
    ("q.jsonl", b'{"question": "q"}', ("--overwrite",), "--overwrite has no effect without --output FILE"),
    ("q.jsonl", b'{"question": "q"}', ("-b", "usd=1"), "budget usd needs prices"),
    ("q.jsonl", b'{"question": "q"}', ("-a", "choice:none"), "q.jsonl:1: "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "error"), REFUSED, ids=[each[3][:40] for each in REFUSED])
def test_what_cannot_work_is_refused_in_one_line_before_anything_runs(
    name: str,
    content: bytes,
    options: tuple[str, ...],
    error: str,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    ended = batch(run, name, *options)
    assert (ended.code, ended.out) == (2, "")
    assert error in ended.error
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_missing_package_is_named_with_its_extra(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "missing", lambda *modules: list(modules))
    ended = batch(run, write(tmp_path / "q.jsonl", questions(1)), "-o", tmp_path / "a.parquet")
    assert ended.code == 2
    assert "needs pyarrow: run" in ended.error
    assert "reasoner-kit[parquet]" in ended.error


# Budgets


def test_one_budget_bounds_all_and_may_be_raised_when_the_batch_continues(run: Run, tmp_path: Path) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(30)), tmp_path / "a.jsonl"
    short = batch(run, source, "-o", answers, "-b", "tokens=600")
    assert short.code == 3
    assert "without an answer; the same command asks them again, and the budget may be raised" in short.error
    first = read(answers)
    assert spent(first) <= 600
    assert len(first) == 30
    unanswered = {row["id"] for row in first if row["answer"] is None}
    more = batch(run, source, "-o", answers, "-b", "tokens=9k")
    assert more.code == 0
    second = read(answers)
    assert len({row["id"] for row in second}) == len(second) == 30
    assert all(row["answer"] for row in second)
    assert [row for row in second if row["id"] not in unanswered] == [row for row in first if row["answer"]]
    # What the questions cost that were asked again is a part of the budget.
    assert spent(second) + spent([row for row in first if row["answer"] is None]) <= 9000


def test_each_question_has_its_own_budget(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "q.jsonl", questions(6))
    ended = batch(run, source, "--each", "tokens=300", "-n", 32)
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 0
    assert {row["ended_by"] for row in rows} == {"budget"}
    assert max(row["tokens"] for row in rows) <= 300


def test_a_budget_for_each_that_leaves_no_answer_is_final(run: Run, tmp_path: Path) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(3)), tmp_path / "a.jsonl"
    assert batch(run, source, "-o", answers, "--each", "tokens=12").code == 0
    assert [(row["ended_by"], row["answer"]) for row in read(answers)] == [("budget", None)] * 3
    assert not (tmp_path / "a.jsonl.state").exists()


# Continuing


def test_the_same_command_continues_and_other_settings_are_refused(run: Run, tmp_path: Path) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(12)), tmp_path / "a.jsonl"
    with largest_file(4000):
        full = batch(run, source, "-o", answers, "-n", 3)
    assert full.code == 1
    assert f"cannot write the answers {answers}: File too large" in full.err or "cannot write the trace" in full.err
    assert full.err.splitlines()[-1].endswith("the same command continues")
    other = batch(run, source, "-o", answers, "-n", 4)
    assert other.code == 2
    assert "was started with other settings (--strategy: self_consistency:n=3, now self_consistency:n=4)" in other.error
    assert batch(run, source, "-o", answers, "-n", 3).code == 0
    whole = [json.loads(line) for line in batch(run, source, "-n", 3).out.splitlines()]
    key = "id"
    assert {row[key]: (row["answer"], row["tokens"]) for row in read(answers)} == {
        row[key]: (row["answer"], row["tokens"]) for row in whole
    }
    again = batch(run, source, "-o", answers, "-n", 3)
    assert again.code == 2
    assert "exists and belongs to no interrupted batch" in again.error
    assert batch(run, source, "-o", answers, "-n", 2, "--overwrite").code == 0
    assert {row["samples"] for row in read(answers)} == {2}


def test_rows_may_be_added_at_the_end_of_the_input_and_nowhere_else(run: Run, tmp_path: Path) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(8)), tmp_path / "a.jsonl"
    assert batch(run, source, "-o", answers, "-s", "single", "-b", "samples=5").code == 3
    done = {row["id"] for row in read(answers) if row["answer"] is not None}
    assert 0 < len(done) < 8
    write(source, [{"question": "What is 9 + 9?"}, *questions(8)])
    shifted = batch(run, source, "-o", answers, "-s", "single", "-b", "samples=90")
    assert shifted.code == 2
    assert "is not the one that was answered: the input has changed" in shifted.err
    write(source, [*questions(8), {"question": "What is 9 + 9?"}])
    assert batch(run, source, "-o", answers, "-s", "single", "-b", "samples=90").code == 0
    assert sorted(row["row"] for row in read(answers)) == list(range(1, 10))


DAMAGED_ROW = b'{"row": 1e15, "id": "x", "error": null, "answer": "7", "ended_by": "rule"}'


@pytest.mark.parametrize("damage", [b"no json\n", b'{"id": 1}\n', b"[]\n", DAMAGED_ROW + b"\n"])
def test_answers_that_are_not_those_of_the_batch_are_refused(damage: bytes, run: Run, tmp_path: Path) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(8)), tmp_path / "a.jsonl"
    assert batch(run, source, "-o", answers, "-s", "single", "-b", "samples=5").code == 3
    answers.write_bytes(answers.read_bytes() + damage)
    ended = batch(run, source, "-o", answers, "-s", "single", "-b", "samples=90")
    assert ended.code == 2
    assert "start again with --overwrite" in ended.err


def test_a_line_that_was_cut_is_answered_again(run: Run, tmp_path: Path) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(8)), tmp_path / "a.jsonl"
    assert batch(run, source, "-o", answers, "-s", "single", "-b", "samples=5").code == 3
    whole = answers.read_bytes()
    answers.write_bytes(whole[: whole.index(b"\n") - 7])
    assert batch(run, source, "-o", answers, "-s", "single", "-b", "samples=90").code == 0
    assert sorted(row["row"] for row in read(answers)) == list(range(1, 9))


# An engine that fails


class Failing:
    """Fails the questions that are in `ids`, in a way of its own."""

    def __init__(self, error: Exception, *numbers: int) -> None:
        self.error, self.numbers = error, numbers

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from reasoner.engines.simulated import SimulatedEngine

        sample = SimulatedEngine.sample

        async def fails(engine: SimulatedEngine, request: Any) -> Any:
            if int(request.question_id[1:].partition("-")[0]) in self.numbers:
                raise self.error
            return await sample(engine, request)

        monkeypatch.setattr(SimulatedEngine, "sample", fails)


def test_a_question_that_fails_is_asked_again_by_the_same_command(run: Run, tmp_path: Path) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(6)), tmp_path / "a.csv"
    with pytest.MonkeyPatch.context() as patch:
        Failing(RequestLost("the connection broke"), 2, 5).install(patch)
        ended = batch(run, source, "-o", answers, "-n", 2)
    assert ended.code == 4
    assert ended.error == "error: 2 rows ended in an error, which the answers name; the same command asks them again"
    assert sum("the connection broke" in row["error"] for row in read(answers)) == 2
    assert batch(run, source, "-o", answers, "-n", 2).code == 0
    assert [row["error"] for row in read(answers)] == [""] * 6
    assert sorted(int(row["row"]) for row in read(answers)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("error", [EngineDied("it died"), EngineUnavailable("it is gone")])
def test_an_engine_that_is_lost_ends_the_batch_which_then_continues(error: Exception, run: Run, tmp_path: Path) -> None:
    source, answers = write(tmp_path / "q.jsonl", questions(40)), tmp_path / "a.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        Failing(error, *range(10, 41)).install(patch)
        ended = batch(run, source, "-o", answers, "-n", 2, "--concurrency", 4)
    assert ended.code == 4
    assert f"error: {error}" in ended.err
    assert ended.err.splitlines()[-1].endswith("the same command continues")
    assert 9 <= len(read(answers)) < 30
    assert batch(run, source, "-o", answers, "-n", 2, "--concurrency", 4).code == 0
    assert sorted(row["row"] for row in read(answers)) == list(range(1, 41))


# Progress


def test_progress_in_a_pipe_is_plain_lines_with_rate_time_spend_and_budget(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "q.jsonl", questions(40))
    lines = batch(run, source, "-o", tmp_path / "a.jsonl", "-n", 2, "-b", "tokens=90k").err.splitlines()
    [middle] = [line for line in lines if line.startswith("16 of 40 rows")]
    assert "rows/s" in middle
    assert " left · " in middle
    assert " of 90,000" in middle
    assert lines[-1].startswith("40 of 40 rows")
    assert batch(run, source, "-o", tmp_path / "b.jsonl", "-n", 2, "-q").err == ""
