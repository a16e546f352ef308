"""MBPP (Austin 2021, 2108.07732): a sentence that says what a function shall do, and three assertions."""

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
class Mbpp(Benchmark):
    """MBPP: 500 functions to write, graded by the assertions that the question shows, in the sandbox. Pinned.

    `seconds` is the processor time that the tests of one answer may take.
    """

    revision: str = "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
    seconds: float = 5.0
    allow_unsandboxed: bool = False

    name: ClassVar[str] = "mbpp"
    reads: ClassVar[tuple[str, ...]] = ("task_id", "text", "code", "test_list", "test_setup_code")
    published: ClassVar[Published] = Published(
        "google-research-datasets/mbpp",
        "test",
        "CC-BY-4.0",
        config="full",
        file="src/archon/benchmarks/mbpp/data/mbpp_test.jsonl of github.com/ScalingIntelligence/Archon",
        digest="e57e9c9999aa",
    )

    @property
    def template(self) -> Template:
        """The function in a fence."""
        return Template("write-function", 1, "Give the function, its imports included, in one ```python block.")

    def load(self) -> TaskData:
        """As every benchmark, and refused where this machine cannot confine code."""
        require_sandbox(self.name, allow_unsandboxed=self.allow_unsandboxed)
        return Benchmark.load(self)

    def item(self, row: Row, template: Template) -> GradedQuestion:
        """The assertions are part of the question, as in the paper: only they name the function."""
        tests = row.texts("test_list")
        if not tests:
            raise row.wrong("test_list", "it has no test")
        setup = row.maybe("test_setup_code")
        graded = tuple(f"{setup}\n{test}" if setup else test for test in tests)
        text = f"{row.text('text', 'prompt')}\n\nYour code shall pass these tests:\n\n" + "\n".join(tests)
        question = template.ask(text, CodeSpace(), id=f"mbpp/{row.maybe('task_id') or row.index}")
        grader = ByTests(graded, seconds=self.seconds, allow_unsandboxed=self.allow_unsandboxed)
        return GradedQuestion(question, row.text("code"), grader=grader)
