"""Multiple choice: ARC (Clark 2018, 1803.05457), MMLU (Hendrycks 2020, 2009.03300), GPQA (Rein 2023, 2311.12022)."""

import hashlib
from dataclasses import dataclass
from string import ascii_uppercase
from typing import ClassVar

from reasoner_evals.tasks.benchmark import CHOICE, Benchmark, FewShotBenchmark, choice_question
from reasoner_evals.tasks.data import DataRow
from reasoner_evals.tasks.graders import GradedQuestion


@dataclass(frozen=True, slots=True)
class Arc(FewShotBenchmark):
    """Science questions with 3 to 5 options; the reference answer is the letter of the right one."""

    reads: ClassVar = ("id", "question", "choices", "answerKey")
    prompt: ClassVar = CHOICE
    examples: ClassVar = "arc"

    def item(self, row: DataRow) -> GradedQuestion:
        """The labels become letters."""
        match row.value("choices"):
            case {"text": [*texts], "label": [*labels]}:
                options, labels = [str(text).strip() for text in texts], [str(label) for label in labels]
            case _:
                raise row.error("choices", "it has no lists `text` and `label`")
        key = row.text("answerKey")
        if not 2 <= len(options) <= 26 or len(labels) != len(options) or not all(options):
            counts = f"{len(options)} options and {len(labels)} labels"
            raise row.error("choices", f"{counts}: give 2 to 26, with one label each")
        if labels.count(key) != 1:
            raise row.error("answerKey", f"{key!r:.20} is not one of the labels {', '.join(labels)}")
        name = f"{self.name}/{row.optional('id') or row.index}"
        return choice_question(self.template, row.text("question"), options, labels.index(key), id=name)


@dataclass(frozen=True, slots=True)
class ArcChallenge(Arc):
    """ARC-Challenge: 1,172 science questions of 3 to 5 options. Pinned; `shots` are self-written."""

    name: ClassVar = "arc_challenge"


@dataclass(frozen=True, slots=True)
class ArcEasy(Arc):
    """ARC-Easy: 2,376 science questions of 3 to 5 options. Pinned; `shots` are self-written."""

    name: ClassVar = "arc_easy"


@dataclass(frozen=True, slots=True)
class Mmlu(Benchmark):
    """MMLU: 14,042 questions of four options on 57 subjects; `subject` keeps one of them. Pinned."""

    subject: str = ""

    name: ClassVar = "mmlu"
    reads: ClassVar = ("question", "subject", "choices", "answer")
    prompt: ClassVar = CHOICE

    def item(self, row: DataRow) -> GradedQuestion | None:
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


@dataclass(frozen=True, slots=True)
class GpqaDiamond(Benchmark):
    """GPQA-diamond: 198 hard questions of four options, never shown in a report. Pinned, gated.

    The options are shuffled by a hash of the question and `repeat`: the same in every process, and another order for
    another `repeat`.
    """

    repeat: int = 0

    name: ClassVar = "gpqa_diamond"
    reads: ClassVar = (
        "Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3", "Record ID",
    )  # fmt: skip
    prompt: ClassVar = CHOICE
    shareable: ClassVar = False

    def item(self, row: DataRow) -> GradedQuestion:
        """The right option is the first of the row."""
        text = row.text("Question")
        options = [row.text(column) for column in self.reads[1:5]]
        name = row.optional("Record ID") or hashlib.sha256("\0".join([text, *options]).encode()).hexdigest()[:16]

        def key(index: int) -> bytes:
            identity = f"{name}\0{self.repeat}\0{index}".encode("utf-8", "surrogatepass")
            return hashlib.blake2b(identity, digest_size=16).digest()

        order = sorted(range(len(options)), key=key)
        shuffled = [options[index] for index in order]
        return choice_question(self.template, text, shuffled, order.index(0), id=f"gpqa/{name}")
