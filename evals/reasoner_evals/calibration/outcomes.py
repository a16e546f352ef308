"""The outcomes of each way to spend on each question: as it was run, and as a pool in many orders predicts them."""

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from reasoner.registry import build, spec_of
from reasoner.stopping.rules import (
    LAUNCH_WINDOW,
    BetaRule,
    FirstOf,
    Lossless,
    Order,
    smoothed_share,
)
from reasoner.stopping.vote_posteriors import most_lost
from reasoner.strategy import StopRule
from reasoner_evals.calibration.clock import SampleMatrix, StoppedVote
from reasoner_evals.runs.measures import (
    ArmReading,
    PoolArrays,
    as_run,
    expected_costs,
    pool_of,
    selected,
    spent,
    spread,
)
from reasoner_evals.runs.records import Arm
from reasoner_evals.stats import Bools, Floats, Ints

T = TypeVar("T", bound=np.generic)

ORDERS: Final = 20
MOST_ORDERS: Final = 200
REPLAYS: Final = 60_000
"""Each pool is replayed in this many random orders, divided by the number of questions, within these limits.

The order of the samples adds noise of its own: in 20 orders of 637 questions a loss of 0.13 points looked like 0.27.
"""
ALL_ORDERS: Final = 120
"""If there are at most this many orders, each is taken once."""
THETAS: Final = (0.999, 0.995, 0.99, 0.98, 0.95, 0.9)
"""Of rules that lose little on any question (`most_lost`), safest first."""
NEAR: Final = 0.005
"""The safe rule loses at most this much accuracy on any question."""
RULES: Final = (
    "lossless",
    *(f"first_of(rules=[lossless,beta(theta={theta:g})])" for theta in THETAS),
    "lock_in:delta=0.05",
    "lock_in:delta=0.1",
    "first_of(rules=[lossless,beta(theta=0.8)])",
)
"""The stop rules that are replayed on a pool in launch order, safest first: promises are tested in this order."""
BY_LENGTH: Final = (
    "lossless",
    "lock_in:delta=0.01",
    "beta:theta=0.95",
    "beta:theta=0.9",
)
"""Those that are replayed by length, with as many samples in flight as the rule asks for."""
SHORT: Final = (
    (8, "lock_in:delta=0.1"),
    (5, "lossless"),
    (4, "lock_in:delta=0.1"),
    (3, "lossless"),
)
"""Also votes of so few samples with these rules: the best arms where more votes gain little."""


@dataclass(frozen=True, slots=True)
class Samples(SampleMatrix):
    """The samples of Q questions, N each, as one vote a question, with their prompts."""

    first_prompt: Floats
    """[Q]: prompt tokens that the first sample computes."""
    further_prompt: Floats
    """[Q]: prompt tokens that each further sample computes."""


def orders_for(questions: int) -> int:
    """How many random orders this many pools are replayed in."""
    return max(ORDERS, min(REPLAYS // max(questions, 1), MOST_ORDERS))


def random_orders(ids: Sequence[str], n: int) -> Ints:
    """[Q, R, n]: all orders of few samples, else random ones that depend only on the question's id."""
    if math.factorial(min(n, 20)) <= ALL_ORDERS:
        every = np.array(list(itertools.permutations(range(n))))
        return np.broadcast_to(every, (len(ids), *every.shape))
    rows = np.tile(np.arange(n), (orders_for(len(ids)), 1))
    digests = [
        hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for name in ids
    ]
    return np.stack(
        [
            np.random.default_rng(int.from_bytes(d, "little")).permuted(rows, axis=1)
            for d in digests
        ]
    )


def _ordered(values: NDArray[T], order: Ints) -> NDArray[T]:
    """[q, R, n]: the values [q, N] of each question in each of its orders, which may be of the first n samples."""
    return np.take_along_axis(
        np.broadcast_to(values[:, None], (*order.shape[:2], values.shape[1])),
        order,
        axis=-1,
    )


def sizes_of(pool: int) -> Iterator[int]:
    """The numbers of samples that a profile covers for a pool: 1, 3, powers of two from 4, and the whole pool."""
    yield from (
        size
        for size in (1, 3, *(1 << power for power in range(2, pool.bit_length())))
        if size < pool
    )
    yield pool


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
    sequential: Floats
    """nan where they were not counted."""
    length: Floats
    """The mean generated tokens of the samples that voted; 0 where it is unknown."""
    whole: Floats | None = None
    """For a stopped vote, whether the vote of all samples in the same order is right."""
    most: float = 1.0
    """The most that any question can lose against that vote."""

    def of(self, rows: Bools | Ints) -> "Outcomes":
        """The outcomes of some questions."""
        whole = None if self.whole is None else self.whole[rows]
        return replace(
            self, **{name: getattr(self, name)[rows] for name in _COLUMNS}, whole=whole
        )


_COLUMNS: Final = (
    "right",
    "tokens",
    "samples",
    "share",
    "sequential",
    "length",
)
"""Those that every way has."""


@dataclass(frozen=True, slots=True)
class PooledArm:
    """An arm that was run as a pool, on q questions with all its samples."""

    read: ArmReading
    rows: Ints
    """[q]: the indices of these questions in the task."""
    pool: PoolArrays
    """Of these questions, as [q, N]."""
    costs: Floats
    """[q, K]: the expected tokens of each number of samples in `sizes_of`."""
    sequential: Floats
    """[q, K]: the expected sequential tokens."""
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
        return Way(
            spec_of(replace(build("strategy", self.arm.strategy), **options)), "", ""
        )


def usable(read: ArmReading) -> Bools:
    """[Q]: whether a question has a result; errors and answers without a verdict have none."""
    has_result: Bools = ~np.isnan(as_run(read)["right"])
    if read.data.arm.pool:
        has_result &= ~np.isnan(pool_of(read.data).right).any(axis=1)
    return has_result


def measured(read: ArmReading, rows: Ints) -> Outcomes:
    """The outcomes of an arm as it was run."""
    data, arm, values = read.data, read.data.arm, as_run(read)
    samples = data.costs["samples"].astype(np.float64)
    # A share of weighted votes counts as if all samples had equal weight.
    share = smoothed_share(data.share * samples, samples)
    return Outcomes(
        Way(arm.strategy, arm.verifier, arm.budget),
        right=values["right"],
        tokens=values["tokens"],
        samples=samples,
        share=share,
        sequential=values["sequential"],
        length=np.zeros(share.shape),
    ).of(rows[:, None])


def pooled_arm(read: ArmReading, rows: Ints) -> PooledArm:
    """The samples of a pool on these questions, which have all of them."""
    data, pool = read.data, pool_of(read.data)
    n = data.arm.pool
    costs = expected_costs(
        read.run.manifest.model, data, spent(data), tuple(sizes_of(n))
    )
    tokens = np.asarray(
        sum(costs[name] for name in ("prompt", "generated", "verifier", "cancelled"))
    )[rows]
    prompt = spread(data.replies, data.replies.prompt, np.nan, n)[rows]
    first = prompt.max(axis=1)
    further = (prompt.sum(axis=1) - first) / max(n - 1, 1)
    lengths = spread(data.replies, data.replies.generated, 0, n)[rows]
    own = lengths + spread(data.replies, data.replies.verifier, 0, n)[rows]
    # Costs that belong to no sample, such as failed attempts, are shared equally: the total is what was spent.
    rest = tokens[:, -1] - first - further * (n - 1) - own.sum(axis=1)
    return PooledArm(
        read,
        rows,
        PoolArrays(
            pool.right[rows],
            pool.answers[rows],
            pool.scores[rows],
            pool.truncated[rows],
        ),
        costs=tokens,
        sequential=costs["sequential"][rows],
        samples=Samples(
            pool.right[rows] == 1,
            pool.answers[rows],
            lengths,
            own + rest[:, None] / n,
            first,
            further,
        ),
    )


def from_pool(pooled: PooledArm) -> Iterator[Outcomes]:
    """All outcomes that a pool predicts, from the safest on: stopped and short votes, then every smaller size.

    A size is the mean over subsets of the samples; a rule is the mean over orders of the samples.
    """
    arm = pooled.arm
    strategy: Any = build("strategy", arm.strategy)
    orders = random_orders(pooled.ids, arm.pool)
    baseline = stopped(pooled.samples, orders, strategy)
    whole = baseline.right
    if arm.rule == "majority":
        for spec in RULES:
            ended = stopped(pooled.samples, orders, strategy, spec)
            yield replace(ended, whole=whole, most=most_lost_by(rule(spec), arm.pool))
        for spec in BY_LENGTH:
            ended = stopped(pooled.samples, orders, strategy, spec, "length")
            yield replace(ended, whole=whole, most=float(spec != "lossless"))
        for size, spec in SHORT:
            if arm.pool > size:
                short = stopped(pooled.samples, orders, replace(strategy, n=size), spec)
                yield replace(short, whole=whole)
    sizes = tuple(sizes_of(arm.pool))
    right = np.clip(selected(arm.rule, pooled.pool, sizes), 0.0, 1.0)
    for column, size in reversed(list(enumerate(sizes))):
        if arm.rule == "majority" and size == arm.pool:
            # The baseline; where answers tie, the order decides.
            yield replace(baseline, most=0.0)
            continue
        smaller = replace(strategy, n=size)
        drawn = stopped(pooled.samples, orders, smaller)
        # Costs vary as in the orders, and their mean is the mean of all subsets.
        tokens = (
            drawn.tokens
            + pooled.costs[:, [column]]
            - drawn.tokens.mean(axis=1, keepdims=True)
        )
        yield replace(
            drawn,
            way=Way(spec_of(smaller), arm.verifier, ""),
            right=right[:, [column]],
            tokens=tokens,
            sequential=pooled.sequential[:, [column]],
        )


def most_lost_by(rule: StopRule, n: int) -> float:
    """The most accuracy that a rule can lose on any question, in the mean over orders; 1 where that is not known."""
    if isinstance(rule, Lossless):
        return 0.0
    if isinstance(rule, FirstOf):
        return min(1.0, sum(most_lost_by(each, n) for each in rule.rules))
    return most_lost(rule.theta, n) if isinstance(rule, BetaRule) else 1.0


def safe_rule(n: int) -> str:
    """The cheapest rule that loses at most `NEAR` on any question of this many samples."""
    return [spec for spec in RULES if most_lost_by(rule(spec), n) <= NEAR][-1]


def stopped(
    samples: Samples,
    orders: Ints,
    strategy: Any,
    spec: str = "",
    order: Order = "launch",
) -> Outcomes:
    """The vote of up to n of these samples that a rule stops, cancelled ones included; without a rule of all n."""
    window = strategy.n if order == "length" else None
    stopping = (
        replace(strategy, stop=rule(spec), order=order, window=window)
        if spec
        else strategy
    )
    each, n = orders.shape[:2], orders.shape[-1]
    drawn = SampleMatrix(
        _ordered(samples.right, orders).reshape(-1, n),
        _ordered(samples.classes, orders).reshape(-1, n),
        _ordered(samples.lengths, orders).reshape(-1, n),
        _ordered(samples.own, orders).reshape(-1, n),
    )
    window = window or (LAUNCH_WINDOW if spec else stopping.n)
    ended = StoppedVote(rule(spec) if spec else None, order, stopping.n, window).follow(
        drawn
    )
    launched = ended.launched.reshape(each)
    prompts = samples.first_prompt[:, None] + samples.further_prompt[:, None] * (
        launched - 1
    )
    return Outcomes(
        Way(spec_of(stopping), "", ""),
        right=ended.right.reshape(each).astype(np.float64),
        tokens=ended.tokens.reshape(each) + prompts,
        samples=launched.astype(np.float64),
        share=ended.share.reshape(each),
        sequential=ended.sequential.reshape(each),
        length=ended.length.reshape(each),
    )


@cache
def rule(spec: str) -> StopRule:
    """A stop rule by its spec."""
    built: StopRule = build("rule", spec)
    return built


def concatenated(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of several seeds of one way, side by side."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in _COLUMNS
    }
    wholes = [part.whole for part in parts if part.whole is not None]
    whole = np.concatenate(wholes, axis=1) if len(wholes) == len(parts) else None
    return replace(parts[0], **columns, whole=whole)
