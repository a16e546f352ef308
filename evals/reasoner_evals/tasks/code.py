"""Benchmarks of code graded by unit tests: HumanEval (Chen 2021, 2107.03374) and MBPP (Austin 2021, 2108.07732)."""

import re
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers.code import CodeSpace, functions_in
from reasoner_evals.tasks.benchmark import Benchmark, TaskData, Template
from reasoner_evals.tasks.data import DataRow
from reasoner_evals.tasks.graders import ByTests, GradedQuestion, require_sandbox


@dataclass(frozen=True, slots=True)
class CodeBenchmark(Benchmark):
    """Functions to write. `seconds` is the processor time that the tests of one answer may take.

    `allow_unsandboxed` runs the code without a sandbox where the machine offers none.
    """

    seconds: float = 5.0
    allow_unsandboxed: bool = False

    def load(self) -> TaskData:
        """All questions; refused if this machine cannot confine code."""
        require_sandbox(self.name, allow_unsandboxed=self.allow_unsandboxed)
        return Benchmark.load(self)

    def _grader(self, tests: tuple[str, ...], entry_point: str = "", preamble: str = "") -> ByTests:
        return ByTests(tests, entry_point, preamble, self.seconds, self.allow_unsandboxed)


@dataclass(frozen=True, slots=True)
class HumanEval(CodeBenchmark):
    """HumanEval: 164 functions to complete, graded by unit tests in the sandbox. Pinned."""

    name: ClassVar = "humaneval"
    reads: ClassVar = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    prompt: ClassVar = Template(
        "complete-function",
        1,
        "Complete the function above. Give the whole function, its imports included, in one ```python block.",
    )

    def item(self, row: DataRow) -> GradedQuestion:
        """What the prompt defines above the function is available to every answer."""
        row.text("prompt")
        head, body = str(row.value("prompt")), str(row.value("canonical_solution"))
        entry_point = row.text("entry_point")
        starts = [match.start() for match in re.finditer(rf"^def {re.escape(entry_point)}\b", head, re.MULTILINE)]
        if not starts:
            raise row.error("entry_point", f"{entry_point!r:.60} is not defined in the prompt")
        grader = self._grader((row.text("test"),), entry_point, head[: starts[-1]])
        question = self.template.ask(
            head.strip(), CodeSpace((entry_point,)), id=row.optional("task_id") or f"humaneval/{row.index}"
        )
        return GradedQuestion(question, head + body, grader=grader)


@dataclass(frozen=True, slots=True)
class Mbpp(CodeBenchmark):
    """MBPP: 500 functions to write, graded by the assertions that the question shows, in the sandbox. Pinned."""

    name: ClassVar = "mbpp"
    reads: ClassVar = ("task_id", "text", "code", "test_list", "test_setup_code")
    prompt: ClassVar = Template("write-function", 1, "Give the function, its imports included, in one ```python block.")

    def item(self, row: DataRow) -> GradedQuestion:
        """The assertions are part of the question, as in the paper: only they name the function."""
        tests = row.texts("test_list")
        if not tests:
            raise row.error("test_list", "it has no test")
        setup = row.optional("test_setup_code")
        text = f"{row.text('text', 'prompt')}\n\nYour code shall pass these tests:\n\n" + "\n".join(tests)
        question = self.template.ask(
            text, CodeSpace(functions_in("\n".join(tests))), id=f"mbpp/{row.optional('task_id') or row.index}"
        )
        grader = self._grader(tuple(f"{setup}\n{test}" if setup else test for test in tests))
        return GradedQuestion(question, row.text("code"), grader=grader)
