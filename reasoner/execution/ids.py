"""The ids of the questions of a run: no two may be equal, and a run may have millions."""

from array import array
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from reasoner.answers.questions import Question
from reasoner.errors import UsageError

_FIRST_SIZE: Final = 1 << 10


def check_ids(questions: Iterable[Question], seen_ids: "IdSet | None" = None) -> None:
    """Check that no two questions have the same id; `seen_ids` has the ids of earlier ones and is extended.

    Raises:
        UsageError: two have.
    """
    seen_ids = IdSet() if seen_ids is None else seen_ids
    for question in questions:
        if not seen_ids.add(question.id):
            problem = "two questions have the same id, which names seeds and trace records"
            raise UsageError(f"{problem}: give each its own, as in Question.of(text, id='q1')")


class IdSet:
    """A set of texts that keeps 64 bits of each: at most 24 bytes per text.

    Two different texts of a million count as equal with a chance of 3 in 100 million.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _FIRST_SIZE))
        self._used = 0

    def __contains__(self, text: str) -> bool:
        key = self.key(text)
        return self._slots[self._slot(key)] == key

    def add(self, text: str) -> bool:
        """Add a text; whether it was new."""
        key = self.key(text)
        slot = self._slot(key)
        if self._slots[slot] == key:
            return False
        self._slots[slot] = key
        self._used += 1
        if 3 * self._used > 2 * len(self._slots):
            before, self._slots = self._slots, array("Q", bytes(8 * 2 * len(self._slots)))
            for key in before:
                if key:
                    self._slots[self._slot(key)] = key
        return True

    def _slot(self, key: int) -> int:
        """Where a key is, or the empty slot where it belongs (linear probing)."""
        slots, mask = self._slots, len(self._slots) - 1
        slot = key & mask
        while slots[slot] and slots[slot] != key:
            slot = slot + 1 & mask
        return slot

    @staticmethod
    def key(text: str) -> int:
        """The 64 bits that are kept of a text; never 0, which marks an empty slot."""
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1
