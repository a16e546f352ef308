"""What the contests of numbers share: a problem, a number as its answer, and a box to put it in."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import NumberSpace
from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark, checked
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.rows import Row


@dataclass(frozen=True, slots=True)
class Contest(Benchmark):
    """Problems with a number as their answer, compared exactly: `070` is 70 and `27.0` is 27."""

    reads: ClassVar[tuple[str, ...]] = ("problem", "answer")

    @property
    def template(self) -> Template:
        """Qwen's convention, as a user turn."""
        return Template("boxed-steps", 1, "Please reason step by step, and put your final answer within \\boxed{}.")

    def item(self, row: Row, template: Template) -> GradedQuestion:
        """A problem under any of the names that its editions use."""
        space = NumberSpace()
        question = template.ask(row.text("problem", "question", "Problem"), space, id=f"{self.name}/{row.index}")
        gold = row.text("answer", "expected_answer", "Answer")
        return GradedQuestion(question, checked(row, "answer", space, gold))
