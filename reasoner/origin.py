"""Where foreign code failed: its file and line, for an error of one line."""

import os
from contextlib import suppress
from pathlib import Path
from traceback import walk_tb

_OURS = str(Path(__file__).parent) + os.sep
_STANDARD = str(Path(os.__file__).parent) + os.sep


def where(failure: BaseException) -> str:
    """The place in foreign code that raised it, as " (FILE:LINE)"; empty where it was raised elsewhere.

    It is the deepest place that is not in Python's own code, and not in an installed package where there is another.
    """
    places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(failure.__traceback__)]
    installed = [(file, line) for file, line in places if "site-packages" in file or not file.startswith(_STANDARD)]
    foreign = [(file, line) for file, line in installed if not file.startswith((_OURS, "<"))]
    own = [(file, line) for file, line in foreign if "site-packages" not in file]
    if not foreign:
        return ""
    file, line = (own or foreign)[-1]
    with suppress(OSError, ValueError):
        file = str(Path(file).relative_to(Path.cwd()))
    return f" ({file}:{line})"
