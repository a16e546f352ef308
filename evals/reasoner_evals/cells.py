"""Cells of CSV files: text from models and users that neither a terminal nor a spreadsheet can take for a command."""

import re
from typing import Any, Final

from reasoner.tree.page import visible

_FORMULA: Final = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
                   "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
_NUMBER: Final = re.compile(r"[+-]?\d[\d,]*(\.\d+)?([eE][+-]?\d+)?")
_BREAKS: Final = re.compile(r"[\t\r\n]+")


def plain_cell(value: Any) -> Any:
    """A value for a cell; text is one line, with control and direction characters as their code points, `[U+001B]`.

    Text that a spreadsheet would run as a formula gets an apostrophe before it; a signed number, such as -5, does not.
    """
    if not isinstance(value, str):
        return value
    text = visible(_BREAKS.sub(" ", value))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text.strip()) else text
