"""Code graded by its unit tests, in the sandbox."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from reasoner.equivalence import Equivalence
from reasoner.errors import UsageError, require
from reasoner.grades import GradeStatus
from reasoner.sandbox.check import Sandbox
from reasoner.sandbox.layers import Limits, detect
from reasoner.types import Answer
from reasoner_evals.grading import GradedQuestion


@dataclass(frozen=True, slots=True)
class ByTests:
    """Grades code by tests of Python that assert; right is code that passes all of them.

    Code that fails, does not compile, crashes, or exceeds its `seconds` of processor time or its memory is wrong: those
    are the code's doing. Where the tests or the sandbox fail, that is `grader_crash`. `preamble` stands before every
    answer, such as the imports that the question gave.
    """

    name: ClassVar[str] = "tests"
    version: ClassVar[int] = 1

    tests: tuple[str, ...] = field(repr=False)
    entry_point: str = ""
    preamble: str = field(default="", repr=False)
    seconds: float = 5.0
    allow_unsandboxed: bool = False

    def __post_init__(self) -> None:
        require(self.seconds, "seconds", above=0, at_most=3600)

    async def grade(self, item: GradedQuestion, answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """Whether the code passes; on the clock a check may take twice its processor time."""
        limits = Limits(seconds=2 * self.seconds, cpu_seconds=math.ceil(self.seconds))
        sandbox = Sandbox(limits, self.allow_unsandboxed)
        verdict = await sandbox.check(self.preamble + answer.text, self.tests, entry_point=self.entry_point)
        if not verdict.judged:
            return "grader_crash"
        return "right" if verdict.status == "pass" else "wrong"


def require_sandbox(task: str, *, allow_unsandboxed: bool) -> None:
    """Refuse a task of code before anything is asked, where this machine cannot confine code; blocks for a moment.

    Raises:
        UsageError: the sandbox lacks its minimum and running without it was not allowed.
    """
    if not allow_unsandboxed and (missing := detect().missing):
        raise UsageError(
            f"{task} runs code that a model writes, and this machine's sandbox lacks its minimum ({missing}): install "
            f"bubblewrap, or run the code unprotected with {task}:allow_unsandboxed=true"
        )
