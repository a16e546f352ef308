"""How often Python searches for cycles of objects: a run makes many objects and hardly a cycle."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

EVERY: Final = 200_000
"""New objects between two searches; with Python's own 700, a run spends as long on searches as on its questions."""
_changing: Final = threading.RLock()
_before: Final[list[int]] = []
"""The threshold that the first of the blocks found, once for each block: the collector belongs to the whole process."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """A block in which the search is rare. At the end of the last such block of the process it is as it was before.

    A search that is rarer already or switched off stays so, and so does a threshold that somebody else sets meanwhile.
    """
    with _changing:
        now = gc.get_threshold()[0]
        _before.append(_before[0] if _before else now)
        if 0 < now < EVERY and len(_before) == 1:
            gc.set_threshold(EVERY)
    try:
        yield
    finally:
        with _changing:
            before = _before.pop()
            if not _before and gc.get_threshold()[0] == EVERY:
                gc.set_threshold(before)
