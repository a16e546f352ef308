"""GPQA-diamond (Rein 2023, 2311.12022): expert questions; gated, and its authors ask not to publish its items."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.grading.graders import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark
from reasoner_evals.tasks.prompts import CHOICE, choice_question
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

    name: ClassVar = "gpqa_diamond"
    reads: ClassVar = (
        "Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3", "Record ID",
    )  # fmt: skip
    published: ClassVar = Published(
        "Idavidrein/gpqa",
        "train",
        "CC-BY-4.0; its authors ask that items are not published again",
        config="gpqa_diamond",
        file="dataset.zip of github.com/idavidrein/gpqa, unpack gpqa_diamond.csv",
    )
    prompt: ClassVar = CHOICE
    shareable: ClassVar = False

    def item(self, row: Row) -> GradedQuestion:
        """The right option is the first of the row."""
        text = row.text("Question")
        options = [row.text(column) for column in self.reads[1:5]]
        name = row.optional("Record ID") or hashlib.sha256("\0".join([text, *options]).encode()).hexdigest()[:16]
        order = _shuffled(len(options), id=name, repeat=self.repeat)
        shuffled = [options[index] for index in order]
        return choice_question(self.template, text, shuffled, order.index(0), id=f"gpqa/{name}")


def _shuffled(count: int, *, id: str, repeat: int) -> list[int]:
    """An order of the options that depends only on the question's id and `repeat`."""

    def key(index: int) -> bytes:
        return hashlib.blake2b(f"{id}\0{repeat}\0{index}".encode("utf-8", "surrogatepass"), digest_size=16).digest()

    return sorted(range(count), key=key)
