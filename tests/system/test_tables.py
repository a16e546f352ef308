"""Files of rows as spreadsheets and other systems write them."""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UsageError
from reasoner.system.tables import meant_column, open_table

CELL = st.text(st.sampled_from("abc ,;\t\"'\n?é€ßü0"), max_size=8).filter(
    lambda text: text == text.strip()
)
ROWS = [
    {"Frage": "Wie groß? Sehr, sehr", "Antwort": "7"},
    {"Frage": "Wie; viele", "Antwort": "3"},
]


def written(
    path: Path, rows: list[dict[str, str]], encoding: str, separator: str
) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(
        text,
        list(rows[0]),
        delimiter=separator,
        quoting=csv.QUOTE_ALL,
        lineterminator="\r\n",
    )
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path) -> list[Any]:
    with open_table(path) as table:
        return [values for _, values in table.rows()]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_encoding_and_separator_are_found(
    encoding: str, separator: str, name: str, tmp_path: Path
) -> None:
    assert read(written(tmp_path / name, ROWS, encoding, separator)) == ROWS


@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=4))
def test_a_tsv_holds_any_text(
    rows: list[tuple[str, ...]], tmp_path_factory: Any
) -> None:
    named = [dict(zip("abc", row, strict=True)) for row in rows]
    file = tmp_path_factory.mktemp("t") / "t.tsv"
    assert read(written(file, named, "utf-8-sig", "\t")) == named


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("question\nIs it a; b; or c?\n", ["question"]),
        ("question,answer\nWhich: a;b?,a\n", ["question", "answer"]),
        ("question,choices\nWhich?,a|b|c\n", ["question", "choices"]),
        ("Frage, kurz;Antwort\nWas?;7\n", ["Frage, kurz", "Antwort"]),
    ],
)
def test_a_separator_divides_the_header_as_the_first_row(
    content: str, columns: list[str], tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(content)
    [row] = read(tmp_path / "t.csv")
    assert list(row) == columns


def test_a_damaged_byte_of_a_file_in_utf_8_is_an_error_of_its_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "t.csv").write_bytes(
        "question\nWie groß?\nÜber wen?\n".encode() + b"\xff?\n"
    )
    with pytest.raises(
        UsageError, match=r"t\.csv:4 is not UTF-8: byte 0 is 0xff; save it as UTF-8"
    ):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_text_of_another_encoding_is_refused_with_what_to_do(
    encoding: str, tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError, match=r"t\.csv:\d is not UTF-8: .*; save it as UTF-8"
    ):
        read(written(tmp_path / "t.csv", ROWS, encoding, ","))


@pytest.mark.parametrize(
    ("wanted", "row", "meant"),
    [
        (
            "question",
            {"topic": "sums", "prompt": "What is 1 + 1?", "solution": "2"},
            "prompt",
        ),
        ("question", {"Questions": "Add.", "hint": "Why not?"}, "Questions"),
        ("question", {"a": "Why?", "b": "How?"}, ""),
        ("answer", {"id": "1", "question": "Add.", "target": "2"}, "target"),
        ("answer", {"prompt": "Why?", "topic": "sums", "value": "2"}, ""),
        ("answer", {"question": "Why?", "gold": "1", "solution": "2"}, ""),
        ("question", {"What is 1 + 1?": "What is 2 + 2?", "2": "4"}, ""),
        ("id", {"ID": "1", "question": "Why?"}, "ID"),
        ("id", {"number": "1", "question": "Why?"}, ""),
    ],
)
def test_a_column_is_named_only_if_no_other_one_can_be_meant(
    wanted: str, row: dict[str, str], meant: str
) -> None:
    assert meant_column(wanted, wanted, row) == meant


def test_a_name_that_was_written_wrongly_is_corrected() -> None:
    assert meant_column("question", "promt", {"id": "1", "prompt": "Add."}) == "prompt"
    assert meant_column("question", "gone", {"id": "1", "prompt": "Add."}) == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"question,answer,answer\nq,1,2\n", "has two columns named 'answer'"),
        (b'question,answer\n"q,1\n', "a quote is not closed"),
        (b'question,answer\n"q"x,1\n', "text follows the closing quote of a field"),
        (b"question,answer\rq,1\r", "a line ends with a carriage return alone"),
    ],
)
def test_what_is_wrong_with_a_csv_file_is_said_in_our_words(
    content: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told), open_table(path) as table:
        list(table.rows())


def test_a_packed_file_is_known_by_its_content(tmp_path: Path) -> None:
    rows = b"question,answer\nq,1\n"
    for name, content in (("t.csv", gzip.compress(rows)), ("t.csv.gz", rows)):
        (tmp_path / name).write_bytes(content)
        with open_table(tmp_path / name) as table:
            assert [row for _, row in table.rows()] == [
                {"question": "q", "answer": "1"}
            ]
