"""A regular expression of a task's own, by which its answers are read first."""

from functools import lru_cache
from typing import TYPE_CHECKING

from reasoner.errors import UsageError

if TYPE_CHECKING:
    from regex import Pattern

MAX_SECONDS = 1.0
"""Processor time for one reply; a pattern that needs more matches nothing."""


@lru_cache(maxsize=64)
def compiled(pattern: str) -> "Pattern[str]":
    """The pattern, with `^` and `$` at every line. Raises UsageError if it is no regular expression."""
    import regex

    try:
        return regex.compile(pattern, regex.MULTILINE)
    except regex.error as error:
        raise UsageError(f"the pattern {pattern!r:.80} is not a regular expression: {error}") from None


def last_matched(pattern: str, text: str) -> str | None:
    """The first group of the last match, or all of it; None if nothing matches in time."""
    last = None
    try:
        for match in compiled(pattern).finditer(text, timeout=MAX_SECONDS):
            last = match
    except TimeoutError:
        return None
    if last is None:
        return None
    return str(last[1]) if last.re.groups and last[1] is not None else str(last[0])
