"""Graders, and questions with their reference answers. Only this package and `tasks` see a reference answer."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, ClassVar, Protocol

from reasoner import Answer, Question
from reasoner.answers.code import CodeSpace
from reasoner.answers.equivalence import Equivalence
from reasoner.answers.grading import grade
from reasoner.answers.numbers import NumberSpace
from reasoner.errors import UsageError
from reasoner.sandbox.check import Sandbox
from reasoner.sandbox.layers import SandboxLimits, detect
from reasoner.specs import CheckedOptions, Range
from reasoner.trace.replies import GradeStatus


class Grader(Protocol):
    """Grades answers that were read already; an answer that it cannot judge has its own status and is never wrong.

    Where more than the reference answer decides, its attribute `references` has that as texts.
    """

    @property
    def name(self) -> str:
        """Its name in the verdicts of a run."""

    @property
    def version(self) -> int:
        """The version of its rules: another version may accept other answers."""

    async def grade(
        self, item: "GradedQuestion", answer: Answer, equivalence: Equivalence
    ) -> GradeStatus:
        """The grade of one answer; slow work runs in `equivalence`. Raises UsageError for another kind of question."""


@dataclass(frozen=True, slots=True)
class ReferenceGrader:
    """Grades an answer by the reference answer and its `aliases`, as the answer space compares them.

    Free text is right if its SQuAD normal form equals the form of one of them (EM; Rajpurkar 2016, 1606.05250). A
    number is right too if it differs from one of them by at most `error`.
    """

    name: ClassVar[str] = "reference"
    version: ClassVar[int] = 1

    aliases: tuple[str, ...] = field(default=(), repr=False)
    error: float = 0.0

    @property
    def references(self) -> tuple[str, ...]:
        """The aliases, and the error if there is one."""
        return (*self.aliases, *([str(self.error)] if self.error else []))

    async def grade(
        self, item: "GradedQuestion", answer: Answer, equivalence: Equivalence
    ) -> GradeStatus:
        """Whether a reference answer accepts the answer; an unfinished comparison has its own status."""
        space = item.question.space
        golds = (item.gold, *self.aliases)
        if isinstance(space, CodeSpace):
            raise UsageError(
                "code is graded by its tests, not by a reference answer: use reasoner.sandbox"
            )
        if self.error and any(_near(gold, answer.text, self.error) for gold in golds):
            return "right"
        status: GradeStatus = "wrong"
        for gold in golds:
            verdict = (await grade(space, gold, answer, equivalence)).status
            if verdict == "right":
                return verdict
            status = verdict if status == "wrong" else status
        return status


def _near(gold: str, answer: str, error: float) -> bool:
    """Whether two numbers differ by at most `error`, and a hundredth of it for how they are stored."""
    first, second = (
        NumberSpace().read(rf"\boxed{{{text}}}") for text in (gold, answer)
    )
    if first is None or second is None:
        return False
    return abs(Fraction(first.key) - Fraction(second.key)) <= 1.01 * error


@dataclass(frozen=True, slots=True)
class GradedQuestion:
    """A question and its reference answer. Strategies and verifiers receive the question alone.

    `group` is what questions of one source share, such as a passage: statistics are clustered by it. `subtask` is
    the part of a benchmark that the question belongs to; its questions are independent. Both may be empty.
    """

    question: Question
    gold: str = field(repr=False)
    group: str = ""
    grader: Grader = field(default=ReferenceGrader(), repr=False)
    subtask: str = ""


@dataclass(frozen=True, slots=True)
class CodeGrader(CheckedOptions):
    """Grades code by Python tests that assert; right is code that passes all of them.

    Code that fails, does not compile, crashes, or exceeds its `seconds` of processor time or its memory is wrong. If
    the tests or the sandbox fail, the grade is `grader_crash`. `preamble` is put before every answer, such as the
    imports in the prompt.
    """

    name: ClassVar[str] = "tests"
    version: ClassVar[int] = 1

    tests: tuple[str, ...] = field(repr=False)
    entry_point: str = ""
    preamble: str = field(default="", repr=False)
    seconds: Annotated[float, Range(above=0, at_most=3600)] = 5.0
    allow_unsandboxed: bool = False

    @property
    def references(self) -> tuple[str, ...]:
        """The tests."""
        return self.tests

    async def grade(
        self, item: GradedQuestion, answer: Answer, equivalence: Equivalence
    ) -> GradeStatus:
        """Whether the code passes; the wall-clock limit is twice the processor time."""
        limits = SandboxLimits(
            seconds=2 * self.seconds, cpu_seconds=math.ceil(self.seconds)
        )
        sandbox = Sandbox(limits, self.allow_unsandboxed)
        verdict = await sandbox.check(
            self.preamble + answer.text, self.tests, entry_point=self.entry_point
        )
        if not verdict.judged:
            return "grader_crash"
        return "right" if verdict.status == "pass" else "wrong"


def require_sandbox(task: str, *, allow_unsandboxed: bool) -> None:
    """Raise UsageError if this machine cannot confine code and that is not allowed; blocks for a moment."""
    if not allow_unsandboxed and (missing := detect().missing):
        raise UsageError(
            f"{task} runs code that a model writes, and this machine's sandbox lacks its minimum ({missing}): "
            f"install unshare (util-linux) and allow user namespaces, or run the code unprotected with "
            f"{task}:allow_unsandboxed=true"
        )
