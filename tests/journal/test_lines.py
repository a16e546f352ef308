"""Files of lines: they are continued after a kill or a full disk, and no line is appended to an incomplete one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from reasoner.errors import DamagedLine, TraceError
from reasoner.journal.lines import DAMAGED, Format, JournalWriter, read_lines, sealed


class Line(BaseModel):
    said: str


def written(path: Path) -> list[str]:
    return [
        Line.model_validate_json(line).said for line in path.read_bytes().splitlines()
    ]


@given(
    said=st.lists(st.text('ab\n"\u2028é', max_size=9), max_size=6),
    cut=st.integers(0, 400),
    more=st.text(max_size=5),
)
def test_a_file_cut_at_any_byte_continues_after_its_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, said: list[str], cut: int, more: str
) -> None:
    path = tmp_path_factory.mktemp("lines") / "l.jsonl"
    writer = JournalWriter(path, "list")
    for text in said:
        writer.write(Line(said=text))
    writer.close()
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    again = JournalWriter(path, "list", resume=True)
    again.write(Line(said=more))
    again.close()
    assert written(path) == [*said[: data.count(b"\n")], more]


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    for resume in (False, True):
        with pytest.raises(
            TraceError,
            match=r"cannot write the list .*: (Not a directory|No such file or directory)",
        ):
            JournalWriter(tmp_path / "none" / "l.jsonl", "list", resume=resume)
        with pytest.raises(
            TraceError, match=r"cannot write the list .*: Is a directory"
        ):
            JournalWriter(tmp_path, "list", resume=resume)


class FillingDisk:
    """A disk that takes a part of the second line and has room again after it."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb", buffering=0)
        self.lines = 0

    def write(self, data: bytes) -> None:
        self.lines += 1
        if self.lines == 2:
            self.file.write(data[:5])
            raise OSError(28, "No space left on device")
        self.file.write(data)

    def flush(self) -> None: ...

    def fileno(self) -> int:
        return self.file.fileno()


def test_after_a_failed_write_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    writer = JournalWriter(path, "list")
    writer._file = FillingDisk(path)  # type: ignore[assignment]
    writer.write(Line(said="first"))
    for said in ("second", "third"):
        with pytest.raises(
            TraceError, match=r"cannot write the list .*: No space left on device"
        ):
            writer.write(Line(said=said))
    again = JournalWriter(path, "list", resume=True)
    again.write(Line(said="second"))
    again.close()
    assert written(path) == ["first", "second"]


@pytest.mark.parametrize(
    ("lines", "kind", "complaint"),
    [
        (
            b'{"said":1}\n',
            TraceError,
            "is not a line of the list: said: it must be text",
        ),
        (b"{}}\n", DamagedLine, "is not a line of the list: invalid JSON"),
        (sealed(b'{"said":"a"}') + b'{"said":"a"}\n', DamagedLine, DAMAGED),
        (
            sealed(b'{"said":"a"}') + b'{"said":1}\n',
            DamagedLine,
            "said: it must be",
        ),
        (
            sealed(b'{"said":"a"}') + sealed(b'{"said":1}'),
            TraceError,
            "said: it must be",
        ),
    ],
)
def test_a_line_that_is_not_what_was_written_is_damaged(
    lines: bytes, kind: type[TraceError], complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "l.jsonl").write_bytes(lines)
    with pytest.raises(TraceError) as caught:
        list(read_lines(tmp_path / "l.jsonl", Format("list", Line.model_validate_json)))
    assert type(caught.value) is kind
    assert complaint in str(caught.value)
