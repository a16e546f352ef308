"""Which questions race and which ones judge: decided by a hash, so that every session and every run agrees."""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from reasoner.errors import UsageError
from reasoner.system.printing import counted
from reasoner_evals.tasks.graders import GradedQuestion

JUDGES: Final = 3
"""One question, or group, in `JUDGES` judges."""


class QuestionSplit(NamedTuple):
    """The questions of a task, each side in an order of its own that depends only on their names."""

    race: tuple[GradedQuestion, ...]
    judge: tuple[GradedQuestion, ...]


def split(items: Sequence[GradedQuestion]) -> QuestionSplit:
    """The two sides. A group is on one side as a whole, and no question changes sides when others are added.

    Raises:
        UsageError: one side is empty.
    """
    sides = QuestionSplit(
        tuple(sorted((item for item in items if not judges(item)), key=_place)),
        tuple(sorted((item for item in items if judges(item)), key=_place)),
    )
    if not all(sides):
        raise UsageError(
            f"{counted(len(items), 'question')} cannot be divided into a race and a judge: give about 60 or more, "
            "with several groups where they have any"
        )
    return sides


def apart(
    items: Sequence[GradedQuestion], judging: Sequence[GradedQuestion]
) -> QuestionSplit:
    """The sides of a data set whose questions race and another one whose questions judge.

    Raises:
        UsageError: they share a question, or a group.
    """
    known = {text for item in items for text in (item.question.text, item.group)}
    shared = [
        item for item in judging if {item.question.text, item.group} & known - {""}
    ]
    if shared:
        raise UsageError(
            f"{counted(len(shared), 'question')} of --judge-on, or their groups, race too, as "
            f"{shared[0].question.id!r:.40}: leave them out of one file"
        )
    return QuestionSplit(
        tuple(sorted(items, key=_place)), tuple(sorted(judging, key=_place))
    )


def judges(item: GradedQuestion) -> bool:
    """Whether a question judges: by its group where it has one, otherwise by its id."""
    return _number(f"judge\0{item.group or item.question.id}") % JUDGES == 0


def _place(item: GradedQuestion) -> int:
    return _number(f"place\0{item.question.id}")


def _number(name: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    )
