"""A folder that one process writes at a time: its lock, files that are replaced as a whole, and new folders."""

import fcntl
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from reasoner.errors import TraceError, UsageError
from reasoner.system.files import file_errors, replacing, sync

LOCK: Final = ".lock"
"""The file in a folder that its one writer holds; it names its holder."""


@contextmanager
def writing(
    folder: Path, first: Path, *, what: Path | None = None, create: bool = False
) -> Iterator[None]:
    """Lock a folder as its only writer. `what` is what it belongs to, by default the folder itself.

    With `create` the folder is created if there is none, and removed if it stays empty. `first` is the file in it that
    is written first: without it there is nothing to continue, and nothing stays.

    Raises:
        UsageError: another process writes it; the message names it.
        TraceError: the folder cannot be created, or its file system does not support locks.
    """
    created = create and not folder.is_dir()
    if created:
        make_folder(folder)
    try:
        with _locked(folder / LOCK, what or folder):
            try:
                yield
            finally:
                if create and not first.exists():
                    (folder / LOCK).unlink(missing_ok=True)
    finally:
        if created:
            with suppress(OSError):
                folder.rmdir()


def check_free(folder: Path, advice: str) -> None:
    """Check that a folder is not there, or empty.

    Raises:
        UsageError: it holds something; the message ends with `advice`.
        TraceError: it cannot be read.
    """
    with file_errors(TraceError, f"cannot read the folder {folder}"):
        occupied = folder.exists() and any(
            entry.name != LOCK for entry in folder.iterdir()
        )
    if occupied:
        raise UsageError(f"{folder} already contains a run or other files: {advice}")


def make_folder(path: Path) -> None:
    """Create a folder and its parents where they are missing. Raises TraceError if that fails."""
    with file_errors(TraceError, f"cannot create the folder {path}"):
        path.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file completely or not at all. Raises TraceError if that fails."""
    with file_errors(TraceError, f"cannot write {path}"), replacing(path) as file:
        file.writelines(lines)


def replace(made: Path, path: Path) -> None:
    """Let a complete file have the name of another one, once it is on the disk. Raises TraceError if that fails."""
    with file_errors(TraceError, f"cannot replace {path}"):
        sync(made)
        made.replace(path)


@contextmanager
def _locked(path: Path, what: Path) -> Iterator[None]:
    """Hold the lock file at `path`; `what` it protects is locked until the block ends."""
    with file_errors(TraceError, f"cannot write {path}"):
        file = path.open("ab", buffering=0)
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except BlockingIOError:
            holder = (
                path.read_text(encoding="utf-8", errors="replace").strip()
                or "another process"
            )
            raise UsageError(
                f"{what} is being written by {holder}: wait until that has ended"
            ) from None
        except OSError as error:
            raise TraceError(f"cannot lock {path}: {error.strerror}") from error
        yield
