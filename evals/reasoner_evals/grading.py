"""Grading: whether an answer is right. The only code that sees a reference answer."""

import re
from dataclasses import dataclass, field
from fractions import Fraction

from reasoner.answers import CodeSpace
from reasoner.answers.expressions import ExpressionSpace, evaluate, solves
from reasoner.equivalence import Equivalence, SlowSpace
from reasoner.errors import UsageError
from reasoner.grades import GradeStatus
from reasoner.types import Completion, Question


@dataclass(frozen=True, slots=True)
class GradedQuestion:
    """A question and its reference answer. Strategies and verifiers are given the question alone."""

    question: Question
    gold: str = field(repr=False)


async def grade(item: GradedQuestion, completion: Completion, equivalence: Equivalence) -> GradeStatus:
    """The status of one sequence.

    Raises:
        UsageError: the question asks for code, which only tests can grade.
    """
    if completion.truncated:
        return "truncated"
    answer = item.question.read(completion)
    if answer is None:
        return "no_answer"
    space = item.question.space
    if isinstance(space, SlowSpace):
        return (await equivalence.accepts(item.gold, answer.text, space=space)).status
    if isinstance(space, ExpressionSpace):
        fine = solves(answer.text, numbers=space.numbers, target=space.target, use_all=space.use_all)
        return "right" if fine else "wrong"
    if isinstance(space, CodeSpace):
        raise UsageError("code is graded by its tests, not by a reference answer: use reasoner.sandbox")
    gold = space.read(rf"\boxed{{{item.gold}}}")
    return "right" if gold and space.same(gold, answer) else "wrong"


_EQUATION = re.compile(r"(?<![\d.=])(-?\d[\d\s+*/()x×·−-]*[\d)])\s*=\s*(-?\d+(?:\.\d+)?)(?![\d/])")


def arithmetic_steps(text: str, *, separator: str = "\n\n") -> tuple[bool | None, ...]:
    """Of each step whether all its equations between numbers hold; None where it states none."""
    return tuple(_holds(step) for step in text.split(separator) if step.strip())


def _holds(step: str) -> bool | None:
    verdicts = []
    for match in _EQUATION.finditer(step):
        found = evaluate(match[1].replace("x", "*").replace("·", "*"))
        if found is not None:
            verdicts.append(found.value == Fraction(match[2]))
    return all(verdicts) if verdicts else None
