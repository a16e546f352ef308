"""Graders, and questions with their reference answers. Only this package and `tasks` see a reference answer."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar, Protocol

from reasoner.answers import CodeSpace, TextSpace, squad_em
from reasoner.answers.expressions import ExpressionSpace, evaluate, solves
from reasoner.equivalence import Equivalence, SlowSpace
from reasoner.errors import UsageError
from reasoner.grades import GradeStatus
from reasoner.types import Answer, Completion, Question


class Grader(Protocol):
    """Grades answers that were read already; an answer that it cannot judge has its own status and is never wrong."""

    @property
    def name(self) -> str:
        """Its name in the verdicts of a run."""

    @property
    def version(self) -> int:
        """The version of its rules: another version may accept other answers."""

    async def grade(self, item: "GradedQuestion", answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """The grade of one answer; slow work runs in `equivalence`. Raises UsageError for another kind of question."""


@dataclass(frozen=True, slots=True)
class ByRules:
    """Grades an expression over given numbers by the puzzle's rules: any solution is right."""

    name: ClassVar[str] = "rules"
    version: ClassVar[int] = 1

    async def grade(self, item: "GradedQuestion", answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """Whether the expression equals the target and uses each number as often as allowed."""
        space = item.question.space
        if not isinstance(space, ExpressionSpace):
            raise UsageError(f"an answer of kind {space.name} cannot be graded by rules: use a reference answer")
        solved = solves(answer.text, numbers=space.numbers, target=space.target, use_all=space.use_all)
        return "right" if solved else "wrong"


@dataclass(frozen=True, slots=True)
class ByReference:
    """Grades an answer by the reference answer and its `aliases`, as the answer space compares them.

    Free text is right if its SQuAD normal form equals that of one of them (EM; Rajpurkar 2016, 1606.05250).
    """

    name: ClassVar[str] = "reference"
    version: ClassVar[int] = 1

    aliases: tuple[str, ...] = field(default=(), repr=False)

    async def grade(self, item: "GradedQuestion", answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """Whether a reference answer accepts the answer; an unfinished comparison has its own status."""
        space = item.question.space
        golds = (item.gold, *self.aliases)
        if isinstance(space, ExpressionSpace):
            return await ByRules().grade(item, answer, equivalence)
        if isinstance(space, CodeSpace):
            raise UsageError("code is graded by its tests, not by a reference answer: use reasoner.sandbox")
        if isinstance(space, TextSpace):
            return "right" if squad_em(answer.text, golds) else "wrong"
        if isinstance(space, SlowSpace):
            status: GradeStatus = "wrong"
            for gold in golds:
                verdict = (await equivalence.accepts(gold, answer.text, space=space)).status
                if verdict == "right":
                    return verdict
                status = verdict if status == "wrong" else status
            return status
        references = (space.read(rf"\boxed{{{gold}}}") for gold in golds)
        return "right" if any(reference and space.same(reference, answer) for reference in references) else "wrong"


@dataclass(frozen=True, slots=True)
class GradedQuestion:
    """A question and its reference answer. Strategies and verifiers receive the question alone.

    `group` is what questions of one source share, such as a passage: statistics are clustered by it. `level` is the
    difficulty that the benchmark states. Both may be empty.
    """

    question: Question
    gold: str = field(repr=False)
    group: str = ""
    level: str = ""
    grader: Grader = field(default=ByReference(), repr=False)


async def grade(item: GradedQuestion, completion: Completion, equivalence: Equivalence) -> GradeStatus:
    """The grade of one completion. Raises UsageError if its grader cannot grade this kind of question."""
    if completion.truncated:
        return "truncated"
    answer = item.question.read(completion)
    return "no_answer" if answer is None else await item.grader.grade(item, answer, equivalence)


_EQUATION = re.compile(r"(?<![\d.=])(-?\d[\d\s+*/()x×·−-]*[\d)])\s*=\s*(-?\d+(?:\.\d+)?)(?![\d/])")


def arithmetic_steps(text: str) -> tuple[bool | None, ...]:
    """For each step whether all its equations between numbers hold; None if it has none."""
    return tuple(_equations_hold(step) for step in text.split("\n\n") if step.strip())


def _equations_hold(step: str) -> bool | None:
    verdicts = []
    for match in _EQUATION.finditer(step):
        left = evaluate(match[1].replace("x", "*").replace("·", "*"))
        if left is not None:
            verdicts.append(left.value == Fraction(match[2]))
    return all(verdicts) if verdicts else None
