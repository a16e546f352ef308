"""`reasoner demo`: a tour of the product on questions with known answers, with the public API alone."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Final

import click

from reasoner.cli.exits import ANSWERED, ENGINE, code_of, error_line, guarded
from reasoner.cli.options import engine_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reasoner import Answer, Cost, Prices, Solution
    from reasoner.engine import Engine
    from reasoner.trace.events import Event
    from reasoner_evals.cli.progress import TourProgress
    from reasoner_evals.tasks.graders import GradedQuestion

QUESTIONS: Final = 24
"""At most the first questions of the task `arithmetic`, in its own order: none is chosen for its answer."""
FIRST: Final = 2
"""Questions that are asked first, to see how fast this machine is."""
SECONDS: Final = 22.0
"""After this time no more questions are asked, so that the tour of a slow machine is short as well."""
N: Final = 8
"""Samples of a vote."""
GREEDY: Final = "single:max_tokens=96"
VOTE: Final = f"self_consistency:n={N},max_tokens=96"
BAR: Final = 24
"""Columns of the longest bar."""
BLOCKS: Final = " ▏▎▍▌▋▊▉"


@click.command("demo")
@engine_options
@guarded
def command(model: str | None, engine: str | None, base_url: str | None, prices: str | None) -> int:
    """Take a tour of a minute: an answer, a vote, the price of both, and accuracy against compute.

    All of it is run now, on up to 24 questions with known answers; nothing is recorded. Standard output gets the tour,
    standard error the progress. --engine simulated takes the tour without a model.

    Exit codes: 0 the tour ended, 2 usage, 4 engine or model failure, 130 interrupted.
    """
    from reasoner.cli import interrupts
    from reasoner.cli.options import choose_engine, read_prices
    from reasoner.cli.terminal import OutputLost, engine_log, own_streams
    from reasoner.errors import ReasonerError
    from reasoner_evals.cli.progress import TourProgress
    from reasoner_evals.tasks.arithmetic import reported

    runs_on = choose_engine(engine, model_id=model, base_url=base_url)
    rates = read_prices(prices, [])
    log = engine_log(runs_on)
    with own_streams(log) as terminal:
        tour = _Tour(runs_on, reported()[:QUESTIONS], rates, TourProgress(terminal))
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
class Results:
    """What one strategy gave for some questions, and the answers of its samples in launch order by question."""

    items: "list[GradedQuestion]" = field(default_factory=list)
    solutions: "list[Solution]" = field(default_factory=list)
    samples: "dict[str, dict[int, Answer | None]]" = field(default_factory=dict)

    def add(self, more: "Results") -> None:
        """Append the results for other questions."""
        self.items += more.items
        self.solutions += more.solutions
        self.samples |= more.samples

    @property
    def right(self) -> list[bool]:
        """Whether each question is answered rightly."""
        return [is_right(item, solution.answer) for item, solution in zip(self.items, self.solutions, strict=True)]

    @property
    def cost(self) -> "Cost":
        """The cost of all questions."""
        from reasoner import Cost

        return sum((solution.cost for solution in self.solutions), Cost())


def is_right(item: "GradedQuestion", answer: "Answer | None") -> bool:
    """Whether an answer equals the reference answer; a missing one does not."""
    return answer is not None and answer.key == item.gold


def expected_right(results: Results, n: int) -> float:
    """The share of questions that a vote of `n` samples answers rightly: the mean over all `n` of those drawn."""
    from reasoner.voting import Tally

    total = 0.0
    for item in results.items:
        votes = []
        for chosen in combinations(sorted(results.samples[item.question.id].items()), n):
            tally = Tally(item.question.space)
            for index, answer in chosen:
                tally.add(answer, index=index)
            votes.append(is_right(item, tally.vote_state().leader))
        total += sum(votes) / len(votes)
    return total / len(results.items)


@dataclass(slots=True)
class _Tour:
    """The tour on one engine."""

    engine: "Engine"
    items: "Sequence[GradedQuestion]"
    prices: "Prices | None"
    progress: "TourProgress"

    async def run(self) -> None:
        """Ask the questions and show what came out.

        Raises:
            ReasonerError: the engine failed, or the output cannot be written.
        """
        from reasoner.cli.progress import started

        async with AsyncExitStack() as stack:
            with self.progress.shown():
                await stack.enter_async_context(started(self.engine, None, [], self.progress))
                greedy, vote = await self._ask_all()
            self._show(*self._opening(len(vote.items)), *_example(greedy, vote))
            self._show(*self._rates(greedy, vote), *_curve(greedy, vote), *_next(self.items[0].question.text))

    async def _ask_all(self) -> tuple[Results, Results]:
        """Greedy answers and votes, for as many questions as there is time for."""
        import asyncio

        greedy, vote = Results(), Results()
        began, room = time.monotonic(), FIRST
        while room > 0 and (chosen := self.items[len(vote.items) :][:room]):
            upto = len(vote.items) + len(chosen)
            self.progress.begin(f"asking {upto} of {len(self.items)} questions, once and {N} times")
            since = time.monotonic()
            first, voted = await asyncio.gather(self._ask(GREEDY, chosen), self._ask(VOTE, chosen))
            greedy.add(first)
            vote.add(voted)
            now = time.monotonic()
            room = int((began + SECONDS - now) * len(chosen) / max(now - since, 1e-3))
        return greedy, vote

    async def _ask(self, strategy: str, items: "Sequence[GradedQuestion]") -> Results:
        """The results of all questions. Raises the first error of a question."""
        from reasoner import solve_many
        from reasoner.trace.events import Sampled

        results = Results(list(items))

        def follow(event: "Event") -> None:
            if isinstance(event, Sampled):
                self.progress.samples += 1
                results.samples.setdefault(event.question_id, {})[event.index] = event.answer

        questions = [item.question for item in items]
        results.solutions = await solve_many(questions, strategy, self.engine, trace=follow)
        for solution in results.solutions:
            if solution.error:
                raise solution.error
        return results

    def _opening(self, asked: int) -> "Iterator[RenderableType]":
        yield _text(
            f"{self.engine.model.name} on {self.engine.name} was asked the first {asked} questions of the task "
            f"arithmetic, one-digit sums and products: once for its most likely answer (greedy), and {N} times for a "
            "vote."
        )
        if left := len(self.items) - asked:
            yield _text(f"{left} more questions were left out, as this machine is slow or busy.")

    def _rates(self, greedy: Results, vote: Results) -> "Iterator[RenderableType]":
        yield _heading(f"All {len(vote.items)} questions, and what they cost")
        yield _labelled([("greedy", f"{_share(greedy)}, {self._cost(greedy)}"),
                         ("vote", f"{_share(vote)}, {self._cost(vote)}")])  # fmt: skip
        yield _text("In brackets is the 95 % interval. A vote helps where the most likely answer is wrong and the "
                    "right one is frequent. Elsewhere it only costs: measure before you pay.")  # fmt: skip

    def _cost(self, results: Results) -> str:
        cost = results.cost
        price = f", ${self.prices.usd(cost):.6f}" if self.prices else ""
        return f"{cost.tokens:,} tokens{price}"

    def _show(self, *parts: "RenderableType") -> None:
        from reasoner.cli.terminal import columns

        self.progress.terminal.show(*parts, width=min(columns(), 80))


def _example(greedy: Results, vote: Results) -> "Iterator[RenderableType]":
    """One question that the vote alone answers rightly, if there is one; and how many went either way."""
    from reasoner.voting import VoteSummary

    pairs = list(zip(greedy.right, vote.right, strict=True))
    gained = [i for i, (before, after) in enumerate(pairs) if after and not before]
    lost = sum(before and not after for before, after in pairs)
    if not gained:
        yield _heading("A wrong answer that a vote puts right")
        yield _text(f"There is none among these {len(pairs)} questions. The reverse, right by greedy and not by vote: "
                    f"{lost}.")  # fmt: skip
        return
    # A wrong answer shows more than a missing one.
    shown = next((i for i in gained if greedy.solutions[i].answer), gained[0])
    item, first, voted = greedy.items[shown], greedy.solutions[shown], vote.solutions[shown]
    yield _heading(item.question.text)
    yield _labelled([("greedy", f"{_answer(first, 'wrong')}; {first.cost.tokens:,} tokens"),
                     ("vote", f"{_answer(voted, 'right')}; {voted.cost.tokens:,} tokens"),
                     ("votes", VoteSummary(voted.vote_state).line)])  # fmt: skip
    yield _text(f"This question was chosen after the run. Greedy wrong and vote right: {len(gained)}. The reverse: "
                f"{lost}.")  # fmt: skip


def _curve(greedy: Results, vote: Results) -> "Iterator[RenderableType]":
    """Right answers against samples and tokens."""
    from rich.table import Table
    from rich.text import Text

    from reasoner.cli.terminal import columns

    width = min(BAR, columns() - 23)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for name in ("samples", "tokens", "right"):
        table.add_column(name, justify="left" if name == "samples" else "right", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="crop")
    rows = [("greedy", float(greedy.cost.tokens), sum(greedy.right) / len(greedy.right))]
    rows += [(str(n), vote.cost.tokens * n / N, expected_right(vote, n)) for n in (1, 2, 4, N)]
    for name, tokens, share in rows:
        table.add_row(name, f"{tokens:,.0f}", f"{100 * share:.0f} %", Text(bar(share, width), style="cyan"))
    yield _heading("Accuracy against compute")
    yield table
    yield _text(f"For fewer than {N} samples: the mean over all ways to choose them from the {N}. Few questions, wide "
                "intervals: `reasoner eval` measures more.")  # fmt: skip


def bar(share: float, width: int) -> str:
    """A bar of `share`, 0 to 1, of `width` columns, to an eighth of a column."""
    whole, eighths = divmod(round(8 * width * share), 8)
    return "█" * whole + BLOCKS[eighths].strip()


def _next(question: str) -> "Iterator[RenderableType]":
    yield _heading("What to type next")
    for line in (
        f'reasoner solve "{question}"',
        "reasoner list strategies",
        "reasoner eval arithmetic --limit 12 -s single -s self_consistency --out first",
        "reasoner report first",
    ):
        yield _text(line)


def _share(results: Results) -> str:
    from reasoner_evals.stats.intervals import wilson

    right, count = sum(results.right), len(results.items)
    low, high = wilson(right, count)
    return f"{right} of {count} right [{100 * low:.0f} to {100 * high:.0f} %]"


def _answer(solution: "Solution", verdict: str) -> str:
    from reasoner.cli.terminal import printable

    return f"{printable(solution.answer.text, limit=20)}, {verdict}" if solution.answer else "no answer"


def _heading(text: str) -> "RenderableType":
    from rich.text import Text

    return Text(f"\n{text}", style="bold")


def _text(text: str) -> "RenderableType":
    from rich.text import Text

    return Text(text)


def _labelled(rows: list[tuple[str, str]]) -> "RenderableType":
    from reasoner.cli.terminal import labelled

    return labelled(rows)
