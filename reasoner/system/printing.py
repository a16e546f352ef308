"""Text of models, users and other programs made safe to show, on a terminal and on a page."""

import re
import unicodedata
from typing import Final

_BLANK: Final = re.compile(r"\r\n|[^\S \x1c-\x1f\x85\u2028\u2029]")
"""Line ends, tabs and blanks other than a space; those that only a terminal knows are shown."""
_FORMULA: Final = (
    "=",
    "+",
    "-",
    "@",
    "\N{FULLWIDTH EQUALS SIGN}",
    "\N{FULLWIDTH PLUS SIGN}",
    "\N{FULLWIDTH HYPHEN-MINUS}",
    "\N{FULLWIDTH COMMERCIAL AT}",
)
_NUMBER: Final = re.compile(r"[+-]?\d[\d,]*(\.\d+)?([eE][+-]?\d+)?")


def visible(text: str) -> str:
    """Text with control, direction and unknown characters as their code points, [U+001B]; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else f"[U+{ord(char):04X}]" for char in text)


def _harmless(char: str) -> bool:
    # The joiners are part of emoji and of some scripts.
    return (
        char.isprintable()
        or char in "\n\t\u200c\u200d"
        or unicodedata.category(char) == "Zs"
    )


def one_line(text: str) -> str:
    """The same on one line, in which a space is the only blank."""
    return text if text.isprintable() else visible(_BLANK.sub(" ", text))


def printable(text: str, *, limit: int = 60) -> str:
    """The same on one line of at most `limit` characters, with single blanks."""
    return clipped(" ".join(one_line(text[: 4 * limit]).split()), limit)


def no_formula(text: str) -> str:
    """Text with a leading apostrophe if a spreadsheet would run it as a formula; a signed number, as -5, stays."""
    return (
        f"'{text}"
        if text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text.strip())
        else text
    )


def clipped(text: str, limit: int) -> str:
    """At most `limit` characters of a text; an ellipsis ends it where some are left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def valid_unicode(text: str) -> str:
    """Text that any file can hold: the halves of a surrogate pair are joined, and lone ones are replaced."""
    return (
        text
        if text.isascii()
        else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


def counted(number: int, thing: str) -> str:
    """A number of things in words: `1 question`, `1,200 questions`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
