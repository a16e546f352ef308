"""`reasoner batch` on rows that are no questions, and on files that cannot be read."""

import io
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from reasoner.system import tables
from tests.cli.command import Run
from tests.cli.test_batch import batch, read, write

BAD = [
    (b"not json", "q.jsonl:2 is not JSON: Expecting value"),
    (
        b'{"text": "q"}',
        "q.jsonl:2 has no column 'question' (it has text): give --columns question:text",
    ),
    (b'{"question": "  "}', "q.jsonl:2, column 'question': it is empty"),
    (b"\xff\xfe", "q.jsonl:2 is not UTF-8: byte 0 is 0xff"),
    (
        b'{"question": "q", "id": "a"}',
        "q.jsonl:2: the id 'a' is also the id of an earlier row",
    ),
    (
        b'{"question": "q", "id": "' + b"x" * 600 + b'"}',
        "q.jsonl:2: the id has 600 characters",
    ),
    (b"[" * 100_000, "q.jsonl:2 is not JSON"),
]


@pytest.mark.parametrize(("line", "error"), BAD, ids=[error[10:40] for _, error in BAD])
def test_a_bad_row_is_an_error_of_that_row_only(
    line: bytes, error: str, run: Run, tmp_path: Path
) -> None:
    good = [
        b'{"question": "What is 3 + 4?", "id": "a"}',
        b'{"question": "What is 1 + 1?", "id": "b"}',
    ]
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
    ("q.jsonl", b"\n \n", (), "q.jsonl has no rows"),
    (
        "q.jsonl",
        b'{"prompt": "q"}',
        (),
        "q.jsonl:1 has no column 'question' (it has prompt): give --columns question:prompt",
    ),
    ("q.parquet", b"PAR1", (), "q.parquet is not a readable parquet file"),
    (
        "q.jsonl",
        b'{"question": "q"}',
        ("-o", "a.txt"),
        "must end in .jsonl, .csv or .parquet",
    ),
    (
        "q.jsonl",
        b'{"question": "q"}',
        ("-o", "q.jsonl"),
        "is the file of the questions",
    ),
    (
        "q.jsonl",
        b'{"question": "q"}',
        ("-o", "no/a.jsonl"),
        "cannot write --out no/a.jsonl: No such file or directory",
    ),
    (
        "q.jsonl",
        b'{"question": "q"}',
        ("--overwrite",),
        "--overwrite has no effect without --out FILE",
    ),
    ("q.jsonl", b'{"question": "q"}', ("-a", "choice:none"), "q.jsonl:1: "),
]


@pytest.mark.parametrize(
    ("name", "content", "options", "error"),
    REFUSED,
    ids=[each[3][:40] for each in REFUSED],
)
def test_what_cannot_work_is_refused_in_one_line_before_anything_runs(
    name: str,
    content: bytes,
    options: tuple[str, ...],
    error: str,
    run: Run,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    ended = batch(run, name, *options)
    assert (ended.code, ended.out) == (2, "")
    assert error in ended.error
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet"])
def test_a_row_that_is_too_long_is_an_error_of_its_own(
    kind: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_ROW", 5000)
    long = [f'say "{"x" * 6000}"', '"\n' * 6000, "x" * 6000 + '"', "y\n" * 3000]
    rows = [{"question": text} for text in [long[0], "one", *long[1:], "two", long[0]]]
    source = write(tmp_path / f"q.{kind}", rows)
    ended = batch(run, source, "-o", tmp_path / "a.jsonl", "-s", "single")
    assert ended.error == "error: 5 rows ended in an error, which the answers name"
    found = {row["row"]: row for row in read(tmp_path / "a.jsonl")}
    assert [found[number]["question"] for number in (2, 6)] == ["one", "two"]
    assert sorted(found) == list(range(1, 8))
    for number in (1, 3, 4, 5, 7):
        assert "is too long: a row may have" in found[number]["error"]


def test_memory_is_bounded_where_a_line_has_no_end() -> None:
    class Endless(io.RawIOBase):
        left = 1 << 28

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            count = min(len(buffer), self.left)
            buffer[:count] = b"x" * count
            self.left -= count
            return count

    tracemalloc.start()
    [(where, row)] = tables.read_jsonl("q.jsonl", io.BufferedReader(Endless()))
    assert tracemalloc.get_traced_memory()[1] < 3 * tables.MAX_ROW
    tracemalloc.stop()
    assert (where, str(row)) == (
        "q.jsonl:1",
        "q.jsonl:1 is too long: a row may have 64 MiB",
    )
