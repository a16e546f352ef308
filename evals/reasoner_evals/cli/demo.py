"""`reasoner demo`: a tour of the product on questions with known answers, with the public API alone."""

import asyncio
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from reasoner.cli.exits import ANSWERED, ENGINE, code_of, error_line, guarded
from reasoner.cli.options import NO_SERVER, engine_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reasoner import Prices, Solution
    from reasoner.cli.progress import Display
    from reasoner.engine import Engine
    from reasoner_evals.tasks.graders import GradedQuestion

QUESTIONS: Final = 24
"""At most the first questions of the task `arithmetic`, in its own order: none is chosen for its answer."""
AT_ONCE: Final = 6
"""Questions that are asked at the same time."""
SECONDS: Final = 15.0
"""After this time no more questions are asked, so that the tour is short on a slow machine too."""
N: Final = 8
"""Samples of a vote."""
GREEDY: Final = "single:max_tokens=96"
VOTE: Final = f"self_consistency:n={N},max_tokens=96"
THINKER: Final = "simulated:thinking=10000,accuracy=0.75"
"""A law of chains, fitted to recordings of Qwen3-8B on AIME 2024: docs/thinking.md."""
ARMS: Final = (
    ("1 chain", "single"),
    ("vote of 16", "self_consistency:n=16"),
    ("until settled", "self_consistency(n=16,stop=first_of(rules=[beta(theta=0.9),no_majority]))"),
)
BAR: Final = 16
"""Columns of a bar that stands for all questions."""
NEXT: Final = (
    'reasoner solve "{question}"{engine}',
    "reasoner list strategies",
    "reasoner eval arithmetic --limit 12 -s single -s self_consistency --out first{engine}",
    "reasoner report first",
    "reasoner serve{engine}",
)


@click.command("demo")
@engine_options
@NO_SERVER
@guarded
def command(model: str | None, engine: str | None, base_url: str | None, prices: str | None, no_server: bool) -> int:
    """Take a tour of a minute: an answer, a vote, and their price.

    The same for a model that thinks. All of it is run now, on up to 24 questions with known answers; the model that
    thinks is simulated. Standard output gets the tour, standard error the progress. --engine simulated takes the tour
    without a model.

    Exit codes: 0 the tour ended, 2 usage, 4 engine or model failure, 130 interrupted.
    """
    from reasoner.cli import interrupts
    from reasoner.cli.options import choose_engine, read_prices
    from reasoner.cli.progress import Display
    from reasoner.cli.terminal import OutputLost, engine_log, own_streams
    from reasoner.errors import ReasonerError
    from reasoner_evals.tasks.arithmetic import reported

    runs_on = choose_engine(engine, model_id=model, base_url=base_url, reuse=not no_server)
    rates = read_prices(prices, [])
    log = engine_log(runs_on)
    with own_streams(log) as terminal:
        given = {"--model": model, "--engine": engine, "--base-url": base_url}
        typed = "".join(f" {name} {shlex.quote(value)}" for name, value in given.items() if value)
        tour = _Tour(runs_on, reported()[:QUESTIONS], rates, Display(terminal), typed)
        try:
            interrupts.run(tour.run)
        except KeyboardInterrupt as interrupt:
            terminal.say("interrupted")
            return interrupts.code_of(interrupt)
        except OutputLost:
            raise
        except ReasonerError as error:
            terminal.say(error_line(error))
            if code_of(error) == ENGINE:
                terminal.point_to(log)
            return code_of(error)
    return ANSWERED


@dataclass(slots=True)
class _Tour:
    """The tour on one engine: the solutions of both strategies for the first questions."""

    engine: "Engine"
    items: "Sequence[GradedQuestion]"
    prices: "Prices | None"
    progress: "Display"
    engine_flags: str
    greedy: "list[Solution]" = field(default_factory=list)
    vote: "list[Solution]" = field(default_factory=list)
    thought: "list[tuple[str, list[Solution]]]" = field(default_factory=list)
    """Of a simulated model that thinks, by arm."""

    async def run(self) -> None:
        """Ask the questions and show the results. Raises ReasonerError if the engine fails or output is lost."""
        from reasoner.cli.session import started
        from reasoner.cli.terminal import columns

        async with AsyncExitStack() as stack:
            with self.progress.shown():
                await stack.enter_async_context(started(self.engine, None, [], self.progress))
                await self._ask_all()
                await self._think()
            self.progress.terminal.show(*self._story(), width=min(columns(), 80))

    async def _ask_all(self) -> None:
        """Ask as many questions as there is time for, once greedily and once for a vote."""
        began = time.monotonic()
        for start in range(0, len(self.items), AT_ONCE):
            chosen = self.items[start : start + AT_ONCE]
            self.progress.begin(f"asking {start + len(chosen)} of {len(self.items)} questions, once and {N} times")
            greedy, vote = await asyncio.gather(self._ask(GREEDY, chosen), self._ask(VOTE, chosen))
            self.greedy += greedy
            self.vote += vote
            if time.monotonic() - began > SECONDS:
                break

    async def _think(self) -> None:
        """Ask the law of a model that thinks the same questions; this takes a second."""
        from reasoner import build

        self.progress.begin("simulating a model that thinks")
        for name, strategy in ARMS:
            self.thought.append((name, await self._ask(strategy, self.items, build("engine", THINKER))))

    async def _ask(
        self, strategy: str, items: "Sequence[GradedQuestion]", engine: "Engine | None" = None
    ) -> "list[Solution]":
        """The solutions of all questions. Raises the first error of a question."""
        from reasoner import solve_many

        solutions = await solve_many([item.question for item in items], strategy, engine or self.engine)
        for solution in solutions:
            if solution.error:
                raise solution.error
        return solutions

    def _right(self, solutions: "Sequence[Solution]") -> list[bool]:
        """Whether each answer equals the reference answer; a missing one does not."""
        answers = (solution.answer for solution in solutions)
        return [
            answer is not None and answer.key == item.gold for item, answer in zip(self.items, answers, strict=False)
        ]

    def _story(self) -> "Iterator[RenderableType]":
        from rich.text import Text

        from reasoner.cli.terminal import labelled

        asked = len(self.vote)
        yield Text(
            f"{self.engine.model.name} on {self.engine.name} was asked the first {asked} questions of the task "
            f"arithmetic, one-digit sums and products: once for its most likely answer (greedy), and {N} times for a "
            "vote."
        )
        if left := len(self.items) - asked:
            yield Text(f"{left} more questions were left out, as this machine is slow or busy.")
        pairs = list(zip(self._right(self.greedy), self._right(self.vote), strict=True))
        gained = [index for index, (before, after) in enumerate(pairs) if after and not before]
        if gained:
            # A wrong answer shows more than a missing one.
            shown = next((index for index in gained if self.greedy[index].answer), gained[0])
            yield _heading(f"A question that the vote puts right: {self.items[shown].question.text}")
            yield labelled([("greedy", _answer(self.greedy[shown])), ("vote", _answer(self.vote[shown]))])
        yield _heading(f"All {asked} questions, and what they cost")
        yield labelled([("greedy", self._totals(self.greedy)), ("vote", self._totals(self.vote))])
        lost = sum(before and not after for before, after in pairs)
        yield Text(
            f"Greedy wrong and vote right: {len(gained)}. The reverse: {lost}. In brackets is the 95 % interval. "
            "A vote helps where the most likely answer is wrong and the right one is frequent. Elsewhere it only costs "
            "more: measure before you pay."
        )
        yield _heading("A model that thinks, simulated by a law fitted to Qwen3-8B on AIME 2024")
        yield labelled([(name, self._bar(solutions)) for name, solutions in self.thought])
        yield Text(
            "Tokens are money, tokens in a row are waiting. A vote that ends once it is settled costs less of both. "
            "reasoner advise --thinks says more."
        )
        yield _heading("What to type next")
        yield from (Text(line.format(question=self.items[0].question.text, engine=self.engine_flags)) for line in NEXT)

    def _bar(self, solutions: "Sequence[Solution]") -> str:
        right, count = sum(self._right(solutions)), len(solutions)
        tokens, waited = (
            sum(getattr(solution.cost, name) for solution in solutions) / count / 1000
            for name in ("tokens", "sequential_tokens")
        )
        filled = round(BAR * right / count)
        bar = "█" * filled + "░" * (BAR - filled)
        return f"{bar} {right} of {count} right, {tokens:,.0f}k tokens each, {waited:,.0f}k in a row"

    def _totals(self, solutions: "Sequence[Solution]") -> str:
        from reasoner import Cost
        from reasoner_evals.stats.intervals import wilson

        right, cost = sum(self._right(solutions)), sum((solution.cost for solution in solutions), Cost())
        low, high = wilson(right, len(solutions))
        price = f", ${self.prices.usd(cost):.6f}" if self.prices else ""
        share = f"{right} of {len(solutions)} right [{100 * low:.0f} to {100 * high:.0f} %]"
        return f"{share}, {cost.tokens:,} tokens{price}"


def _answer(solution: "Solution") -> str:
    from reasoner.cli.terminal import printable
    from reasoner.voting import VoteSummary

    answer = printable(solution.answer.text, limit=20) if solution.answer else "no answer"
    votes = f"; {VoteSummary(solution.vote_state).line}" if solution.vote_state.samples > 1 else ""
    return f"{answer}; {solution.cost.tokens:,} tokens{votes}"


def _heading(text: str) -> "RenderableType":
    from rich.text import Text

    return Text(f"\n{text}", style="bold")
