"""ARC (Clark 2018, 1803.05457): science questions; options are labelled A to E or 1 to 5, and there are 3 to 5."""

import re
from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.grading.graders import GradedQuestion
from reasoner_evals.tasks.benchmark import FewShotBenchmark
from reasoner_evals.tasks.prompts import CHOICE, Shot, choice_question, with_options
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published

# The format of LLM-Adapters: the options are part of the text, and the answer is the name of an option.
_INLINE_OPTION = re.compile(r"Answer(\d):\s*(.*?)\s*(?=Answer\d:|Answer format:|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Arc(FewShotBenchmark):
    """Science questions with 3 to 5 options; the reference answer is the letter of the right one."""

    revision: str = "210d026faf9955653af8916fad021475a3f00453"

    reads: ClassVar = ("id", "question", "choices", "answerKey", "instruction", "answer")
    prompt: ClassVar = CHOICE
    examples: ClassVar = (
        Shot(
            with_options("Which of these melts at room temperature?", ["iron", "ice", "granite", "glass"]),
            "Iron, granite and glass melt only when it is very hot. Ice melts above 0 degrees Celsius.\n\n"
            "The answer is B.",
        ),
        Shot(
            with_options(
                "What do green plants take from the air to make sugar?", ["carbon dioxide", "helium", "nitrogen"]
            ),
            "In photosynthesis plants make sugar from water and carbon dioxide.\n\nThe answer is A.",
        ),
        Shot(
            with_options("Which animal lays eggs?", ["dog", "horse", "cow", "duck"]),
            "Dogs, horses and cows are mammals that bear live young. A duck is a bird.\n\nThe answer is D.",
        ),
    )

    def item(self, row: Row) -> GradedQuestion:
        """The labels become letters."""
        if not row.has("choices") and row.has("instruction"):
            return self._inline_item(row)
        match row.value("choices"):
            case {"text": [*texts], "label": [*labels]}:
                options, labels = [str(text).strip() for text in texts], [str(label) for label in labels]
            case _:
                raise row.error("choices", "it has no lists `text` and `label`")
        key = row.text("answerKey")
        if not 2 <= len(options) <= 26 or len(labels) != len(options) or not all(options):
            raise row.error(
                "choices", f"{len(options)} options and {len(labels)} labels: give 2 to 26, with one label each"
            )
        if labels.count(key) != 1:
            raise row.error("answerKey", f"{key!r:.20} is not one of the labels {', '.join(labels)}")
        name = row.optional("id") or str(row.index)
        return choice_question(
            self.template, row.text("question"), options, labels.index(key), id=f"{self.name}/{name}"
        )

    def _inline_item(self, row: Row) -> GradedQuestion:
        text, answer = row.text("instruction"), row.text("answer")
        question = _INLINE_OPTION.split(text)[0].partition(":")[2].strip()
        options = [match[2].strip() for match in _INLINE_OPTION.finditer(text)]
        if not question or len(options) < 2:
            raise row.error("instruction", "it has no question with options written as `Answer1: ... Answer2: ...`")
        names = [f"answer{number}" for number in range(1, len(options) + 1)]
        if answer not in names:
            raise row.error("answer", f"{answer!r:.20} is not one of answer1 to {names[-1]}")
        return choice_question(self.template, question, options, names.index(answer), id=f"{self.name}/{row.index}")


def _published(config: str, digest: str) -> Published:
    return Published(
        "allenai/ai2_arc",
        "test",
        "CC-BY-SA-4.0",
        config=config,
        file=f"dataset/{config}/test.json of github.com/AGI-Edgerunners/LLM-Adapters",
        digest=digest,
    )


@dataclass(frozen=True, slots=True)
class ArcChallenge(Arc):
    """ARC-Challenge: 1,172 science questions of 3 to 5 options. Pinned; `shots` are self-written.

    These are the questions that retrieval and word statistics get wrong.
    """

    name: ClassVar = "arc_challenge"
    published: ClassVar = _published("ARC-Challenge", "4a89ce368ae0")


@dataclass(frozen=True, slots=True)
class ArcEasy(Arc):
    """ARC-Easy: 2,376 science questions of 3 to 5 options. Pinned; `shots` are self-written."""

    name: ClassVar = "arc_easy"
    published: ClassVar = _published("ARC-Easy", "3f32a84716ca")
