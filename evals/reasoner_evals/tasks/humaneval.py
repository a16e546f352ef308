"""HumanEval (Chen 2021, 2107.03374): the head of a function and what it shall do; graded by unit tests."""

import re
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import CodeSpace
from reasoner_evals.graders.code import ByTests, require_sandbox
from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published
from reasoner_evals.tasks.task import TaskData


@dataclass(frozen=True, slots=True)
class HumanEval(Benchmark):
    """HumanEval: 164 functions to complete, graded by unit tests in the sandbox. Pinned.

    `seconds` is the processor time that the tests of one answer may take. What the question defines above the function
    is there for every answer.
    """

    revision: str = "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"
    seconds: float = 5.0
    allow_unsandboxed: bool = False

    name: ClassVar[str] = "humaneval"
    reads: ClassVar[tuple[str, ...]] = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    published: ClassVar[Published] = Published(
        "openai/openai_humaneval", "test", "MIT", file="data/HumanEval.jsonl.gz of github.com/openai/human-eval"
    )

    @property
    def template(self) -> Template:
        """The whole function in a fence."""
        instruction = (
            "Complete the function above. Give the whole function, its imports included, in one ```python block."
        )
        return Template("complete-function", 1, instruction)

    def load(self) -> TaskData:
        """As every benchmark, and refused where this machine cannot confine code."""
        require_sandbox(self.name, allow_unsandboxed=self.allow_unsandboxed)
        return Benchmark.load(self)

    def item(self, row: Row, template: Template) -> GradedQuestion:
        """The reference answer is the head with its canonical body."""
        head, body, entry_point = (
            str(row.value("prompt")),
            str(row.value("canonical_solution")),
            row.text("entry_point"),
        )
        starts = [found.start() for found in re.finditer(rf"^def {re.escape(entry_point)}\b", head, re.MULTILINE)]
        if not starts:
            raise row.wrong("entry_point", f"{entry_point!r:.60} is defined nowhere in the prompt")
        grader = ByTests((row.text("test"),), entry_point, head[: starts[-1]], self.seconds, self.allow_unsandboxed)
        row.text("prompt")
        question = template.ask(head.strip(), CodeSpace(), id=row.maybe("task_id") or f"humaneval/{row.index}")
        return GradedQuestion(question, head + body, grader=grader)
