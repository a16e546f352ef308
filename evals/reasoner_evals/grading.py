"""Grading: whether an answer is right. The only code that sees a reference answer."""

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
    """Grades answers that were read already; what it cannot judge has a status of its own and is never wrong."""

    @property
    def name(self) -> str:
        """What it is called where its grades are kept."""
        ...

    @property
    def version(self) -> int:
        """The version of its rules: what one version accepts, another may not."""
        ...

    async def grade(self, item: "GradedQuestion", answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """The grade of one answer; slow work is done in the processes of `equivalence`.

        Raises:
            UsageError: it is no grader for this kind of question.
        """
        ...


@dataclass(frozen=True, slots=True)
class ByRules:
    """Grades an expression over given numbers by the puzzle's rules: any solution is right, not just the stored one."""

    name: ClassVar[str] = "rules"
    version: ClassVar[int] = 1

    async def grade(self, item: "GradedQuestion", answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """Whether the expression comes to the target and uses the numbers as often as it may."""
        space = item.question.space
        if not isinstance(space, ExpressionSpace):
            raise UsageError(f"an answer of kind {space.name} has no rules to be graded by: use a reference answer")
        fine = solves(answer.text, numbers=space.numbers, target=space.target, use_all=space.use_all)
        return "right" if fine else "wrong"


@dataclass(frozen=True, slots=True)
class ByReference:
    """Grades an answer by the reference answer and its `aliases`, as the answer's space compares them.

    Free text is right where its SQuAD normal form is that of one of them (EM; Rajpurkar 2016, 1606.05250).
    """

    name: ClassVar[str] = "reference"
    version: ClassVar[int] = 1

    aliases: tuple[str, ...] = field(default=(), repr=False)

    async def grade(self, item: "GradedQuestion", answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """Whether a reference answer accepts the answer; a comparison that cannot be finished has its own status."""
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
                found = (await equivalence.accepts(gold, answer.text, space=space)).status
                if found == "right":
                    return found
                status = found if status == "wrong" else status
            return status
        known = (space.read(rf"\boxed{{{gold}}}") for gold in golds)
        return "right" if any(gold and space.same(gold, answer) for gold in known) else "wrong"


@dataclass(frozen=True, slots=True)
class GradedQuestion:
    """A question and its reference answer. Strategies and verifiers are given the question alone.

    `group` is what questions of one source share, such as a passage: statistics are clustered by it. `level` is the
    difficulty that the benchmark states. Both may be empty.
    """

    question: Question
    gold: str = field(repr=False)
    group: str = ""
    level: str = ""
    grader: Grader = field(default=ByReference(), repr=False)


async def grade(item: GradedQuestion, completion: Completion, equivalence: Equivalence) -> GradeStatus:
    """The status of one sequence.

    Raises:
        UsageError: its grader cannot grade this kind of question.
    """
    if completion.truncated:
        return "truncated"
    answer = item.question.read(completion)
    return "no_answer" if answer is None else await item.grader.grade(item, answer, equivalence)


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
