"""The lock of files that one process may write at a time."""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import IO

from reasoner.errors import TraceError, UsageError


def acquire(path: Path, what: Path) -> IO[str]:
    """The lock file at `path`, which names its holder; `what` it protects is locked until the file is closed.

    Raises:
        UsageError: another process holds it; the message names it.
        TraceError: it cannot be written, or its file system does not support locks.
    """
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise TraceError(f"cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    except BlockingIOError:
        file.close()
        holder = path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
        raise UsageError(f"{what} is being written by {holder}: wait until that has ended") from None
    except OSError as error:
        with suppress(OSError):
            file.close()
        raise TraceError(f"cannot lock {path}: {error.strerror}") from error
    return file
