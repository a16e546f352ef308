"""Mathematics contests whose answers are numbers: AIME 2024, AIME 2025 and AMC 2023."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import NumberSpace
from reasoner_evals.grading.graders import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark, checked
from reasoner_evals.tasks.prompts import BOXED
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class Contest(Benchmark):
    """Problems with a number as their answer, compared exactly: `070` is 70 and `27.0` is 27."""

    reads: ClassVar = ("problem", "answer")
    prompt: ClassVar = BOXED

    def item(self, row: Row) -> GradedQuestion:
        """Column names vary between the published editions."""
        space = NumberSpace()
        question = self.template.ask(row.text("problem", "question", "Problem"), space, id=f"{self.name}/{row.index}")
        gold = row.text("answer", "expected_answer", "Answer")
        return GradedQuestion(question, checked(row, "answer", space, gold))


@dataclass(frozen=True, slots=True)
class Aime24(Contest):
    """AIME 2024: 30 problems with an integer from 0 to 999 as their answer. Pinned."""

    revision: str = "2fe88a2f1091d5048c0f36abc874fb997b3dd99a"

    name: ClassVar = "aime24"
    published: ClassVar = Published(
        "HuggingFaceH4/aime_2024",
        "train",
        "problems (c) MAA",
        file="nemo_skills/dataset/aime24/test.txt of github.com/NVIDIA/NeMo-Skills",
        digest="e428f83ec735",
    )


@dataclass(frozen=True, slots=True)
class Aime25(Contest):
    """AIME 2025: 30 problems with an integer from 0 to 999 as their answer. Pinned."""

    revision: str = "563bb8404243c5f09de6ec262f2db674fe5bce9b"

    name: ClassVar = "aime25"
    published: ClassVar = Published(
        "math-ai/aime25",
        "test",
        "problems (c) MAA",
        file="nemo_skills/dataset/aime25/test.txt of github.com/NVIDIA/NeMo-Skills",
        digest="b672f9c6660b",
    )


@dataclass(frozen=True, slots=True)
class Amc23(Contest):
    """AMC 2023: 40 problems with a number as their answer. Pinned."""

    revision: str = "80815d37005feb82cd7f8fbc6901d5d3eff43057"

    name: ClassVar = "amc23"
    published: ClassVar = Published(
        "math-ai/amc23",
        "test",
        "problems (c) MAA",
        file="evaluation/data/amc23/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
        digest="43707e1ca784",
    )
