"""The folder of a run: its files, its lock, and writing a file as a whole."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reasoner.errors import TraceError, UsageError
from reasoner.system.files import replacing
from reasoner.trace.grades import GRADES, TRACE
from reasoner.trace.locks import acquire


class ArmFolder:
    """The files of one arm. A verifier can be fitted on its `trace` and `grades`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trace = path / TRACE
        """Every event, appended as it happens; a resumed run starts from it."""
        self.journal = path / "journal.jsonl"
        """One `ItemRecord` per finished question, appended as it finishes."""
        self.grades = path / GRADES
        """Grades of single sequences, derived from the verdicts."""


class RunFolder:
    """The files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = path / "manifest.json"
        """What decides the run; written first, atomically, and never changed."""
        self.items = path / "items.jsonl"
        """The questions with their reference answers."""
        self.verdicts = path / "verdicts.jsonl"
        """Grades of answers; can be made again without a model."""
        self.lock = path / ".lock"
        """Held by the one process that writes."""

    def arm(self, name: str) -> ArmFolder:
        """The folder of one arm."""
        return ArmFolder(self.path / "arms" / name)


@contextmanager
def writing(folder: RunFolder, *, fresh: bool) -> Iterator[None]:
    """Lock a run's folder as its only writer; a `fresh` one is created, and removed if it stays empty.

    Raises:
        UsageError: another process writes it; the message names it. Or a fresh folder is not empty.
        TraceError: the folder cannot be created, or its file system does not support locks.
    """
    created = fresh and _create(folder)
    try:
        lock = acquire(folder.lock, folder.path)
        try:
            yield
        finally:
            if fresh and not folder.manifest.exists():
                folder.lock.unlink(missing_ok=True)
            lock.close()
    finally:
        if created:
            with suppress(OSError):
                folder.path.rmdir()


def write_whole(path: Path, lines: Iterable[str]) -> None:
    """Write a file completely or not at all. Raises TraceError if that fails."""
    try:
        with replacing(path) as file:
            file.writelines(f"{line}\n".encode("utf-8", "backslashreplace") for line in lines)
    except OSError as error:
        raise TraceError(f"cannot write {path}: {error.strerror}") from error


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Create a folder and its parents. Raises TraceError if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        raise TraceError(f"cannot create the folder {path}: {error.strerror}") from error


def _create(folder: RunFolder) -> bool:
    """Create the folder if there is none; whether it was created."""
    if not folder.path.is_dir():
        make_folder(folder.path)
        return True
    try:
        occupied = any(entry != folder.lock for entry in folder.path.iterdir())
    except OSError as error:
        raise TraceError(f"cannot read the folder {folder.path}: {error.strerror}") from error
    if occupied:
        raise UsageError(
            f"{folder.path} already contains a run or other files: resume it with --resume, or give --out another "
            "folder"
        )
    return False
