"""Free-form replies: the whole reply is the answer."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers.reading import SameKey, digest
from reasoner.types import Answer

RULE = "whole"
"""The rule of an answer that is a whole reply."""


@dataclass(frozen=True, slots=True)
class FreeSpace(SameKey):
    """The whole reply, as written; two are equal if they are the same text. The prompt is not changed.

    It is for strategies that choose among replies without counting equal ones, such as `best_of_n` and `universal`. A
    reply of blanks alone is no answer. Nothing in the text is interpreted, so its marks of thinking remain.
    """

    name: ClassVar[str] = "free"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = ""

    def read(self, text: str) -> Answer | None:
        """All of the text, without the blanks around it; its key is a digest, 32 hex digits."""
        written = text.strip()
        if not written:
            return None
        return Answer(written, digest(written), RULE)
