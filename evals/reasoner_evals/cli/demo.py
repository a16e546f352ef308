"""`reasoner demo`: a tour of the product on questions with known answers, with the public API alone."""

import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Final

import click

from reasoner.cli.exits import ANSWERED, ENGINE, code_of, error_line, guarded
from reasoner.cli.options import engine_options
from reasoner.cli.progress import Display

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reasoner import Answer, Budget, Prices, Solution
    from reasoner.engine import Engine
    from reasoner.trace.events import Event
    from reasoner_evals.grading.graders import GradedQuestion

QUESTIONS: Final = 24
"""The first questions of the task `arithmetic`, in its own order: none is chosen for its answer."""
N: Final = 8
"""Samples of a vote."""
GREEDY: Final = "single:max_tokens=160"
VOTE: Final = f"self_consistency:n={N},max_tokens=160"
SECONDS: Final = {"greedy": 8.0, "vote": 20.0, "budget": 6.0}
"""Limits of the three runs, so that a slow machine ends the tour in time as well."""
BAR: Final = 24
"""Columns of the longest bar."""
BLOCKS: Final = " ▏▎▍▌▋▊▉█"


@click.command("demo")
@engine_options
@guarded
def command(model: str | None, engine: str | None, base_url: str | None, prices: str | None) -> int:
    """Take a tour of a minute: an answer, a vote, the price of both, a budget, and accuracy against compute.

    All of it is run now, on 24 questions with known answers; nothing is recorded. Standard output gets the tour,
    standard error the progress. --engine simulated takes the tour without a model.

    Exit codes: 0 the tour ended, 2 usage, 4 engine or model failure, 130 interrupted.
    """
    from reasoner.cli import interrupts
    from reasoner.cli.options import choose_engine, read_prices
    from reasoner.cli.terminal import OutputLost, engine_log, own_streams
    from reasoner.errors import ReasonerError
    from reasoner_evals.tasks.arithmetic import reported

    runs_on = choose_engine(engine, model_id=model, base_url=base_url)
    rates = read_prices(prices, [])
    log = engine_log(runs_on)
    with own_streams(log) as terminal:
        tour = _Tour(runs_on, tuple(reported()[:QUESTIONS]), rates, _TourProgress(terminal))
        try:
            interrupts.run(tour.run)
        except OutputLost:
            raise
        except ReasonerError as error:
            terminal.say(error_line(error))
            if code_of(error) == ENGINE:
                terminal.point_to(log)
            return code_of(error)
    return ANSWERED


@dataclass(slots=True)
class _TourProgress(Display):
    """The stage in one live line, with the samples that are there."""

    samples: int = field(default=0, init=False)
    total: int = field(default=0, init=False)

    def expect(self, stage: str, total: int) -> None:
        """Show that a stage of `total` samples begins."""
        self.samples, self.total = 0, total
        self.begin(stage)

    def picture(self, columns: int, rows: int) -> "RenderableType":
        """The line, cut to the terminal."""
        from rich.text import Text

        counted = f" · {self.samples} of {self.total} samples" if self.total else ""
        return Text(self.waiting() + counted, overflow="ellipsis", no_wrap=True)


@dataclass(slots=True)
class _Results:
    """What one strategy gave for all questions, and the answers of its samples in launch order by question."""

    items: "tuple[GradedQuestion, ...]"
    solutions: "list[Solution]"
    samples: "dict[str, dict[int, Answer | None]]"

    @property
    def right(self) -> list[bool]:
        """Whether each question is answered rightly."""
        return [is_right(item, solution.answer) for item, solution in zip(self.items, self.solutions, strict=True)]

    @property
    def tokens(self) -> int:
        """All tokens computed."""
        return sum(solution.cost.tokens for solution in self.solutions)

    @property
    def drawn(self) -> int:
        """All samples begun."""
        return sum(solution.cost.samples for solution in self.solutions)

    def failure(self) -> "Exception | None":
        """The first error of a question; the tour cannot continue with it."""
        return next((solution.error for solution in self.solutions if solution.error), None)


def is_right(item: "GradedQuestion", answer: "Answer | None") -> bool:
    """Whether an answer equals the reference answer; a missing one does not."""
    return answer is not None and answer.key == item.gold


def expected_right(results: _Results, n: int) -> float | None:
    """Questions that a vote of `n` samples answers rightly, as the mean over all ways to choose `n` of those drawn.

    None where a question has fewer than `n` samples.
    """
    from reasoner.voting import Tally

    total = 0.0
    for item in results.items:
        answers = sorted(results.samples.get(item.question.id, {}).items())
        if len(answers) < n:
            return None
        votes = []
        for chosen in combinations(answers, n):
            tally = Tally(item.question.space)
            for index, answer in chosen:
                tally.add(answer, index=index)
            votes.append(is_right(item, tally.vote_state().leader))
        total += sum(votes) / len(votes)
    return total


@dataclass(slots=True)
class _Tour:
    """The tour on one engine."""

    engine: "Engine"
    items: "tuple[GradedQuestion, ...]"
    prices: "Prices | None"
    progress: _TourProgress

    async def run(self) -> None:
        """Ask all questions three times, and show what came out.

        Raises:
            ReasonerError: the engine failed, or the output cannot be written.
        """
        from reasoner import Budget
        from reasoner.cli.progress import started

        count = len(self.items)
        async with AsyncExitStack() as stack:
            with self.progress.shown():
                await stack.enter_async_context(started(self.engine, None, [], self.progress))
                self.progress.expect(f"{count} questions, the most likely answer to each", count)
                greedy = await self._ask(GREEDY, "greedy")
                self.progress.expect(f"{count} questions, {N} samples of each", count * N)
                vote = await self._ask(VOTE, "vote")
            self._show(_opening(self.engine, count), *_example(greedy, vote), *self._rates(greedy, vote))
            self._show(*_curve(greedy, vote))
            half = Budget(tokens=max(vote.tokens // 2, 1))
            with self.progress.shown():
                self.progress.expect(f"the same vote with {half.tokens:,} tokens for all questions", count * N)
                limited = await self._ask(VOTE, "budget", half)
            self._show(*_budget(limited, vote, half), *_next(self.items[0].question.text))

    async def _ask(self, strategy: str, stage: str, budget: "Budget | None" = None) -> _Results:
        from reasoner import Budget, solve_many
        from reasoner.registry import build
        from reasoner.trace.events import Sampled

        samples: dict[str, dict[int, Answer | None]] = {}

        def follow(event: "Event") -> None:
            if isinstance(event, Sampled):
                self.progress.samples += 1
                samples.setdefault(event.question_id, {})[event.index] = event.answer

        questions = [item.question for item in self.items]
        solutions = await solve_many(
            questions,
            build("strategy", strategy),
            self.engine,
            budget=budget,
            each=Budget(seconds=SECONDS[stage]),
            trace=follow,
        )
        results = _Results(self.items, solutions, samples)
        if failure := results.failure():
            raise failure
        return results

    def _rates(self, greedy: _Results, vote: _Results) -> "Iterator[RenderableType]":
        yield _heading(f"All {len(self.items)} questions, and what they cost")
        yield _labelled((name, f"{_share(results)}; {self._cost(results)}") for name, results in (
            ("greedy", greedy), ("vote", vote)))  # fmt: skip
        yield _text("A vote pays where the most likely answer is wrong and the right one is frequent. Where greedy is "
                    "right already, it only costs. So measure before you pay.")  # fmt: skip

    def _cost(self, results: _Results) -> str:
        dollars = sum(self.prices.usd(solution.cost) for solution in results.solutions) if self.prices else None
        price = "" if dollars is None else f", ${dollars:.6f}"
        return f"{results.tokens:,} tokens, {results.drawn} samples{price}"

    def _show(self, *parts: "RenderableType") -> None:
        from reasoner.cli.terminal import columns

        self.progress.terminal.show(*parts, width=min(columns(), 80))


def _opening(engine: "Engine", count: int) -> "RenderableType":
    return _text(
        f"{engine.model.name} on {engine.name} answered the first {count} questions of the task arithmetic, sums and "
        f"products of two digits: once with its most likely answer (greedy), once by a vote over {N} samples."
    )


def _example(greedy: _Results, vote: _Results) -> "Iterator[RenderableType]":
    """One question that the vote rescued, if there is one; and how many went either way."""
    pairs = list(zip(greedy.right, vote.right, strict=True))
    rescued = [index for index, (before, after) in enumerate(pairs) if after and not before]
    lost = sum(before and not after for before, after in pairs)
    if not rescued:
        yield _heading("A wrong answer that a vote puts right")
        yield _text(
            f"This time there is none among these {len(pairs)} questions. The opposite, right by greedy and wrong by "
            f"vote: {lost}."
        )
        return
    index = rescued[0]
    item, first, voted = greedy.items[index], greedy.solutions[index], vote.solutions[index]
    yield _heading(item.question.text)
    yield _labelled([
        ("greedy", f"{_answer(first)}, wrong; {first.cost.tokens:,} tokens"),
        ("vote", f"{_answer(voted)}, right; {voted.cost.tokens:,} tokens"),
        ("votes", _votes(voted)),
    ])  # fmt: skip
    yield _text(
        f"Chosen after the run: the first of {len(rescued)} that greedy has wrong and the vote has right. The opposite "
        f"happened on {lost}."
    )


def _curve(greedy: _Results, vote: _Results) -> "Iterator[RenderableType]":
    """Right answers against samples, with the tokens of each."""
    from rich.table import Table

    count = len(vote.items)
    yield _heading("Accuracy against compute")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    table.add_column("samples")
    table.add_column("tokens", justify="right")
    table.add_column("right", justify="right")
    table.add_column("", no_wrap=True)
    table.add_row("greedy", f"{greedy.tokens:,}", f"{_percent(sum(greedy.right) / count)}", _bar(sum(greedy.right) / count))
    missing = False
    for n in (1, 2, 4, N):
        right = expected_right(vote, n)
        if right is None:
            missing = True
            continue
        table.add_row(f"{n}", f"{round(vote.tokens * n * count / vote.drawn):,}", _percent(right / count), _bar(right / count))
    yield table
    yield _text(f"The mean over all ways to choose so many of the {N} samples. {count} questions are few: the 95 % "
                "intervals above are wide.")  # fmt: skip
    if missing:
        yield _text(f"This machine was too slow for all samples within {SECONDS['vote']:.0f} s: rows are missing.")


def _budget(limited: _Results, vote: _Results, budget: "Budget") -> "Iterator[RenderableType]":
    yield _heading("A budget that holds")
    yield _labelled([
        ("limit", f"{budget.tokens:,} tokens for all questions together, half of what the vote took"),
        ("spent", f"{limited.tokens:,} of {budget.tokens:,} tokens, {limited.drawn} of {vote.drawn} samples"),
        ("result", _share(limited)),
    ])  # fmt: skip
    yield _text("The worst case of every sample is reserved before it starts, so no schedule can exceed the limit.")


def _next(question: str) -> "Iterator[RenderableType]":
    yield _heading("What to type next")
    for line in (
        f'reasoner solve "{question}"',
        "reasoner list strategies",
        "reasoner eval arithmetic --limit 12 -s single -s self_consistency --out first",
        "reasoner report first",
    ):
        yield _text(line)


def _share(results: _Results) -> str:
    from reasoner_evals.stats.intervals import wilson

    right, count = sum(results.right), len(results.items)
    low, high = wilson(right, count)
    return f"{right} of {count} right ({100 * low:.0f} to {100 * high:.0f} %)"


def _answer(solution: "Solution") -> str:
    from reasoner.cli.terminal import printable

    return printable(solution.answer.text, limit=20) if solution.answer else "no answer"


def _votes(solution: "Solution") -> str:
    from reasoner.cli.summary import VoteSummary

    return VoteSummary(solution.vote_state).line


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _bar(share: float) -> "RenderableType":
    from rich.text import Text

    eighths = round(8 * BAR * share)
    return Text("█" * (eighths // 8) + BLOCKS[eighths % 8].strip(), style="cyan")


def _heading(text: str) -> "RenderableType":
    from rich.text import Text

    return Text(f"\n{text}", style="bold")


def _text(text: str) -> "RenderableType":
    from rich.text import Text

    return Text(text)


def _labelled(rows: "Iterator[tuple[str, str]] | list[tuple[str, str]]") -> "RenderableType":
    from reasoner.cli.terminal import labelled

    return labelled(iter(rows))
