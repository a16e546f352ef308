"""MMLU (Hendrycks 2020, 2009.03300): questions of 57 subjects; the answer is the number of an option, from 0 on."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark
from reasoner_evals.tasks.options import END, choice
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class Mmlu(Benchmark):
    """MMLU: 14,042 questions of four options on 57 subjects; `subject` keeps one of them. Pinned."""

    revision: str = "c30699e8356da336a370243923dbaf21066bb9fe"
    subject: str = ""

    name: ClassVar[str] = "mmlu"
    reads: ClassVar[tuple[str, ...]] = ("question", "subject", "choices", "answer")
    published: ClassVar[Published] = Published(
        "cais/mmlu", "test", "MIT", config="all", file="a copy of cais/mmlu as parquet or JSONL"
    )

    @property
    def template(self) -> Template:
        """Step by step, then a letter."""
        return Template("choice-steps", 1, END)

    def item(self, row: Row, template: Template) -> GradedQuestion | None:
        """Options in a list; the answer is a place in it, or a letter."""
        if self.subject and row.text("subject") != self.subject:
            return None
        options, said = row.texts("choices"), row.text("answer")
        known = {str(place): place for place in range(len(options))} | {
            chr(ord("A") + place): place for place in range(len(options))
        }
        if not 2 <= len(options) <= 26:
            raise row.wrong("choices", f"{len(options)} options: give 2 to 26")
        if said not in known:
            raise row.wrong("answer", f"{said!r:.20} is no option: write 0 to {len(options) - 1}, or a letter")
        return choice(template, row.text("question"), options, known[said], id=f"mmlu/{row.index}")
