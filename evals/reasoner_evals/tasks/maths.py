"""Mathematics: GSM8K (Cobbe 2021, 2110.14168), MATH-500 (Lightman 2023, 2305.20050), AIME and AMC."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import MathSpace, NumberSpace
from reasoner_evals.tasks.benchmark import BOXED, Benchmark, FewShotBenchmark, Template, checked
from reasoner_evals.tasks.data import DataRow
from reasoner_evals.tasks.graders import GradedQuestion


@dataclass(frozen=True, slots=True)
class Gsm8k(FewShotBenchmark):
    """GSM8K: 1,319 word problems with a number as their answer. Pinned; `shots` are self-written."""

    name: ClassVar = "gsm8k"
    reads: ClassVar = ("question", "answer")
    prompt: ClassVar = Template(
        "gsm8k-steps", 1, "Reason step by step, and put your final answer within \\boxed{}. {kind}"
    )

    def item(self, row: DataRow) -> GradedQuestion:
        """The reference answer is the number after the last `####`, or the whole answer if there is none."""
        _, hashes, gold = (part.strip() for part in row.text("answer").rpartition("####"))
        if not hashes and " " in gold:
            raise row.error("answer", "it does not end in `#### NUMBER`")
        space = NumberSpace()
        question = self.template.ask(row.text("question"), space, id=f"gsm8k/{row.index}")
        return GradedQuestion(question, checked(row, "answer", space, gold.replace(",", "")))


@dataclass(frozen=True, slots=True)
class Math500(FewShotBenchmark):
    """MATH-500: competition problems of levels 1 to 5, answered by a formula. Pinned; `shots` are self-written."""

    name: ClassVar = "math500"
    reads: ClassVar = ("problem", "answer", "level", "unique_id")
    prompt: ClassVar = BOXED

    def item(self, row: DataRow) -> GradedQuestion:
        """The answer space wraps the bare LaTeX for Math-Verify, which misreads it otherwise."""
        space = MathSpace()
        name = row.optional("unique_id") or f"math500/{row.index}"
        question = self.template.ask(row.text("problem"), space, id=name)
        gold = checked(row, "answer", space, row.text("answer"))
        return GradedQuestion(question, gold, level=row.optional("level"))


@dataclass(frozen=True, slots=True)
class Contest(Benchmark):
    """Problems with a number as their answer, compared exactly: `070` is 70 and `27.0` is 27."""

    reads: ClassVar = ("problem", "answer")
    prompt: ClassVar = BOXED

    def item(self, row: DataRow) -> GradedQuestion:
        """Column names vary between the published editions."""
        space = NumberSpace()
        question = self.template.ask(row.text("problem", "question", "Problem"), space, id=f"{self.name}/{row.index}")
        gold = row.text("answer", "expected_answer", "Answer")
        return GradedQuestion(question, checked(row, "answer", space, gold))


@dataclass(frozen=True, slots=True)
class Aime24(Contest):
    """AIME 2024: 30 problems with an integer from 0 to 999 as their answer. Pinned."""

    name: ClassVar = "aime24"


@dataclass(frozen=True, slots=True)
class Aime25(Contest):
    """AIME 2025: 30 problems with an integer from 0 to 999 as their answer. Pinned."""

    name: ClassVar = "aime25"


@dataclass(frozen=True, slots=True)
class Amc23(Contest):
    """AMC 2023: 40 problems with a number as their answer. Pinned."""

    name: ClassVar = "amc23"
