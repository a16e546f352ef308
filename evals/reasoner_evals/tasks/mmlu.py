"""MMLU (Hendrycks 2020, 2009.03300): questions on 57 subjects; the answer is the index of an option, from 0."""

from dataclasses import dataclass
from string import ascii_uppercase
from typing import ClassVar

from reasoner_evals.grading.graders import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark
from reasoner_evals.tasks.prompts import CHOICE, choice_question
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class Mmlu(Benchmark):
    """MMLU: 14,042 questions of four options on 57 subjects; `subject` keeps one of them. Pinned."""

    revision: str = "c30699e8356da336a370243923dbaf21066bb9fe"
    subject: str = ""

    name: ClassVar = "mmlu"
    reads: ClassVar = ("question", "subject", "choices", "answer")
    published: ClassVar = Published(
        "cais/mmlu", "test", "MIT", config="all", file="a copy of cais/mmlu as parquet or JSONL"
    )
    prompt: ClassVar = CHOICE

    def item(self, row: Row) -> GradedQuestion | None:
        """Files write the answer as an index or as a letter."""
        if self.subject and row.text("subject") != self.subject:
            return None
        options, answer = row.texts("choices"), row.text("answer")
        if not 2 <= len(options) <= 26:
            raise row.error("choices", f"{len(options)} options: give 2 to 26")
        letters = ascii_uppercase[: len(options)]
        indices = {str(index): index for index in range(len(options))} | {c: i for i, c in enumerate(letters)}
        if answer not in indices:
            raise row.error("answer", f"{answer!r:.20} is not an option: write 0 to {len(options) - 1}, or a letter")
        return choice_question(self.template, row.text("question"), options, indices[answer], id=f"mmlu/{row.index}")
