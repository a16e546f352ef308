"""The tour of `reasoner demo`: questions that an engine answers now, and recorded answers to real benchmarks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text

from reasoner import Cost, build, solve_many
from reasoner.cli.session import EngineRun, started
from reasoner.cli.terminal import ANSWERED, columns
from reasoner.engine import Engine
from reasoner_evals.stats.intervals import wilson
from reasoner_evals.tasks import GradedQuestion

RECORDINGS = Path(__file__).with_name("recorded")
"""The first blocks of two files of bench/recordings, without texts: a greedy reply and 16 samples of each question.

No question is chosen for its answers. An answer to HumanEval is whether its hidden tests pass. Its score is the share
of the tests in the question that it passes, where they can be read.
"""
ASKED = {
    "greedy": "single:max_tokens=96",
    "vote of 8": "self_consistency:n=8,max_tokens=96",
}
RECORDED = {
    "HumanEval": {
        "greedy": "single:temperature=0",
        "one sample": "single:temperature=0.7",
        "best of 4": "best_of_n:n=4",
        "best of 16": "best_of_n:n=16",
    },
    "GSM8K": {
        "greedy": "single:temperature=0",
        "one sample": "single:temperature=0.7",
        "vote of 4": "self_consistency:n=4",
        "until settled": "self_consistency(n=16,stop=first_of(rules=[beta(theta=0.9),no_majority]))",
        "vote of 16": "self_consistency:n=16",
    },
}
"""By benchmark what reads it, by names for readers; the last one is compared with the first."""
MEANING = """
A dot is a question, full where the answer is right. In brackets is the 95 % interval; tokens are those of a question. \
Qwen2.5-Coder-0.5B-Instruct was recorded once. The best program passes most of the tests that its question shows.

When do more samples help? Where something tells right from wrong, as those tests do, or where the right answer is the \
most frequent one: gpt-4o-mini answers 88.8 % of GSM8K with one sample and 94.2 % with a vote of 40, o3-mini 61.3 % \
and 71.6 % of AIME 2024. Where a model rarely finds the answer, as on the questions of GSM8K above, or only guesses, a \
vote costs more and gains little: measure before you pay."""
NEXT = """
What to type next
reasoner solve "What is 7 x 8?"{flags}
reasoner list strategies
reasoner eval arithmetic --limit 12 -s single -s self_consistency --out first{flags}
reasoner report first
reasoner serve{flags}"""


@dataclass(slots=True, kw_only=True)
class Tour(EngineRun):
    """The tour on one engine."""

    flags: str
    """Those of the engine, for the commands to type next."""
    story: list[Text] = field(default_factory=list)

    async def work(self) -> None:
        """Ask the first questions of the task `arithmetic`, then replay the recordings."""
        async with started(self.engine, None, [], self.display):
            await self._compare(
                f"{self.engine.model.name} on {self.engine.name}, asked now: 12 questions of the task arithmetic",
                build("task", "arithmetic").load().items[:12],
                ASKED,
                self.engine,
            )
        for benchmark, strategies in RECORDED.items():
            path = str(RECORDINGS / f"{benchmark.lower()}.jsonl")
            items = build("task", "pool", path=path).load().items
            await self._compare(
                f"\nA real benchmark, replayed: {len(items)} questions of {benchmark}",
                items,
                strategies,
                build("engine", "pool", path=path),
            )

    async def _compare(
        self,
        title: str,
        items: Sequence[GradedQuestion],
        strategies: Mapping[str, str],
        engine: Engine,
    ) -> None:
        """Tell how often each strategy is right, for which tokens, and where the last one differs from the first."""
        questions, marks = [item.question for item in items], list[str]()
        self.story.append(Text(title, style="bold"))
        for name, strategy in strategies.items():
            self.display.begin(f"asking {len(items)} questions: {name}")
            solutions = await solve_many(questions, strategy, engine)
            for error in filter(None, (each.error for each in solutions)):
                raise error
            marks.append(
                "".join(
                    "●" if own.answer and own.answer.key == item.gold else "○"
                    for own, item in zip(solutions, items, strict=True)
                )
            )
            right, cost = (
                marks[-1].count("●"),
                sum((each.cost for each in solutions), Cost()),
            )
            low, high = (100 * bound for bound in wilson(right, len(items)))
            self.story.append(
                Text(
                    f"{name:13} {marks[-1]} {right} of {len(items)} right ({low:.0f} to {high:.0f} %), "
                    f"{cost.tokens / len(items):,.0f} tokens"
                )
            )
        pairs, (first, *_, last) = (
            list(zip(marks[0], marks[-1], strict=True)),
            strategies,
        )
        self.story.append(
            Text(
                f"{last} right and {first} wrong: {pairs.count(('○', '●'))}. The reverse: {pairs.count(('●', '○'))}."
            )
        )
        if ("○", "●") in pairs and engine is self.engine:
            at = pairs.index(("○", "●"))
            self.story.append(Text(f"\n{questions[at].text}\n{solutions[at]}"))

    def finish(self) -> int:
        """Show the tour; the exit code."""
        self.display.terminal.show(
            *self.story,
            Text(MEANING),
            NEXT.format(flags=self.flags),
            width=min(columns(), 80),
        )
        return ANSWERED
