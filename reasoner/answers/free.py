"""Free-form replies: the whole reply is the answer."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from reasoner.types import Answer, Blocks

RULE = "whole"
"""The rule of an answer that is a whole reply."""


@dataclass(frozen=True, slots=True)
class FreeSpace:
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
        key = hashlib.blake2b(written.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return Answer(written, key, RULE)

    def same(self, a: Answer, b: Answer) -> bool | None:
        """Whether the texts are the same."""
        return a.key == b.key

    def blocks(self, answer: Answer) -> Blocks:
        """No blocks: different texts are never equal."""
        return Blocks()
