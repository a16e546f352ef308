"""Files of settings: TOML that `--settings` of several commands names."""

import tomllib
from pathlib import Path
from typing import Any

from reasoner.errors import UsageError
from reasoner.system.files import read_whole


def read_settings_table(path: Path) -> dict[str, Any]:
    """The tables of a file of settings. Raises UsageError if it cannot be read, or is not TOML."""
    try:
        # Bytes that a file of settings may have
        return tomllib.loads(read_whole(path, limit=1 << 20).decode())
    except OSError as error:
        raise UsageError(f"cannot read --settings {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--settings {path} is not TOML: {error}") from error
