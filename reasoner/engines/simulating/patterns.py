"""Texts that match a regular expression, by its parts: no expression is run, as a client's may take for ever."""

import random
import re
from collections.abc import Iterator
from itertools import islice
from re import _constants as part  # type: ignore[attr-defined]
from re import _parser as grammar  # type: ignore[attr-defined]
from string import ascii_letters, digits
from typing import Any, Final

LONGEST: Final = 500
"""The most pieces of a text that is made."""
_CATEGORIES: Final = {
    part.CATEGORY_DIGIT: digits,
    part.CATEGORY_SPACE: " \t\n",
    part.CATEGORY_WORD: f"{ascii_letters}{digits}_",
}
_OTHERS: Final = {
    part.CATEGORY_NOT_DIGIT: part.CATEGORY_DIGIT,
    part.CATEGORY_NOT_SPACE: part.CATEGORY_SPACE,
    part.CATEGORY_NOT_WORD: part.CATEGORY_WORD,
}


def matching(pattern: str, source: random.Random) -> str:
    """A text in which a pattern is found.

    Raises:
        ValueError: it is no pattern, has a part for which nothing is written here, or needs too long a text.
    """
    try:
        pieces = list(islice(_pieces(grammar.parse(pattern), source), LONGEST))
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"it is no pattern: {error}") from None
    if len(pieces) == LONGEST:
        raise ValueError("its text is too long")
    return "".join(pieces)


def _pieces(parts: Any, source: random.Random) -> Iterator[str]:
    """The pieces of a text one by one, as there may be far too many."""
    for kind, given in parts:
        if kind is part.SUBPATTERN:
            yield from _pieces(given[3], source)
        elif kind is part.BRANCH:
            yield from _pieces(source.choice(given[1]), source)
        elif kind in (part.MAX_REPEAT, part.MIN_REPEAT):
            least, most, repeated = given
            for _ in range(source.randint(least, min(int(most), least + 2))):
                # A piece for each time, so that nothing is repeated without an end.
                yield ""
                yield from _pieces(repeated, source)
        elif kind is not part.AT or given not in {
            part.AT_BEGINNING,
            part.AT_BEGINNING_STRING,
            part.AT_END,
            part.AT_END_STRING,
        }:
            yield source.choice(_characters(kind, given))


def _characters(kind: Any, given: Any) -> str:
    """Characters that a part of one character allows: of an alphabet, or those that it names.

    Raises:
        ValueError: it is another part, or allows none of them.
    """
    if kind is part.LITERAL:
        return chr(given)
    if kind is part.RANGE:
        return "".join(map(chr, range(given[0], min(given[1], given[0] + 100) + 1)))
    if kind is part.CATEGORY and given in _CATEGORIES:
        return _CATEGORIES[given]
    left_out = ""
    if kind is part.CATEGORY and given in _OTHERS:
        left_out = _CATEGORIES[_OTHERS[given]]
    elif kind is part.NOT_LITERAL:
        left_out = chr(given)
    elif kind is part.IN:
        named = "".join(
            _characters(*member) for member in given if member[0] is not part.NEGATE
        )
        if given[0][0] is not part.NEGATE:
            return named
        left_out = named
    elif kind is not part.ANY:
        raise ValueError(f"nothing is written for its part {str(kind).lower()}")
    if allowed := "".join(
        character
        for character in f"{ascii_letters}{digits} -_."
        if character not in left_out
    ):
        return allowed
    raise ValueError("it leaves out all that is written here")
