"""What each way to spend gave on each question: as it was run, and as a pool of samples tells of smaller ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from reasoner.catalog import build, spec_of
from reasoner.controller.worth import EFFORTS
from reasoner.errors import TraceError
from reasoner.protocols import StopRule
from reasoner_evals.profiling.replaying import (
    Drawn,
    Replay,
    random_orders,
    replay,
    sizes_of,
    stops,
    taken,
)
from reasoner_evals.report.data.measures import ArmRead, as_run, selected
from reasoner_evals.report.data.pools import Pool, expected_costs, pool_of, spent, spread
from reasoner_evals.runs.arrays import COSTS, Bools, Floats, Ints
from reasoner_evals.runs.reading import records_in

TRUSTED: Final = "lock_in:delta=0.05"
"""Where this rule ends a vote, its agreement is read as a chance of being right."""
RULES: Final = (
    "lossless", "lock_in:delta=0.01", TRUSTED, "lock_in:delta=0.1", "beta:theta=0.95", "beta:theta=0.9",
    "beta:theta=0.8", *(f"price:price={price:g}" for price in EFFORTS.values()),
)  # fmt: skip
"""The rules that a pool is replayed with."""


class Way(NamedTuple):
    """A way to spend, as a profile names it."""

    strategy: str
    verifier: str
    budget: str


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a way came to: each array is [Q, some], as a question may have been answered several times."""

    way: Way
    right: Floats
    """In [0, 1]: an outcome, or the expected one."""
    tokens: Floats
    samples: Floats
    share: Floats
    """The leader's smoothed share of the vote in the end."""
    whole: Floats | None = None
    """Whether the vote of all samples in the same order is right, of a vote that a rule stopped."""

    def of(self, rows: Bools | Ints) -> "Outcomes":
        """The same of some questions."""
        whole = None if self.whole is None else self.whole[rows]
        return Outcomes(self.way, self.right[rows], self.tokens[rows], self.samples[rows], self.share[rows], whole)


@dataclass(frozen=True, slots=True)
class Sampled:
    """An arm that was drawn as a pool, on the questions that have all its samples."""

    one: ArmRead
    rows: Ints
    """[q]: which of the task's questions these are."""
    pool: Pool
    """Of these questions, as [q, N]."""
    costs: Floats
    """[q, K]: the expected tokens of so many samples as `sizes_of` says."""
    drawn: Drawn


def usable(one: ArmRead) -> Bools:
    """[Q]: whether a question has a result; errors and answers without a verdict have none."""
    values = as_run(one)
    there = ~np.isnan(values["right"])
    if one.data.arm.pool:
        there &= ~np.isnan(pool_of(one.data).right).any(axis=1)
    return there


def measured(one: ArmRead, rows: Ints) -> Outcomes:
    """An arm as it was run."""
    data, values = one.data, as_run(one)
    samples = data.costs[:, COSTS.index("samples")].astype(np.float64)
    # A share of the weight stands for as many votes as there would be, had all samples voted alike.
    share = (data.share * samples + 1) / (samples + 2)
    arm = data.arm
    found = Outcomes(
        Way(arm.strategy, arm.verifier, arm.budget),
        values["right"][:, None],
        values["tokens"][:, None],
        samples[:, None],
        share[:, None],
    )
    return found.of(rows)


def sampled(one: ArmRead, rows: Ints) -> Sampled:
    """The samples of a pool's arm on these questions, which have all of them."""
    data, pool = one.data, pool_of(one.data)
    n = data.arm.pool
    costs = expected_costs(one.run.manifest.model, data, spent(data), tuple(sizes_of(n)))
    tokens = np.asarray(sum(costs[name] for name in ("prompt", "generated", "verifier", "cancelled")))[rows]
    prompt = spread(data.replies, data.replies.prompt, np.nan, n)[rows]
    once = prompt.max(axis=1)
    again = (prompt.sum(axis=1) - once) / max(n - 1, 1)
    own = _own_tokens(one)[rows]
    # What belongs to no sample, such as attempts that failed, is shared by all: together they cost what was spent.
    rest = tokens[:, -1] - once - again * (n - 1) - own.sum(axis=1)
    drawn = Drawn(pool.right[rows] == 1, pool.answers[rows], own + rest[:, None] / n, once, again)
    kept = Pool(pool.right[rows], pool.answers[rows], pool.stated[rows], pool.scores[rows], pool.truncated[rows])
    return Sampled(one, rows, kept, tokens, drawn)


def _own_tokens(one: ArmRead) -> Floats:
    """[Q, N]: what each reply took beside its prompt, its rating included."""
    place = {question: row for row, question in enumerate(one.run.tasks[one.data.arm.task].ids)}
    found = np.zeros((len(place), one.data.arm.pool))
    for record in records_in(one.run, one.data.arm.name):
        kept = record.pool[: found.shape[1]]
        found[place[record.question_id], : len(kept)] = [
            reply.generated_tokens + reply.verifier_tokens for reply in kept
        ]
    return found


def whole_vote(pool: Sampled, told: Replay) -> Outcomes:
    """The vote of all samples of a pool, the baseline of its task; orders matter where answers tie."""
    return _at(voting_way(pool), told, np.full(told.right.shape[:2], pool.one.data.arm.pool))


def voting_way(pool: Sampled) -> Way:
    """The vote of all samples, as a profile names it."""
    return Way(spec_of(build("strategy", pool.one.data.arm.strategy)), "", "")


def trusted_way(pool: Sampled) -> Way:
    """The vote over a pool that `TRUSTED` stops, as a profile names it."""
    strategy: Any = build("strategy", pool.one.data.arm.strategy)
    return Way(spec_of(replace(strategy, stop=_rule(TRUSTED))), "", "")


def from_pool(pool: Sampled) -> Iterator[Outcomes]:
    """All that a pool tells without another draw: every smaller size, and a vote that each of `RULES` stops.

    A size is the mean over subsets of the samples; a rule is the mean over orders in which they could have come.
    """
    arm = pool.one.data.arm
    strategy: Any = build("strategy", arm.strategy)
    ids = [pool.one.run.tasks[arm.task].ids[row] for row in pool.rows]
    told = replay(pool.drawn, random_orders(ids, arm.pool))
    sizes = tuple(sizes_of(arm.pool))
    right = np.clip(selected(arm.rule, pool.pool, sizes)[0], 0.0, 1.0)
    for place, size in enumerate(sizes):
        if arm.rule == "majority" and size == arm.pool:
            yield whole_vote(pool, told)
            continue
        way = Way(spec_of(replace(strategy, n=size)), arm.verifier, "")
        count = np.full((len(right), 1), float(size))
        yield Outcomes(way, right[:, [place]], pool.costs[:, [place]], count, told.share[:, :, size - 1])
    if arm.rule == "majority":
        for spec in RULES:
            yield stopped(told, strategy, spec)


def stopped(told: Replay, strategy: Any, spec: str) -> Outcomes:
    """The vote of a pool that a rule stops; it launches no sample that its stop could make vain."""
    stopping = replace(strategy, stop=_rule(spec))
    looked = stops(told, stopping.stop)
    ended = _at(Way(spec_of(stopping), "", ""), told, looked)
    return replace(ended, whole=told.right[..., -1].astype(np.float64))


@cache
def _rule(spec: str) -> StopRule:
    rule: StopRule = build("rule", spec)
    return rule


def _at(way: Way, told: Replay, looked: Ints) -> Outcomes:
    """What had come of so many samples."""
    return Outcomes(
        way, taken(told.right, looked), taken(told.tokens, looked), looked.astype(np.float64),
        taken(told.share, looked),
    )  # fmt: skip


def together(parts: Sequence[Outcomes]) -> Outcomes:
    """What several seeds of one way came to, side by side."""
    if len({part.way for part in parts}) != 1:
        raise TraceError("outcomes of different ways to spend do not go together")
    right, tokens, samples, share = (
        np.concatenate(same, axis=1)
        for same in zip(*((part.right, part.tokens, part.samples, part.share) for part in parts), strict=True)
    )
    wholes = [part.whole for part in parts if part.whole is not None]
    whole = np.concatenate(wholes, axis=1) if len(wholes) == len(parts) else None
    return Outcomes(parts[0].way, right, tokens, samples, share, whole)
