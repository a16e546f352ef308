"""A model folder in the user's cache: built once, verified where a file has changed, and built again if damaged."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from reasoner.errors import EngineUnavailable
from reasoner.system.files import sync
from reasoner.types import Notify

CHECKSUMS = "checksums.json"


class FileChecksum(BaseModel):
    """One file: its size in bytes, its SHA-256, and when it was last modified."""

    size: int
    sha256: str
    mtime_ns: int = 0


class Checksums(BaseModel):
    """The content of `checksums.json`: the file that the folder was built from, and every file in it."""

    version: Literal[1] = 1
    gguf_sha256: str
    files: Annotated[dict[str, FileChecksum], Field(min_length=1)]


def cache_home() -> Path:
    """The cache folder: `$REASONER_CACHE`, `$XDG_CACHE_HOME/reasoner` or ~/.cache/reasoner.

    Raises:
        EngineUnavailable: there is no home folder.
    """
    try:
        if own := os.environ.get("REASONER_CACHE"):
            return Path(own).expanduser().absolute()
        if shared := os.environ.get("XDG_CACHE_HOME"):
            return Path(shared).expanduser().absolute() / "reasoner"
        return Path.home() / ".cache" / "reasoner"
    except RuntimeError as error:
        raise EngineUnavailable("no home folder to keep the model in: set REASONER_CACHE to a folder") from error


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, in hex. On processors with SHA instructions it is faster than BLAKE2b."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _checksum(file: Path) -> FileChecksum:
    status = file.stat()
    return FileChecksum(size=status.st_size, sha256=sha256_of(file), mtime_ns=status.st_mtime_ns)


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


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model's folder at `path`, which `fill` builds from a source, such as a GGUF file, of SHA-256 `gguf_sha256`.

    `fill` gets an empty folder next to `path`. `megabytes` is the disk space that it needs. `what` is the model's name
    in messages.
    """

    path: Path
    gguf_sha256: str
    megabytes: int
    fill: Callable[[Path], None]
    what: str = "the embedded model"

    def ready(self, notify: Notify) -> Path:
        """The folder, complete and verified; it is built first if it is missing or damaged.

        Of several processes one builds it and the others wait. A folder is never visible before it is complete.

        Raises:
            EngineUnavailable: it cannot be built; the message says why and what to do.
        """
        try:
            if self.path.exists() and self.damage() is None:
                return self.path
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path, notify, f"another process is building {self.what}: waiting for it"):
                self._build(notify)
        except OSError as error:
            raise self._unusable(error) from error
        return self.path

    def damage(self) -> str | None:
        """The first problem of the folder, as "file: problem"; None if every file is as it was written.

        A file is read only if its time has changed.
        """
        name = CHECKSUMS
        try:
            sums = Checksums.model_validate_json((self.path / name).read_bytes())
            if sums.gguf_sha256 != self.gguf_sha256:
                return f"{name}: built for another model"
            for name, expected in sums.files.items():
                status = (self.path / name).stat()
                if status.st_size != expected.size:
                    return f"{name}: size differs"
                if status.st_mtime_ns != expected.mtime_ns and sha256_of(self.path / name) != expected.sha256:
                    return f"{name}: checksum differs"
        except FileNotFoundError:
            return f"{name}: missing"
        except ValidationError:
            return f"{name}: not readable"
        except OSError as error:
            return f"{name}: {error.strerror}"
        return None

    def _build(self, notify: Notify) -> None:
        """Build the folder unless another process has built it. The lock is held."""
        if self.path.exists():
            damage = self.damage()
            if damage is None:
                return
            notify(f"the cached model is damaged ({damage}): building it again")
            shutil.rmtree(self.path)
        else:
            notify(f"building {self.what}, once ({self.megabytes} MB in {self.path.parent})")
        prefix = f".{self.path.name}.tmp-"
        for leftover in self.path.parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if shutil.disk_usage(self.path.parent).free < self.megabytes * 10**6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self.path.parent, ignore_cleanup_errors=True) as scratch:
            staged = Path(scratch) / "model"
            staged.mkdir()
            self.fill(staged)
            self._seal(staged)
            staged.rename(self.path)
        sync(self.path.parent)

    def _seal(self, folder: Path) -> None:
        """Force every file to disk and record its checksum, `checksums.json` last."""
        files = sorted(folder.iterdir())
        checksums = Checksums(gguf_sha256=self.gguf_sha256, files={file.name: _checksum(file) for file in files})
        (folder / CHECKSUMS).write_text(checksums.model_dump_json(indent=2), encoding="utf-8")
        for file in files:
            # Safetensors are readable only by their owner; the mode by umask lets a cache be shared.
            shutil.copymode(folder / CHECKSUMS, file)
            sync(file)
        sync(folder / CHECKSUMS)
        sync(folder)

    def _unusable(self, error: OSError) -> EngineUnavailable:
        folder = self.path.parent
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return EngineUnavailable(
                f"no space left for {self.what} in {folder}: it needs {self.megabytes} MB; free some, or set "
                "REASONER_CACHE to a folder on another disk"
            )
        return EngineUnavailable(
            f"cannot build {self.what} in {folder}: {error.strerror or error}; set REASONER_CACHE to a folder "
            "that can be written"
        )
