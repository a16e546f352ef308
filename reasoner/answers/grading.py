"""Whether an answer equals a reference answer, by the equality of the question's kind.

A reference is compared after a question is over; nothing that answers one receives it.
"""

from reasoner.answers.code import CodeSpace
from reasoner.answers.equivalence import Equivalence, SlowSpace, Verdict
from reasoner.answers.forms import machine_forms
from reasoner.answers.texts import TextSpace, squad_normal
from reasoner.answers.whole import FreeSpace
from reasoner.types import Answer, AnswerSpace


def stated(space: AnswerSpace, reference: str) -> str:
    """The answer that a reference states: of a worked solution what its form holds, such as a box; else all of it."""
    if machine_forms(reference):
        answer = space.read(reference)
        if answer is not None and answer.rule == "form":
            return answer.text
    return reference


def is_gradable(space: AnswerSpace, gold: str) -> bool:
    """Whether answers can be compared with a stated one: neither code nor whole replies, nor with another kind."""
    if isinstance(space, CodeSpace | FreeSpace):
        return False
    if isinstance(space, SlowSpace):
        return space.answer(gold) is not None
    if isinstance(space, TextSpace):
        return bool(squad_normal(gold))
    return _boxed(space, gold) is not None


async def grade(
    space: AnswerSpace, gold: str, answer: Answer, equivalence: Equivalence
) -> Verdict:
    """Whether a stated answer accepts another one; free text is right if its SQuAD normal form is equal."""
    if isinstance(space, SlowSpace):
        return await equivalence.accepts(space, gold, answer.text)
    if isinstance(space, TextSpace):
        same = squad_normal(answer.text) == squad_normal(gold)
    else:
        reference = _boxed(space, gold)
        same = reference is not None and bool(space.same(reference, answer))
    return Verdict("right" if same else "wrong")


def _boxed(space: AnswerSpace, gold: str) -> Answer | None:
    return space.read(rf"\boxed{{{gold}}}")
