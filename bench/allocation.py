"""Dividing one budget among many questions: what a decision costs, and what it buys on recorded answers.

    python bench/allocation.py simulate
    python bench/allocation.py [MEAN...] POOL...

The first decides for up to a million simulated questions. The second replays pools of recorded answers
(bench/README.md: sources), with no model and no concurrency: 20 to 200 random orders of each question's samples, the
more the fewer the questions, under budgets in tokens equal to each MEAN of samples a question, by default 2, 4, 8 and
16. Pools hold no prompt tokens, so none are counted. A budget is hard: a wave is as long as the longest reply so far
allows, and a reply longer than what is left is cut and has no answer. For Adaptive-Consistency the theta that spends
nearest to the budget is found on a random half of the questions and measured on the other, both ways round. So is
`auto`: a profile of one half chooses the stop rules of the other. "Ratio" is what the smallest equal shares whose
accuracy is within 0.3 points of this cost, over what was spent; its 95 % interval is by bootstrap over questions.
"""

import gc
import sys
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import controller
import numpy as np
from replies import questions_in
from resampling import averaged, resampled

from reasoner.budget import Cost
from reasoner.calibration.arm_selection import worthwhile
from reasoner.calibration.profile import Family
from reasoner.execution.scheduler import Allocation, BidQueue, QuestionState
from reasoner.registry import build
from reasoner.stopping.rules import RISKS
from reasoner.stopping.vote_posteriors import beta_lead
from reasoner.types import Answer, Vote, VoteState
from reasoner_evals.calibration import outcomes as arms
from reasoner_evals.calibration.outcomes import orders_for
from reasoner_evals.stats import Floats, Ints
from reasoner_strategies.self_consistency import SelfConsistency

MEANS, RESAMPLED = (2, 4, 8, 16), 1000
PRICE = 0.001
THETAS = tuple(
    sorted({beta_lead(a, b) for a in range(1, 31) for b in range(min(a + 1, 10))})
)


class Pool(NamedTuple):
    """Recorded answers as numbers, 0 the right one and -1 none, and their tokens; both questions x samples."""

    answers: Ints
    tokens: Floats

    def of(self, rows: Ints) -> "Pool":
        return Pool(self.answers[rows], self.tokens[rows])

    def shuffled(self, source: np.random.Generator) -> "Pool":
        order = np.argsort(source.random(self.answers.shape), axis=1)
        return Pool(
            np.take_along_axis(self.answers, order, 1),
            np.take_along_axis(self.tokens, order, 1),
        )


Calibrated = tuple[Mapping[arms.Way, arms.Outcomes], Family]
"""The mean outcomes of all arms of a pool, and a profile of all its questions, from which others are made."""


class Outcome(NamedTuple):
    """Per question: the chance that its vote is right, ties broken at random, and what it spent."""

    right: Floats
    spent: Floats


class Way(NamedTuple):
    """A way to divide a budget."""

    name: str
    allocation: Allocation | None
    effort: str = ""
    """The strategy that `auto` runs, if its profile chooses stop rules."""


def read(path: Path) -> Pool:
    answers, tokens = [], []
    for row in questions_in(path):
        names = {row["gold"]: 0}
        answers.append(
            [
                -1 if answer is None else names.setdefault(answer, len(names))
                for answer in (reply["answer"] for reply in row["replies"])
            ]
        )
        tokens.append([reply["tokens"] for reply in row["replies"]])
    return Pool(np.array(answers), np.array(tokens, dtype=float))


class Tally:
    """One question while it is replayed."""

    __slots__ = ("_answers", "_tokens", "counts", "draws", "spent")

    def __init__(self, answers: list[int], tokens: list[float]) -> None:
        self._answers, self._tokens = answers, tokens
        self.counts: dict[int, int] = {}
        self.draws, self.spent = 0, 0.0

    def limited(self, samples: int) -> "Tally":
        """The same question; only this many samples may be drawn for it."""
        return Tally(self._answers[:samples], self._tokens[:samples])

    def draw(self, left: float) -> float:
        """Read the next sample; returns its cost."""
        cost, answer = self._tokens[self.draws], self._answers[self.draws]
        self.draws += 1
        if cost > left:
            cost, answer = left, -1
        self.spent += cost
        if answer >= 0:
            self.counts[answer] = self.counts.get(answer, 0) + 1
        return cost

    @property
    def state(self) -> QuestionState:
        lead, second = (*sorted(self.counts.values(), reverse=True), 0, 0)[:2]
        rest = len(self._answers) - self.draws
        return QuestionState(lead, second, self.draws, rest, self.spent, self.draws)

    @property
    def vote_state(self) -> VoteState:
        counts = sorted(self.counts.items(), key=itemgetter(1), reverse=True)
        votes = tuple(
            Vote(Answer(str(name), str(name)), float(count), count)
            for name, count in counts
        )
        return VoteState(votes, self.draws, max_samples=len(self._answers))

    @property
    def right(self) -> float:
        maximum = max(self.counts.values(), default=0)
        best = [answer for answer, votes in self.counts.items() if votes == maximum]
        return (0 in best) / len(best) if best else 0.0


def replay(
    pool: Pool,
    budget: float,
    allocation: Allocation,
    votes: Sequence[SelfConsistency] = (),
) -> Outcome:
    """All questions under one budget, as the runner would, wave by wave; `votes`, one each, may end them before."""
    tallies = [
        Tally(*row)
        for row in zip(pool.answers.tolist(), pool.tokens.tolist(), strict=True)
    ]
    if votes:
        tallies = [
            tally.limited(vote.n) for tally, vote in zip(tallies, votes, strict=True)
        ]
    queue, left, longest = BidQueue(allocation), budget, 0.0
    for index, tally in enumerate(tallies):
        queue.update(index, tally.state)
    while (bid := queue.pop()) is not None and left > 0:
        tally = tallies[bid.question]
        state, draws = (
            tally.state,
            min(bid.draws, int(left // longest)) if longest else 1,
        )
        pays = (
            bid.value >= allocation.price
            and state.lead - state.second <= state.remaining
        )
        if draws > 0 and (pays or not tally.draws):
            for _ in range(draws):
                left -= (cost := tally.draw(left))
                longest = max(longest, cost)
            queue.update(bid.question, tally.state)
        else:
            queue.close(bid.question)
        if (
            votes
            and (rule := votes[bid.question].stop)
            and rule.stop(tally.vote_state, Cost())
        ):
            queue.close(bid.question)
    return Outcome(
        np.array([tally.right for tally in tallies]),
        np.array([tally.spent for tally in tallies]),
    )


class Replay(NamedTuple):
    """Each question sample by sample, questions x samples: odds of the leader, outcome, tokens so far."""

    odds: Floats
    right: Floats
    spent: Floats

    def stopped(self, rows: Ints, theta: float) -> Outcome:
        """Adaptive-Consistency, looked at after each sample."""
        enough = self.odds[rows] >= theta
        last = np.where(enough.any(1), enough.argmax(1), enough.shape[1] - 1)
        return Outcome(self.right[rows, last], self.spent[rows, last])

    def tuned(self, rows: Ints, tokens: float) -> float:
        """The theta that spends nearest to this many tokens a question."""
        return min(
            THETAS,
            key=lambda theta: abs(self.stopped(rows, theta).spent.mean() - tokens),
        )


def votes_by_sample(pool: Pool) -> Replay:
    made = Replay(*(np.zeros(pool.answers.shape) for _ in Replay._fields))
    for at, row in enumerate(
        zip(pool.answers.tolist(), pool.tokens.tolist(), strict=True)
    ):
        tally = Tally(*row)
        for n in range(len(row[0])):
            tally.draw(np.inf)
            now = tally.state
            made.odds[at, n] = _lead(now.lead, now.second) if tally.counts else 0.0
            made.right[at, n], made.spent[at, n] = tally.right, tally.spent
    return made


_lead = lru_cache(maxsize=None)(beta_lead)


def chosen(calibrated: Calibrated, rows: Ints, effort: str) -> SelfConsistency:
    """The vote that `auto` chooses by a profile of these questions."""
    row = worthwhile(resampled(*calibrated, rows), 0, RISKS[effort]).row
    vote: SelfConsistency = build("strategy", row.strategy)
    return vote


def measured(pool: Pool, way: Way, mean: int, calibrated: Calibrated) -> Outcome:
    """The mean over orders of what each question got."""
    source, questions = np.random.default_rng(0), len(pool.answers)
    right, spent, orders = (
        np.zeros(questions),
        np.zeros(questions),
        orders_for(len(pool.answers)),
    )
    budget = mean * pool.tokens.mean()
    for _ in range(orders):
        drawn, order = pool.shuffled(source), source.permutation(questions)
        outcomes, halves = [], (order[: questions // 2], order[questions // 2 :])
        if way.allocation:
            votes = (
                [chosen(calibrated, rows, way.effort) for rows in halves[::-1]]
                if way.effort
                else []
            )
            each = [
                vote for vote, rows in zip(votes, halves, strict=False) for _ in rows
            ]
            outcomes = [
                (
                    order,
                    replay(drawn.of(order), budget * questions, way.allocation, each),
                )
            ]
        else:
            run = votes_by_sample(drawn)
            outcomes = [
                (rows, run.stopped(rows, run.tuned(others, budget)))
                for rows, others in (halves, halves[::-1])
            ]
        for rows, outcome in outcomes:
            right[rows] += outcome.right / orders
            spent[rows] += outcome.spent / orders
    return Outcome(right, spent)


def equal_shares(pool: Pool) -> Floats:
    """The chance of a right vote, questions x numbers of samples, as a mean over random orders."""
    source, orders = np.random.default_rng(0), 3 * orders_for(len(pool.answers))
    return (
        sum(
            (votes_by_sample(pool.shuffled(source)).right for _ in range(orders)),
            np.zeros(pool.answers.shape),
        )
        / orders
    )


def ratio(curves: Floats, tokens: Floats, outcome: Outcome) -> str:
    """Tokens of the smallest equal shares that are as accurate, over tokens spent, with its interval."""
    source = np.random.default_rng(0)

    def of(rows: Ints | slice) -> float:
        curve = curves[rows].mean(0)
        least = min(
            float(outcome.right[rows].mean()) - controller.MARGIN, float(curve.max())
        )
        n = int(np.argmax(curve >= least - 1e-12)) + 1
        return float(n * tokens[rows].mean() / outcome.spent[rows].mean())

    drawn = [of(source.integers(0, len(tokens), len(tokens))) for _ in range(RESAMPLED)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{of(slice(None)):.2f} ({low:.2f} to {high:.2f})"


def ways(questions: int) -> Iterator[Way]:
    # As long as a wave is in the runner, which keeps 64 draws in flight.
    wave = 1 if questions >= 64 else 2
    yield Way("Adaptive-Consistency, theta tuned", None)
    yield Way("price 0, the default", Allocation(wave=wave))
    yield Way(f"price {PRICE:g}", Allocation(wave=wave, price=PRICE))
    for effort in RISKS:
        yield Way(f"auto, effort {effort}", Allocation(wave=wave, price=PRICE), effort)


def compare(path: Path, means: Sequence[int]) -> None:
    pool = read(path)
    with TemporaryDirectory() as folder:
        spec = f"self_consistency:n={pool.answers.shape[1]},max_tokens={round(pool.tokens.max())}"
        replayed = controller.pool_in(
            controller.drawn(path, spec, Path(folder) / "run")
        )
    means_of = {way: averaged(outcomes) for way, outcomes in replayed.ways.items()}
    calibrated = means_of, controller.family(replayed, np.full(len(pool.tokens), True))
    curves, tokens = equal_shares(pool), pool.tokens.mean(1)
    print(
        f"## {path.stem}: {len(tokens)} questions, {tokens.mean():.0f} tokens a sample\n"
    )
    print(
        "| way | budget, samples | accuracy | tokens a question | ratio |\n|---|---|---|---|---|"
    )
    for mean in means:
        print(
            f"| equal shares | {mean} | {curves[:, mean - 1].mean():.4f} | {mean * tokens.mean():.0f} | 1 |"
        )
    for way in ways(len(tokens)):
        for mean in means:
            outcome = measured(pool, way, mean, calibrated)
            figures = f"{outcome.right.mean():.4f} | {outcome.spent.mean():.0f} | {ratio(curves, tokens, outcome)}"
            print(f"| {way.name} | {mean} | {figures} |", flush=True)
    print()


def decide(questions: int, mean: int) -> tuple[float, float, float]:
    """Microseconds of CPU a decision, decisions, and samples drawn, for answers by laws of their own."""
    source = np.random.default_rng(0)
    laws = source.dirichlet(np.full(6, 0.4), questions).cumsum(1).astype(np.float32)
    queue, left = BidQueue(Allocation()), mean * questions
    counts: dict[int, list[int]] = {}
    start = QuestionState(0, 0, 0, 40, 0.0, 0)
    inside = -time.process_time()
    for question in range(questions):
        queue.update(question, start)
    inside += time.process_time()
    decisions = 0
    while left > 0:
        began = time.process_time()
        bid = queue.pop()
        inside += time.process_time() - began
        if bid is None:
            break
        votes = counts.setdefault(bid.question, [0] * 6)
        for at in np.searchsorted(
            laws[bid.question, :5], source.random(bid.draws)
        ).tolist():
            votes[at] += 1
        left -= bid.draws
        *_, second, lead = sorted(votes)
        drawn = sum(votes)
        state = QuestionState(lead, second, drawn, 40 - drawn, 100.0 * drawn, drawn)
        began = time.process_time()
        queue.update(bid.question, state)
        inside += time.process_time() - began
        decisions += 1
    return inside / decisions * 1e6, decisions, mean * questions - left


def memory(questions: int) -> float:
    """Bytes per question of a queue in which each was updated three times."""
    gc.collect()
    tracemalloc.start()
    queue = BidQueue(Allocation())
    for drawn in range(1, 4):
        for question in range(questions):
            queue.update(
                question,
                QuestionState(
                    drawn, 0, drawn, 40 - drawn, 100.0 * drawn + question % 7, drawn
                ),
            )
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / questions


def simulate() -> None:
    print(
        "| questions | decisions | CPU us a decision | bytes a question |\n|---|---|---|---|"
    )
    for questions in (10_000, 100_000, 1_000_000):
        each, decisions, _ = decide(questions, 8)
        print(
            f"| {questions:,} | {decisions:,} | {each:.1f} | {memory(questions):.0f} |",
            flush=True,
        )


def main(arguments: Sequence[str]) -> None:
    if arguments == ["simulate"]:
        simulate()
    else:
        means = [int(word) for word in arguments if word.isdecimal()] or MEANS
        for path in arguments:
            if not path.isdecimal():
                compare(Path(path), means)


if __name__ == "__main__":
    main(sys.argv[1:])
