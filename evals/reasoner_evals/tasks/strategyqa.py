"""StrategyQA (Geva 2021, 2101.02235): yes-or-no questions with implicit steps; guessing answers half of them."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers import YesNoSpace
from reasoner_evals.grading.graders import GradedQuestion
from reasoner_evals.tasks.benchmark import FewShotBenchmark
from reasoner_evals.tasks.prompts import Shot, Template
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published

_TRUTH_VALUES = {"true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}


@dataclass(frozen=True, slots=True)
class StrategyQa(FewShotBenchmark):
    """StrategyQA: questions of several hidden steps, answered by yes or no. Not pinned; `shots` are self-written.

    The hub's commit is recorded. A blind guess is right half of the time, so coverage says little.
    """

    name: ClassVar = "strategyqa"
    reads: ClassVar = ("qid", "question", "answer")
    published: ClassVar = Published(
        "ChilleD/StrategyQA",
        "test",
        "MIT",
        file="data/strategyqa/dev.json of github.com/eladsegal/strategyqa",
        digest="0d94842ffb02",
    )
    prompt: ClassVar = Template(
        "yes-no-steps", 1, "Reason step by step, and end with `The answer is`, followed by yes or no."
    )
    examples: ClassVar = (
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

    def item(self, row: Row) -> GradedQuestion:
        """Files write the truth value in many ways."""
        answer = str(row.value("answer")).strip().lower()
        if answer not in _TRUTH_VALUES:
            raise row.error("answer", f"{answer!r:.40} is neither true nor false")
        name = row.optional("qid") or f"strategyqa/{row.index}"
        return GradedQuestion(self.template.ask(row.text("question"), YesNoSpace(), id=name), _TRUTH_VALUES[answer])
