"""Cells of CSV files: no text from models or users acts as a command in a terminal or a formula in a spreadsheet."""

import re
from typing import Any, Final

from reasoner.system.printing import one_line

_FORMULA: Final = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
                   "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
_NUMBER: Final = re.compile(r"[+-]?\d[\d,]*(\.\d+)?([eE][+-]?\d+)?")


def plain_cell(value: Any) -> Any:
    """A value for a cell; text becomes one line, with control and direction characters as code points, `[U+001B]`.

    Text that a spreadsheet would run as a formula gets a leading apostrophe; a signed number, such as -5, does not.
    """
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text.strip()) else text
