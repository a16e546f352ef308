"""GPQA-diamond (Rein 2023, 2311.12022): questions of experts; gated, and its authors ask not to publish its items."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark
from reasoner_evals.tasks.options import END, choice, shuffled
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class GpqaDiamond(Benchmark):
    """GPQA-diamond: 198 hard questions of four options, never shown in a report. Pinned, gated.

    The options are shuffled by a hash of the question and `repeat`: the same in every process, and another order for
    another `repeat`.
    """

    revision: str = "633f5ee89ab8ad4522a9f850766b73f62147ffdd"
    repeat: int = 0

    name: ClassVar[str] = "gpqa_diamond"
    reads: ClassVar[tuple[str, ...]] = (
        "Question",
        "Correct Answer",
        "Incorrect Answer 1",
        "Incorrect Answer 2",
        "Incorrect Answer 3",
        "Record ID",
    )
    published: ClassVar[Published] = Published(
        "Idavidrein/gpqa",
        "train",
        "CC-BY-4.0; its authors ask that items are not published again",
        config="gpqa_diamond",
        file="dataset.zip of github.com/idavidrein/gpqa, unpack gpqa_diamond.csv",
    )
    shareable: ClassVar[bool] = False

    @property
    def template(self) -> Template:
        """Step by step, then a letter."""
        return Template("choice-steps", 1, END)

    def item(self, row: Row, template: Template) -> GradedQuestion:
        """The right option comes first in the row; where it stands after shuffling is the reference answer."""
        text = row.text("Question")
        written = [row.text(name) for name in self.reads[1:5]]
        name = row.maybe("Record ID") or hashlib.sha256("\0".join([text, *written]).encode()).hexdigest()[:16]
        order = shuffled(4, id=name, repeat=self.repeat)
        options = [written[place] for place in order]
        return choice(template, text, options, order.index(0), id=f"gpqa/{name}")
