"""The one process that writes a run: its lock, and files that are there as a whole or not at all."""

import fcntl
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from reasoner.errors import TraceError, UsageError
from reasoner.files import replacing
from reasoner_evals.runs.folder import RunFolder


@contextmanager
def writing(folder: RunFolder, *, fresh: bool) -> Iterator[None]:
    """Be the only writer of a run's folder; a `fresh` one is made, and goes again where nothing was written into it.

    Raises:
        UsageError: another process writes it; the message names it. Or a fresh folder holds something already.
        TraceError: the folder cannot be made, or its file system knows no locks.
    """
    made = _made(folder, fresh=fresh)
    try:
        lock = _acquired(folder)
        try:
            yield
        finally:
            if fresh and not folder.manifest.exists():
                folder.lock.unlink(missing_ok=True)
            lock.close()
    finally:
        if made:
            with suppress(OSError):
                folder.path.rmdir()


def write_whole(path: Path, lines: Iterable[str]) -> None:
    """Write a file so that it is there as a whole or not at all, whatever happens meanwhile.

    Raises:
        TraceError: it cannot be written.
    """
    try:
        with replacing(path) as file:
            file.writelines(f"{line}\n".encode("utf-8", "backslashreplace") for line in lines)
    except OSError as error:
        raise TraceError(f"cannot write {path}: {error.strerror}") from error


def _made(folder: RunFolder, *, fresh: bool) -> bool:
    """Whether the folder was made here."""
    if not fresh:
        return False
    try:
        if folder.path.is_dir():
            if any(entry != folder.lock for entry in folder.path.iterdir()):
                way_out = "go on with it by --resume, or give --out another folder"
                raise UsageError(f"{folder.path} holds a run or other files already: {way_out}")
            return False
        folder.path.mkdir(parents=True)
    except OSError as error:
        raise TraceError(f"cannot make the folder {folder.path}: {error.strerror}") from error
    return True


def _acquired(folder: RunFolder) -> IO[str]:
    """The lock's file, held until it is closed; it says who holds it."""
    try:
        file = folder.lock.open("a+", encoding="utf-8")
    except OSError as error:
        raise TraceError(f"cannot write {folder.lock}: {error.strerror}") from error
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    except BlockingIOError:
        file.close()
        holder = folder.lock.read_text(encoding="utf-8", errors="replace").strip() or "another process"
        raise UsageError(f"{folder.path} is being written by {holder}: wait until that has ended") from None
    except OSError as error:
        with suppress(OSError):
            file.close()
        raise TraceError(f"cannot lock {folder.lock}: {error.strerror}") from error
    return file
