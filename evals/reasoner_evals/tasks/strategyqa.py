"""StrategyQA (Geva 2021, 2101.02235): questions whose steps are not said; half of them are answered by guessing."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import YesNoSpace
from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark
from reasoner_evals.tasks.prompts import Shot, Template, first
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published

_SHOTS = (
    Shot(
        "Could a person carry a grand piano up a flight of stairs alone?",
        "A grand piano weighs 250 kg and more. Even strong people cannot carry that alone.\n\nThe answer is no.",
    ),
    Shot(
        "Would ice float in a glass of water on the Moon?",
        "Ice is less dense than water, and that does not depend on gravity.\n\nThe answer is yes.",
    ),
    Shot(
        "Did Mozart own a telephone?",
        "Mozart died in 1791. The telephone was invented in the 1870s.\n\nThe answer is no.",
    ),
)
_SAID = {"true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}


@dataclass(frozen=True, slots=True)
class StrategyQa(Benchmark):
    """StrategyQA: questions of several hidden steps, answered by yes or no. Not pinned; `shots` are self-written.

    The commit that the hub gave is recorded. Chance is a half, so coverage says little.
    """

    shots: int = 0

    name: ClassVar[str] = "strategyqa"
    reads: ClassVar[tuple[str, ...]] = ("qid", "question", "answer")
    published: ClassVar[Published] = Published(
        "ChilleD/StrategyQA",
        "test",
        "MIT",
        file="data/strategyqa/dev.json of github.com/eladsegal/strategyqa",
        digest="0d94842ffb02",
    )

    @property
    def template(self) -> Template:
        """Step by step, then yes or no."""
        instruction = "Reason step by step, and end with `The answer is`, followed by yes or no."
        return Template("yes-no-steps", 1, instruction, first(self.shots, _SHOTS, task=self.name))

    def item(self, row: Row, template: Template) -> GradedQuestion:
        """A truth value, which files write in many ways."""
        said = str(row.value("answer")).strip().lower()
        if said not in _SAID:
            raise row.wrong("answer", f"{said!r:.40} is neither true nor false")
        name = row.maybe("qid") or f"strategyqa/{row.index}"
        return GradedQuestion(template.ask(row.text("question"), YesNoSpace(), id=name), _SAID[said])
