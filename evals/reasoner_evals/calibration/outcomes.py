"""The outcomes of each way to spend on each question: as it was run, and as a pool of samples predicts them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from reasoner.registry import build, spec_of
from reasoner.stopping.rules import EFFORTS, smoothed_share
from reasoner.strategy import StopRule
from reasoner_evals.calibration.pool_replay import Replay, Samples, after, random_orders, replay, sizes_of, stops
from reasoner_evals.runs.arrays import COSTS, Bools, Floats, Ints
from reasoner_evals.runs.measures import ArmRead, as_run, selected
from reasoner_evals.runs.pools import Pool, expected_costs, pool_of, spent, spread
from reasoner_evals.runs.reading import records_in
from reasoner_evals.runs.records import Arm

SAFE: Final = "lock_in:delta=0.01"
"""The rule that gives the answers of the full vote in 99 of 100 questions by its own law."""
RULES: Final = (
    "lossless", SAFE, "lock_in:delta=0.05", "lock_in:delta=0.1", "beta:theta=0.95", "beta:theta=0.9",
    "beta:theta=0.8", *(f"price:price={price:g}" for price in EFFORTS.values()),
)  # fmt: skip
"""The stop rules that are replayed on a pool."""
SHORT: Final = 4
SHORT_RULE: Final = "lock_in:delta=0.1"
"""Also a vote of so few samples with this rule: the best arm where more votes gain nothing."""


class Way(NamedTuple):
    """A way to spend, as a profile names it."""

    strategy: str
    verifier: str
    budget: str


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of one way: each array is [Q, R] for R orders of the samples or seeds."""

    way: Way
    right: Floats
    """In [0, 1]: an outcome, or the expected one."""
    tokens: Floats
    samples: Floats
    share: Floats
    """The leader's smoothed final share of the vote."""
    whole: Floats | None = None
    """For a stopped vote, whether the vote of all samples in the same order is right."""

    def of(self, rows: Bools | Ints) -> "Outcomes":
        """The outcomes of some questions."""
        whole = None if self.whole is None else self.whole[rows]
        return Outcomes(self.way, self.right[rows], self.tokens[rows], self.samples[rows], self.share[rows], whole)


@dataclass(frozen=True, slots=True)
class PooledArm:
    """An arm that was run as a pool, on q questions with all its samples."""

    read: ArmRead
    rows: Ints
    """[q]: the indices of these questions in the task."""
    pool: Pool
    """Of these questions, as [q, N]."""
    costs: Floats
    """[q, K]: the expected tokens of each number of samples in `sizes_of`."""
    samples: Samples

    @property
    def arm(self) -> Arm:
        """The arm."""
        return self.read.data.arm

    @property
    def ids(self) -> list[str]:
        """[q]: the ids of these questions."""
        ids = self.read.run.tasks[self.arm.task].ids
        return [ids[row] for row in self.rows]

    def way(self, **options: Any) -> Way:
        """Its strategy with these options as a vote without a verifier."""
        return Way(spec_of(replace(build("strategy", self.arm.strategy), **options)), "", "")


def usable(read: ArmRead) -> Bools:
    """[Q]: whether a question has a result; errors and answers without a verdict have none."""
    has_result: Bools = ~np.isnan(as_run(read)["right"])
    if read.data.arm.pool:
        has_result &= ~np.isnan(pool_of(read.data).right).any(axis=1)
    return has_result


def measured(read: ArmRead, rows: Ints) -> Outcomes:
    """The outcomes of an arm as it was run."""
    data, arm, values = read.data, read.data.arm, as_run(read)
    samples = data.costs[:, COSTS.index("samples")].astype(np.float64)
    # A share of weighted votes counts as if all samples had equal weight.
    share = smoothed_share(data.share * samples, samples)
    columns = (column[rows, None] for column in (values["right"], values["tokens"], samples, share))
    return Outcomes(Way(arm.strategy, arm.verifier, arm.budget), *columns)


def pooled_arm(read: ArmRead, rows: Ints) -> PooledArm:
    """The samples of a pool on these questions, which have all of them."""
    data, pool = read.data, pool_of(read.data)
    n = data.arm.pool
    costs = expected_costs(read.run.manifest.model, data, spent(data), tuple(sizes_of(n)))
    tokens = np.asarray(sum(costs[name] for name in ("prompt", "generated", "verifier", "cancelled")))[rows]
    prompt = spread(data.replies, data.replies.prompt, np.nan, n)[rows]
    first = prompt.max(axis=1)
    further = (prompt.sum(axis=1) - first) / max(n - 1, 1)
    own = _own_tokens(read)[rows]
    # Costs that belong to no sample, such as failed attempts, are shared equally: the total is what was spent.
    rest = tokens[:, -1] - first - further * (n - 1) - own.sum(axis=1)
    samples = Samples(pool.right[rows] == 1, pool.answers[rows], own + rest[:, None] / n, first, further)
    chosen = Pool(pool.right[rows], pool.answers[rows], pool.stated[rows], pool.scores[rows], pool.truncated[rows])
    return PooledArm(read, rows, chosen, tokens, samples)


def _own_tokens(read: ArmRead) -> Floats:
    """[Q, N]: the tokens of each reply without its prompt, its rating included."""
    rows = {question_id: row for row, question_id in enumerate(read.run.tasks[read.data.arm.task].ids)}
    tokens = np.zeros((len(rows), read.data.arm.pool))
    for record in records_in(read.run, read.data.arm.name):
        replies = record.pool[: tokens.shape[1]]
        tokens[rows[record.question_id], : len(replies)] = [
            reply.generated_tokens + reply.verifier_tokens for reply in replies
        ]
    return tokens


def from_pool(pooled: PooledArm) -> Iterator[Outcomes]:
    """All outcomes that a pool predicts: every smaller size, a vote stopped by each of `RULES`, and a short one.

    A size is the mean over subsets of the samples; a rule is the mean over orders of the samples.
    """
    arm = pooled.arm
    strategy: Any = build("strategy", arm.strategy)
    orders = random_orders(pooled.ids, arm.pool)
    replayed = replay(pooled.samples, orders)
    sizes = tuple(sizes_of(arm.pool))
    right = np.clip(selected(arm.rule, pooled.pool, sizes)[0], 0.0, 1.0)
    for column, size in enumerate(sizes):
        if arm.rule == "majority" and size == arm.pool:
            # The baseline; where answers tie, the order decides.
            yield _after(pooled.way(), replayed, np.full(replayed.right.shape[:2], size))
            continue
        way = Way(spec_of(replace(strategy, n=size)), arm.verifier, "")
        count = np.full((len(right), 1), float(size))
        yield Outcomes(way, right[:, [column]], pooled.costs[:, [column]], count, replayed.share[:, :, size - 1])
    if arm.rule == "majority":
        for spec in RULES:
            yield stopped(replayed, strategy, spec)
        if arm.pool > SHORT:
            short = stopped(replay(pooled.samples, orders[..., :SHORT]), replace(strategy, n=SHORT), SHORT_RULE)
            yield replace(short, whole=replayed.right[..., -1].astype(np.float64))


def stopped(replayed: Replay, strategy: Any, spec: str) -> Outcomes:
    """The vote of a pool that a rule stops, without the wasted samples."""
    stopping = replace(strategy, stop=rule(spec))
    ended = _after(Way(spec_of(stopping), "", ""), replayed, stops(replayed, stopping.stop))
    return replace(ended, whole=replayed.right[..., -1].astype(np.float64))


@cache
def rule(spec: str) -> StopRule:
    """A stop rule by its spec."""
    built: StopRule = build("rule", spec)
    return built


def _after(way: Way, replayed: Replay, counts: Ints) -> Outcomes:
    """The outcomes after these numbers of samples [Q, R]."""
    right, tokens, share = (after(values, counts) for values in (replayed.right, replayed.tokens, replayed.share))
    return Outcomes(way, right, tokens, counts.astype(np.float64), share)


def concatenated(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of several seeds of one way, side by side."""
    columns = zip(*((part.right, part.tokens, part.samples, part.share) for part in parts), strict=True)
    right, tokens, samples, share = (np.concatenate(same, axis=1) for same in columns)
    wholes = [part.whole for part in parts if part.whole is not None]
    whole = np.concatenate(wholes, axis=1) if len(wholes) == len(parts) else None
    return Outcomes(parts[0].way, right, tokens, samples, share, whole)
