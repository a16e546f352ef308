"""Reads and replaces files safely: regular files only, bounded sizes, links followed, no partial files.

Functions raise `OSError` with a readable `strerror`, so a caller needs one block of `file_errors` for all problems of
a path.
"""

import errno
import json
import os
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, TypeVar
from uuid import uuid4

from reasoner.errors import ReasonerError, UsageError, misfit

T = TypeVar("T")

MAX_BYTES: Final = 1 << 28
"""Default limit of `read_whole`, in bytes."""
NOT_REGULAR: Final = "it is not a regular file"


@contextmanager
def file_errors(error: type[ReasonerError], what: str) -> Iterator[None]:
    """A block in which a problem of the file system is an error of ours, as in `cannot read FILE: it is a folder`."""
    try:
        yield
    except OSError as problem:
        raise error(f"{what}: {problem.strerror or problem}") from problem


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    Raises:
        OSError: it cannot be opened, or is a folder, a device, a pipe or a socket: these may have no end.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_whole(path: Path, *, limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is too large: at most {limit:,} bytes are read")
    return content


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """The value of a text; NaN and Infinity pass only with `finite=False`.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or holds NaN, Infinity or a number of too many digits.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text))
        return _DECODER.decode(text) if finite else json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        # Python reads no integer of more than 4,300 digits.
        raise (
            ValueError("a number is too long") if "digits" in str(error) else error
        ) from None


def _not_a_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


# Made once: events of streams are read by it.
_DECODER: Final = json.JSONDecoder(parse_constant=_not_a_number)


def complaint_of(error: ValueError) -> str:
    """Where a text does not fit a model of pydantic, and why, in one line."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error).lower()
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))[:200]
    return ": ".join(filter(None, [where, misfit(first)[:200]]))


def read_value(
    path: Path,
    kind: type[T],
    *,
    what: str,
    advice: str,
    error: type[ReasonerError] = UsageError,
) -> T:
    """The value that a JSON file holds, of a class that pydantic can check; `what` names it.

    Raises:
        UsageError: it cannot be read, or is not such a value; the message says where, and ends with the `advice`.
            Another `error` may replace it.
    """
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(kind).validate_json(read_whole(path))
    except OSError as failure:
        problem = f"cannot read the {what} {path}: {failure.strerror}"
        raise error(f"{problem}: {advice}") from failure
    except ValueError as failure:
        problem = f"{path} is not a {what}: {complaint_of(failure)}"
        raise error(f"{problem}: {advice}") from failure


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; its numbers may be NaN and Infinity, as in configurations of models.

    Raises:
        OSError: as `read_whole`.
        ValueError: as `parse_json`, or it is not an object.
    """
    value = parse_json(read_whole(path), finite=False)
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")  # noqa: TRY004 what was read is wrong
    return value


def read_settings_table(path: Path) -> dict[str, Any]:
    """The tables of a file of settings. Raises UsageError if it cannot be read, or is not TOML."""
    try:
        # Bytes that a file of settings may have
        return tomllib.loads(read_whole(path, limit=1 << 20).decode())
    except OSError as error:
        raise UsageError(f"cannot read --settings {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--settings {path} is not TOML: {error}") from error
    except RecursionError:
        raise UsageError(
            f"--settings {path} is not TOML: it is nested too deeply"
        ) from None


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file as a whole: others see the old content or the new one, and an error leaves the old one.

    The new content goes to a temporary file in the same folder, which then takes the name of the file. A link stays a
    link: the file that it points to is replaced. An existing file keeps its permissions.

    Raises:
        OSError: it cannot be written, or there is something at `path` that is not a regular file.
    """
    check_replaceable(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    # The new name survives a loss of power only if the folder is on the disk. Some file systems cannot sync folders.
    with suppress(OSError):
        sync(target.parent)


def check_replaceable(path: Path) -> None:
    """Check, before long work, whether `replacing` can write this path.

    Raises:
        OSError: there is something that is not a regular file, or no folder to write it into.
    """
    try:
        _check_regular(path.stat().st_mode)
    except FileNotFoundError:
        Path(os.path.realpath(path)).parent.stat()


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
