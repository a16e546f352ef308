"""The tour of `reasoner demo`: what it asks, and what it says of the answers."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import RenderableType
from rich.text import Text

from reasoner import Cost, Prices, Solution, build, solve_many
from reasoner.cli.session import EngineRun, started
from reasoner.cli.terminal import ANSWERED, columns, labelled
from reasoner.engine import Engine
from reasoner.system.printing import printable
from reasoner.voting import VoteSummary
from reasoner_evals.stats.intervals import wilson
from reasoner_evals.tasks.arithmetic import reported
from reasoner_evals.tasks.graders import GradedQuestion

AT_ONCE: Final = 6
"""Questions that are asked at the same time."""
SECONDS: Final = 15.0
"""After this time no more questions are asked, so that the tour is short on a slow machine too."""
N: Final = 8
"""Samples of a vote."""
VOTE: Final = f"self_consistency:n={N},max_tokens=96"
RECORDINGS: Final = Path(__file__).with_name("recorded")
"""The first blocks of two files of bench/recordings, without texts: a greedy reply and 16 samples of each question.

No question is chosen for its answers. An answer to HumanEval is whether its hidden tests pass. Its score is the share
of the tests in the question that it passes, where they can be read.
"""


class Recorded(NamedTuple):
    """A recorded benchmark: what reads it, by names for readers, and the one that is compared with the others."""

    benchmark: str
    strategies: Mapping[str, str]
    compared: str
    meaning: str


RECORDED: Final = (
    Recorded(
        "GSM8K",
        {
            "greedy": "single:temperature=0",
            "one sample": "single:temperature=0.7",
            "vote of 4": "self_consistency:n=4",
            "vote of 16": "self_consistency:n=16",
            "until settled": "self_consistency(n=16,stop=first_of(rules=[beta(theta=0.9),no_majority]))",
        },
        "vote of 16",
        "A dot is a question, full where the answer is right. Qwen2.5-Coder-0.5B-Instruct was recorded once; no model "
        "runs now.",
    ),
    Recorded(
        "HumanEval",
        {
            "greedy": "single:temperature=0",
            "one sample": "single:temperature=0.7",
            "best of 4": "best_of_n:n=4",
            "best of 16": "best_of_n:n=16",
        },
        "best of 16",
        "The best program passes most of the tests that the question shows.",
    ),
)
NEXT: Final = (
    'reasoner solve "{question}"{flags}',
    "reasoner list strategies",
    "reasoner eval arithmetic --limit 12 -s single -s self_consistency --out first{flags}",
    "reasoner report first",
    "reasoner serve{flags}",
)


@dataclass(slots=True, kw_only=True)
class Tour(EngineRun):
    """The tour on one engine: the solutions of both strategies for the first questions."""

    prices: Prices | None
    flags: str
    """Those of the engine, for the commands to type next."""
    items: Sequence[GradedQuestion] = field(
        # At most the first questions of the task `arithmetic`, in its own order: none is chosen for its
        # answer
        default_factory=lambda: reported()[:24]
    )
    greedy: list[Solution] = field(default_factory=list)
    vote: list[Solution] = field(default_factory=list)
    replayed: list[dict[str, tuple[list[bool], float]]] = field(default_factory=list)
    """Of each recording, by strategy: which answers are right, and the tokens of a question."""

    async def work(self) -> None:
        """Ask as many questions as there is time for, once greedily and once for a vote; then replay the recording."""
        async with started(self.engine, None, [], self.display):
            began = time.monotonic()
            for start in range(0, len(self.items), AT_ONCE):
                chosen = self.items[start : start + AT_ONCE]
                self.display.begin(
                    f"asking {start + len(chosen)} of {len(self.items)} questions, once and {N} times"
                )
                greedy, vote = await asyncio.gather(
                    *(
                        _ask(name, chosen, self.engine)
                        for name in ("single:max_tokens=96", VOTE)
                    )
                )
                self.greedy += greedy
                self.vote += vote
                if time.monotonic() - began > SECONDS:
                    break
        for recorded in RECORDED:
            path = str(RECORDINGS / f"{recorded.benchmark.lower()}.jsonl")
            items, engine = (
                build(kind, "pool", path=path) for kind in ("task", "engine")
            )
            items = items.load().items
            rows: dict[str, tuple[list[bool], float]] = {}
            for name, strategy in recorded.strategies.items():
                solutions = await _ask(strategy, items, engine)
                tokens = sum(solution.cost.tokens for solution in solutions)
                rows[name] = _right(items, solutions), tokens / len(items)
            self.replayed.append(rows)

    def finish(self) -> int:
        """Show the tour; the exit code."""
        self.display.terminal.show(*self._story(), width=min(columns(), 80))
        return ANSWERED

    def _story(self) -> Iterator[RenderableType]:
        asked = len(self.vote)
        yield Text(
            f"{self.engine.model.name} on {self.engine.name} was asked the first {asked} questions of the task "
            f"arithmetic, one-digit sums and products: once for its most likely answer (greedy), and {N} times for a "
            "vote."
        )
        if left := len(self.items) - asked:
            yield Text(
                f"{left} more questions were left out, as this machine is slow or busy."
            )
        pairs = list(
            zip(
                _right(self.items, self.greedy),
                _right(self.items, self.vote),
                strict=True,
            )
        )
        gained = [
            index for index, (before, after) in enumerate(pairs) if after and not before
        ]
        if gained:
            # A wrong answer shows more than a missing one.
            shown = next(
                (index for index in gained if self.greedy[index].answer), gained[0]
            )
            yield _heading(
                f"A question that the vote puts right: {self.items[shown].question.text}"
            )
            yield labelled(
                [
                    ("greedy", _answer(self.greedy[shown])),
                    ("vote", _answer(self.vote[shown])),
                ]
            )
        yield _heading(f"All {asked} questions, and what they cost")
        yield labelled(
            [("greedy", self._totals(self.greedy)), ("vote", self._totals(self.vote))]
        )
        lost = sum(before and not after for before, after in pairs)
        yield Text(
            f"Greedy wrong and vote right: {len(gained)}. The reverse: {lost}. In brackets is the 95 % interval. "
            "A vote helps where the most likely answer is wrong and the right one is frequent. Elsewhere it only costs "
            "more: measure before you pay."
        )
        for recorded, rows in zip(RECORDED, self.replayed, strict=True):
            right = {name: sum(each) for name, (each, _) in rows.items()}
            count, most = len(rows["greedy"][0]), right[recorded.compared]
            yield _heading(
                f"A real benchmark, replayed: {count} questions of {recorded.benchmark}"
            )
            yield from (_dots(name, *row) for name, row in rows.items())
            yield Text(
                f"{recorded.meaning} Here the {recorded.compared} puts {most - right['one sample']} more questions "
                f"right than one sample, and {most - right['greedy']} more than greedy."
            )
        yield _heading("What to type next")
        yield from (
            line.format(question=self.items[0].question.text, flags=self.flags)
            for line in NEXT
        )

    def _totals(self, solutions: Sequence[Solution]) -> str:
        right, cost = (
            sum(_right(self.items, solutions)),
            sum((solution.cost for solution in solutions), Cost()),
        )
        low, high = wilson(right, len(solutions))
        price = f", ${self.prices.usd(cost):.6f}" if self.prices else ""
        share = (
            f"{right} of {len(solutions)} right [{100 * low:.0f} to {100 * high:.0f} %]"
        )
        return f"{share}, {cost.tokens:,} tokens{price}"


def _right(
    items: Sequence[GradedQuestion], solutions: Sequence[Solution]
) -> list[bool]:
    """Whether each answer equals the reference answer, for the first questions; a missing answer does not."""
    return [
        solution.answer is not None and solution.answer.key == item.gold
        for item, solution in zip(items, solutions, strict=False)
    ]


def _dots(name: str, right: Sequence[bool], tokens: float) -> Text:
    line = Text(f"{name:14}")
    for each in right:
        line.append("●" if each else "○", style="green" if each else "red")
    return line.append(
        f" {sum(right)} of {len(right)} right, {tokens:,.0f} tokens each"
    )


def _answer(solution: Solution) -> str:
    answer = (
        printable(solution.answer.text, limit=20) if solution.answer else "no answer"
    )
    votes = (
        f"; {VoteSummary(solution.vote_state).line}"
        if solution.vote_state.samples > 1
        else ""
    )
    return f"{answer}; {solution.cost.tokens:,} tokens{votes}"


def _heading(text: str) -> RenderableType:
    return Text(f"\n{text}", style="bold")


async def _ask(
    strategy: str, items: Sequence[GradedQuestion], engine: Engine
) -> list[Solution]:
    """The solutions of all questions. Raises the first error of a question."""
    solutions = await solve_many([item.question for item in items], strategy, engine)
    for solution in solutions:
        if solution.error:
            raise solution.error
    return solutions
