"""Marks in the types of options: what an option is beyond its Python type, for those who set it on behalf of others.

An option of a plug-in has a mark as in `n: Samples = 8`. A server bounds samples, leaves lengths to the budget and the
context, and refuses what only its owner may set.
"""

import typing
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, NamedTuple


class Mark(Enum):
    """What a number is."""

    SAMPLES = "how many sequences are drawn of one prompt"
    LENGTH = "a number of tokens or characters"


class Owners(NamedTuple):
    """Only the owner of a server may set it, and why."""

    why: str


Samples = Annotated[int, Mark.SAMPLES]
Length = Annotated[int, Mark.LENGTH]
FilePath = Annotated[str, Owners("it reads a file")]
Weights = Annotated[str, Owners("it loads weights")]
Pattern = Annotated[str, Owners("it runs a regular expression")]
Seconds = Annotated[float, Owners("it is processor time")]


@lru_cache(maxsize=512)
def marks_of(cls: type) -> Mapping[str, Mark | Owners]:
    """The marks of a class's options by name."""
    try:
        hints: Mapping[str, Any] = typing.get_type_hints(cls, include_extras=True)
    except Exception:  # names that a foreign module imports for type checkers only
        return {}
    marked = {
        name: [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Mark | Owners)]
        for name, hint in hints.items()
    }
    return {name: marks[0] for name, marks in marked.items() if marks}
