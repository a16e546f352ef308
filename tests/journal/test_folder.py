"""A folder has one writer, and a file is replaced as a whole."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reasoner.errors import TraceError, UsageError
from reasoner.journal.folder import write_whole
from reasoner_evals.runs.records import RunFolder


def test_the_error_of_a_second_writer_names_the_first(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.writing(fresh=True):
        who = f"is being written by process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(UsageError, match=who), folder.writing():
            pass
        folder.manifest.touch()
    with folder.writing():
        assert (
            (folder.path / ".lock")
            .read_text(encoding="utf-8")
            .startswith(f"process {os.getpid()} ")
        )


def test_a_folder_that_stays_empty_is_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "run")

    def failing() -> None:
        with folder.writing(fresh=True):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert not folder.path.exists()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with (
        pytest.raises(UsageError, match="--resume, or give --out another"),
        RunFolder(tmp_path).writing(fresh=True),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_file_instead_of_the_folder_is_an_error(fresh: bool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(TraceError, match="cannot"),
        RunFolder(tmp_path / "file").writing(fresh=fresh),
    ):
        pass


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, [b"one\n", b"two\n"])

    def failing() -> None:
        def lines() -> Iterator[bytes]:
            yield b"three\n"
            raise OSError(28, "No space left on device")

        write_whole(path, lines())

    with pytest.raises(TraceError, match="No space left"):
        failing()
    assert path.read_text(encoding="utf-8") == "one\ntwo\n"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
