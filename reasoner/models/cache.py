"""Models in the user's cache: each a folder that is built once and visible only when it is complete."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reasoner.errors import EngineUnavailable
from reasoner.system.files import read_object, sync
from reasoner.types import Notify

MANIFEST: Final = "checksums.json"
"""The file that says what a folder was built from (`gguf_sha256`)."""


def cache_home() -> Path:
    """The cache folder: `$REASONER_CACHE`, `$XDG_CACHE_HOME/reasoner` or ~/.cache/reasoner."""
    try:
        if own := os.environ.get("REASONER_CACHE"):
            return Path(own).expanduser().absolute()
        if shared := os.environ.get("XDG_CACHE_HOME"):
            return Path(shared).expanduser().absolute() / "reasoner"
        return Path.home() / ".cache" / "reasoner"
    except RuntimeError as error:
        raise EngineUnavailable(
            "no home folder to keep the model in: set REASONER_CACHE to a folder"
        ) from error


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, in hex. On processors with SHA instructions it is faster than BLAKE2b."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def locked(path: Path, notify: Notify, waiting: str) -> Iterator[None]:
    """Let one process at a time make `path`, in a folder that exists; `waiting` tells the others to wait."""
    # Imported here: Windows has no fcntl, and the other parts of this library work there.
    import fcntl

    with (path.parent / f".{path.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify(waiting)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def source_of(folder: Path) -> str | None:
    """The SHA-256 of the file that a folder was built from; None where it was not built here."""
    try:
        return str(read_object(folder / MANIFEST)["gguf_sha256"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError) as error:
        raise EngineUnavailable(
            f"malformed {folder / MANIFEST}: delete the folder, and it is built again"
        ) from error


def built_folder(
    path: Path,
    *,
    source: str,
    megabytes: int,
    fill: Callable[[Path], None],
    notify: Notify,
    what: str,
) -> Path:
    """The folder `path`, which `fill` builds first if it is missing or of another `source`, a SHA-256.

    `fill` gets an empty folder beside it. `megabytes` is the disk space that it needs. Of several processes one builds
    and the others wait. `what` is the model's name in messages.

    Raises:
        EngineUnavailable: it cannot be built; the message says why and what to do.
    """
    try:
        if source_of(path) != source:
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(
                path, notify, f"another process is building {what}: waiting for it"
            ):
                if source_of(path) != source:
                    _build(path, source, megabytes, fill, notify, what)
    except OSError as error:
        raise EngineUnavailable(
            f"cannot build {what} in {path.parent}: {error.strerror or error}; it needs {megabytes} MB: free some, or "
            "set REASONER_CACHE to a folder that can be written"
        ) from error
    return path


def _build(
    path: Path,
    source: str,
    megabytes: int,
    fill: Callable[[Path], None],
    notify: Notify,
    what: str,
) -> None:
    """Build the folder. The lock is held."""
    if path.exists():
        notify(
            f"the folder of {what} is incomplete or of another version: building it again"
        )
        shutil.rmtree(path)
    else:
        notify(f"building {what}, once ({megabytes} MB in {path.parent})")
    prefix = f".{path.name}.tmp-"
    for leftover in path.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if shutil.disk_usage(path.parent).free < megabytes * 10**6:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with tempfile.TemporaryDirectory(
        prefix=prefix, dir=path.parent, ignore_cleanup_errors=True
    ) as scratch:
        staged = Path(scratch) / "model"
        staged.mkdir()
        fill(staged)
        files = sorted(staged.iterdir())
        (staged / MANIFEST).write_text(
            json.dumps({"gguf_sha256": source}), encoding="utf-8"
        )
        for file in files:
            # Safetensors are readable only by their owner; the mode by umask lets a cache be shared.
            shutil.copymode(staged / MANIFEST, file)
        for file in [*files, staged / MANIFEST, staged]:
            sync(file)
        staged.rename(path)
    sync(path.parent)
