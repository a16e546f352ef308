"""GSM8K (Cobbe 2021, 2110.14168): word problems of grade school; the answer is a rationale that ends in `#### 18`."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import NumberSpace
from reasoner_evals.grading.graders import GradedQuestion
from reasoner_evals.tasks.benchmark import FewShotBenchmark, checked
from reasoner_evals.tasks.prompts import Shot, Template
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class Gsm8k(FewShotBenchmark):
    """GSM8K: 1,319 word problems with a number as their answer. Pinned; `shots` are self-written."""

    revision: str = "740312add88f781978c0658806c59bc2815b9866"

    name: ClassVar = "gsm8k"
    reads: ClassVar = ("question", "answer")
    published: ClassVar = Published(
        "openai/gsm8k",
        "test",
        "MIT",
        config="main",
        file="grade_school_math/data/test.jsonl of github.com/openai/grade-school-math",
        digest="3730d312f6e3",
    )
    prompt: ClassVar = Template(
        "gsm8k-steps", 1, "Reason step by step, and put your final answer within \\boxed{}. {kind}"
    )
    examples: ClassVar = (
        Shot(
            "Mia fills 4 boxes with 6 candles each and keeps 3 candles for herself. How many candles did she have?",
            "The boxes hold 4 * 6 = 24 candles. With the 3 she keeps, that is 24 + 3 = 27.\n\n"
            "The answer is \\boxed{27}.",
        ),
        Shot(
            "A bus ticket costs $3. Tom buys a ticket on each of 5 days and pays with a $20 note. How much is left of "
            "it?",
            "Five tickets cost 5 * 3 = 15 dollars. Of 20 dollars, 20 - 15 = 5 are left.\n\nThe answer is \\boxed{5}.",
        ),
        Shot(
            "A baker has 60 rolls. She sells half of them before noon and a third of the rest after. How many are "
            "left?",
            "Before noon she sells 60 / 2 = 30, so 30 are left. After noon she sells 30 / 3 = 10. Then 30 - 10 = 20 "
            "are left.\n\nThe answer is \\boxed{20}.",
        ),
        Shot(
            "Ann runs 3 km in 18 minutes. At that pace, how many minutes does she need for 5 km?",
            "One km takes 18 / 3 = 6 minutes. Five km take 5 * 6 = 30 minutes.\n\nThe answer is \\boxed{30}.",
        ),
    )

    def item(self, row: Row) -> GradedQuestion:
        """The reference answer is the number after the last `####`, or the whole answer if there is none."""
        _, hashes, gold = (part.strip() for part in row.text("answer").rpartition("####"))
        if not hashes and " " in gold:
            raise row.error("answer", "it does not end in `#### NUMBER`")
        space = NumberSpace()
        question = self.template.ask(row.text("question"), space, id=f"gsm8k/{row.index}")
        return GradedQuestion(question, checked(row, "answer", space, gold.replace(",", "")))
