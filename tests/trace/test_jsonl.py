"""Files of lines: what a killed process or a full disk leaves is gone on with, and no line is glued to a torn one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from reasoner.errors import TraceError
from reasoner.trace import jsonl as lines
from reasoner.trace.jsonl import JsonlWriter, open_end, open_new


class Line(BaseModel):
    said: str


def written(path: Path) -> list[str]:
    return [Line.model_validate_json(line).said for line in path.read_bytes().splitlines()]


@given(
    said=st.lists(st.text('ab\n"\u2028é', max_size=9), max_size=6), cut=st.integers(0, 400), more=st.text(max_size=5)
)
def test_cut_at_any_byte_it_goes_on_from_its_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, said: list[str], cut: int, more: str
) -> None:
    path = tmp_path_factory.mktemp("lines") / "l.jsonl"
    writer = JsonlWriter(path, what="list", file=open_new(path, what="list"))
    for text in said:
        writer.write(Line(said=text))
    writer.close()
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    again = JsonlWriter.onto(path, what="list")
    again.write(Line(said=more))
    again.close()
    assert written(path) == [*said[: data.count(b"\n")], more]


def test_a_torn_line_may_be_longer_than_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_CHUNK", 8)
    path = tmp_path / "l.jsonl"
    path.write_bytes(b'{"said":"whole"}\n{"said":"' + b"x" * 100)
    writer = JsonlWriter.onto(path, what="list")
    writer.write(Line(said="more"))
    writer.close()
    assert written(path) == ["whole", "more"]


def test_what_is_not_there_is_begun_and_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    writer = JsonlWriter.onto(tmp_path / "l.jsonl", what="list")
    writer.write(Line(said="first"))
    writer.close()
    assert written(tmp_path / "l.jsonl") == ["first"]
    for begin in (open_new, open_end):
        with pytest.raises(TraceError, match=r"cannot write the list .*: (Not a directory|No such file or directory)"):
            begin(tmp_path / "none" / "l.jsonl", what="list")
        with pytest.raises(TraceError, match=r"cannot write the list .*: Is a directory"):
            begin(tmp_path, what="list")


class Torn:
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


def test_behind_a_torn_line_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    writer = JsonlWriter(path, what="list", file=Torn(path))  # type: ignore[arg-type]
    writer.write(Line(said="first"))
    for said in ("second", "third"):
        with pytest.raises(TraceError, match=r"cannot write the list .*: No space left on device"):
            writer.write(Line(said=said))
    again = JsonlWriter.onto(path, what="list")
    again.write(Line(said="second"))
    again.close()
    assert written(path) == ["first", "second"]
