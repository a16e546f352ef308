"""Files and JSON that come from outside: read within bounds, and refused as what cannot be read."""

import errno
import json
from pathlib import Path
from typing import Any, Final

MAX_BYTES: Final = 256 << 20
"""The largest file that is read whole."""


def read_file(path: Path) -> bytes:
    """The content of a file that is small by nature, such as a configuration.

    Raises:
        OSError: it cannot be read, or holds more than MAX_BYTES, as a device may.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES >> 20} MiB", str(path))
    return content


def parse_json(text: str | bytes) -> Any:
    """The value of a text.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or holds a number of too many digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        OSError: as `read_file`.
        ValueError: as `parse_json`, or it is no object.
    """
    found = parse_json(read_file(path))
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not an object")  # noqa: TRY004 what was read is wrong
    return found
