"""Mathematics: GSM8K (Cobbe 2021, 2110.14168), MATH-500 (Lightman 2023, 2305.20050), AIME and AMC."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import MathSpace, NumberSpace
from reasoner_evals.tasks.benchmark import BOXED, Benchmark, FewShotBenchmark, Template, checked
from reasoner_evals.tasks.data import Published, Row
from reasoner_evals.tasks.graders import GradedQuestion


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

    def item(self, row: Row) -> GradedQuestion:
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

    def item(self, row: Row) -> GradedQuestion:
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
