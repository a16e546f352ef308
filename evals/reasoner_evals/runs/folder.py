"""The folder of a run: its files, its lock, and writing a file as a whole."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reasoner.errors import TraceError, UsageError
from reasoner.system.files import replacing, sync
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


@contextmanager
def appearing(path: Path) -> Iterator[RunFolder]:
    """A new run's folder that has its name only when it is complete, on the disk too.

    Until then it is `.NAME.partial` beside it. What a killed process left there is deleted first.

    Raises:
        UsageError: there is something else at `path`, or another process writes it.
        TraceError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    partial = RunFolder(target.parent / f".{target.name}.partial")
    try:
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise UsageError(f"{path} already contains a run or other files: give --out another folder")
        if partial.path.is_symlink():
            raise UsageError(f"{partial.path} is a link: delete it, or give --out another folder")
    except OSError as error:
        raise TraceError(f"cannot read the folder {path}: {error.strerror}") from error
    make_folder(partial.path, exist_ok=True)
    lock = acquire(partial.lock, partial.path)
    try:
        for entry in partial.path.iterdir():
            if entry != partial.lock:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        yield partial
        _sync_all(partial.path)
        partial.path.rename(target)
    except BaseException as error:
        shutil.rmtree(partial.path, ignore_errors=True)
        if isinstance(error, OSError):
            raise TraceError(f"cannot write {path}: {error.strerror}") from error
        raise
    finally:
        lock.close()
    with suppress(OSError):
        sync(target.parent)


def _sync_all(folder: Path) -> None:
    """Force all files in a folder and its subfolders to the disk. Some file systems cannot sync folders."""
    for path, _, names in os.walk(folder):
        for name in names:
            sync(Path(path, name))
        with suppress(OSError):
            sync(Path(path))


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
