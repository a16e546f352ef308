r"""MATH-500 (Hendrycks 2021, 2103.03874; Lightman 2023, 2305.20050): competition problems, answers in bare LaTeX."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import MathSpace
from reasoner_evals.grading.graders import GradedQuestion
from reasoner_evals.tasks.benchmark import FewShotBenchmark, checked
from reasoner_evals.tasks.prompts import BOXED, Shot
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class Math500(FewShotBenchmark):
    """MATH-500: competition problems of levels 1 to 5, answered by a formula. Pinned; `shots` are self-written."""

    revision: str = "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"

    name: ClassVar = "math500"
    reads: ClassVar = ("problem", "answer", "level", "unique_id")
    published: ClassVar = Published(
        "HuggingFaceH4/MATH-500",
        "test",
        "MIT (MATH)",
        file="ch03/01_main-chapter-code/math500_test.json of github.com/rasbt/reasoning-from-scratch",
        digest="a9eccff7e25e",
    )
    prompt: ClassVar = BOXED
    examples: ClassVar = (
        Shot(
            "What is the larger root of $x^2 - 5x + 6 = 0$?",
            "We factor: $x^2 - 5x + 6 = (x-2)(x-3)$. The roots are 2 and 3, and the larger one is $\\boxed{3}$.",
        ),
        Shot(
            "A square has a diagonal of length 6. What is the length of its side?",
            "With side $s$ the diagonal is $s\\sqrt2 = 6$, so $s = \\frac{6}{\\sqrt2} = \\boxed{3\\sqrt2}$.",
        ),
        Shot(
            "Two fair coins are tossed. What is the probability that both show heads?",
            "Each shows heads with probability $\\frac12$, so both do with probability $\\boxed{\\frac14}$.",
        ),
    )

    def item(self, row: Row) -> GradedQuestion:
        """The answer space wraps the bare LaTeX for Math-Verify, which misreads it otherwise."""
        space = MathSpace()
        name = row.optional("unique_id") or f"math500/{row.index}"
        question = self.template.ask(row.text("problem"), space, id=name)
        gold = checked(row, "answer", space, row.text("answer"))
        return GradedQuestion(question, gold, level=row.optional("level"))
