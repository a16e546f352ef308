"""Code graded by its unit tests, in the sandbox."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from reasoner.equivalence import Equivalence
from reasoner.errors import UsageError
from reasoner.grades import GradeStatus
from reasoner.sandbox.check import Sandbox
from reasoner.sandbox.layers import Limits, detect
from reasoner.types import Answer
from reasoner_evals.grading.graders import GradedQuestion


@dataclass(frozen=True, slots=True)
class ByTests:
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
    seconds: float = 5.0
    allow_unsandboxed: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 3600:
            raise UsageError(f"seconds={self.seconds:g} is out of range: seconds is above 0, up to 3600")

    async def grade(self, item: GradedQuestion, answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """Whether the code passes; the wall-clock limit is twice the processor time."""
        limits = Limits(seconds=2 * self.seconds, cpu_seconds=math.ceil(self.seconds))
        sandbox = Sandbox(limits, self.allow_unsandboxed)
        verdict = await sandbox.check(self.preamble + answer.text, self.tests, entry_point=self.entry_point)
        if not verdict.judged:
            return "grader_crash"
        return "right" if verdict.status == "pass" else "wrong"


def require_sandbox(task: str, *, allow_unsandboxed: bool) -> None:
    """Raise UsageError if this machine cannot confine code and that is not allowed; blocks for a moment."""
    if not allow_unsandboxed and (missing := detect().missing):
        raise UsageError(
            f"{task} runs code that a model writes, and this machine's sandbox lacks its minimum ({missing}): install "
            f"bubblewrap, or run the code unprotected with {task}:allow_unsandboxed=true"
        )
