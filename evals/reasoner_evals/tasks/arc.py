"""ARC (Clark 2018, 1803.05457): science questions; options are labelled A to E or 1 to 5, and there are 3 to 5."""

import re
from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark
from reasoner_evals.tasks.options import END, choice, listed
from reasoner_evals.tasks.prompts import Shot, Template, first
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published

_SHOTS = (
    Shot(
        listed("Which of these melts at room temperature?", ["iron", "ice", "granite", "glass"]),
        "Iron, granite and glass melt only when it is very hot. Ice melts above 0 degrees Celsius.\n\nThe answer is B.",
    ),
    Shot(
        listed("What do green plants take from the air to make sugar?", ["carbon dioxide", "helium", "nitrogen"]),
        "In photosynthesis plants make sugar from water and carbon dioxide.\n\nThe answer is A.",
    ),
    Shot(
        listed("Which animal lays eggs?", ["dog", "horse", "cow", "duck"]),
        "Dogs, horses and cows are mammals that bear live young. A duck is a bird.\n\nThe answer is D.",
    ),
)
# As LLM-Adapters wrote it: the options stand in the text, and the answer is the name of one.
_WRITTEN_OUT = re.compile(r"Answer(\d):\s*(.*?)\s*(?=Answer\d:|Answer format:|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Arc(Benchmark):
    """Science questions of 3 to 5 options, whose reference answer is the right option, however it is labelled."""

    revision: str = "210d026faf9955653af8916fad021475a3f00453"
    shots: int = 0

    reads: ClassVar[tuple[str, ...]] = ("id", "question", "choices", "answerKey", "instruction", "answer")

    @property
    def template(self) -> Template:
        """Step by step, then a letter."""
        shots = first(self.shots, _SHOTS, task=self.name)
        return Template("choice-steps", 1, END, shots)

    def item(self, row: Row, template: Template) -> GradedQuestion:
        """Options and their labels, which become letters."""
        if not row.has("choices") and row.has("instruction"):
            return self._written_out(row, template)
        choices = row.value("choices")
        match choices:
            case {"text": [*texts], "label": [*labels]}:
                pass
            case _:
                raise row.wrong("choices", "it has no lists `text` and `label`")
        options, known = [str(text).strip() for text in texts], [str(label) for label in labels]
        key = row.text("answerKey")
        if not 2 <= len(options) <= 26 or len(known) != len(options) or not all(options):
            raise row.wrong(
                "choices", f"{len(options)} options and {len(known)} labels: give 2 to 26, a label for each"
            )
        if known.count(key) != 1:
            raise row.wrong("answerKey", f"{key!r:.20} is no label: there are {', '.join(known)}")
        name = row.maybe("id") or str(row.index)
        return choice(template, row.text("question"), options, known.index(key), id=f"{self.name}/{name}")

    def _written_out(self, row: Row, template: Template) -> GradedQuestion:
        text = row.text("instruction")
        question = _WRITTEN_OUT.split(text)[0].partition(":")[2].strip()
        options = [match[2].strip() for match in _WRITTEN_OUT.finditer(text)]
        answer = row.text("answer")
        place = int(answer.removeprefix("answer")) - 1 if re.fullmatch(r"answer\d", answer) else -1
        if not question or len(options) < 2:
            raise row.wrong("instruction", "it has no question with options written `Answer1: ... Answer2: ...`")
        if not 0 <= place < len(options):
            raise row.wrong("answer", f"{answer!r:.20} is none of answer1 to answer{len(options)}")
        return choice(template, question, options, place, id=f"{self.name}/{row.index}")


def published(config: str, digest: str) -> Published:
    """Where one of the two sets is to be had."""
    return Published(
        "allenai/ai2_arc",
        "test",
        "CC-BY-SA-4.0",
        config=config,
        file=f"dataset/{config}/test.json of github.com/AGI-Edgerunners/LLM-Adapters",
        digest=digest,
    )
