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

from reasoner.budget import Cost
from reasoner.registry import build, spec_of
from reasoner.stopping.rules import BetaRule, FirstOf, Lossless, smoothed_share
from reasoner.stopping.vote_posteriors import most_lost
from reasoner.strategy import StopRule
from reasoner.types import Answer, Vote, VoteState
from reasoner.voting import MAX_STREAK
from reasoner_evals.runs.measures import ArmRead, PoolArrays, as_run, expected_costs, pool_of, selected, spent, spread
from reasoner_evals.runs.reading import COSTS, SILENT
from reasoner_evals.runs.records import Arm, counted_records
from reasoner_evals.stats import Bools, Floats, Ints

T = TypeVar("T", bound=np.generic)

ORDERS: Final = 20
MOST_ORDERS: Final = 200
REPLAYS: Final = 60_000
"""Each pool is replayed in so many random orders divided by the number of questions, within these limits.

The order of the samples adds noise of its own: in 20 orders of 637 questions a loss of 0.13 points looked like 0.27.
"""
ALL_ORDERS: Final = 120
"""If there are at most so many orders, each is taken once."""
_BLOCK: Final = 16
"""Questions that are replayed at once, to bound memory."""
THETAS: Final = (0.995, 0.99, 0.98, 0.95, 0.9)
"""Of rules that lose little on any question (`most_lost`), safest first."""
NEAR: Final = 0.005
"""The safe rule loses at most so much accuracy on any question."""
RULES: Final = (
    "lossless",
    *(f"first_of(rules=[lossless,beta(theta={theta:g})])" for theta in THETAS),
    "lock_in:delta=0.05", "lock_in:delta=0.1", "first_of(rules=[lossless,beta(theta=0.8)])",
)  # fmt: skip
"""The stop rules that are replayed on a pool, safest first: promises are tested in this order."""
SHORT: Final = ((8, "lock_in:delta=0.1"), (5, "lossless"), (4, "lock_in:delta=0.1"), (3, "lossless"))
"""Also votes of so few samples with these rules: the best arms where more votes gain little."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of Q questions, N each, in launch order."""

    right: Bools
    """[Q, N]."""
    classes: Ints
    """[Q, N]: equal within a question for equivalent answers; `SILENT` without an answer."""
    own: Floats
    """[Q, N]: the tokens of each sample without its prompt."""
    first_prompt: Floats
    """[Q]: prompt tokens that the first sample computes."""
    further_prompt: Floats
    """[Q]: prompt tokens that each further sample computes."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Q pools in R orders, after 1 to N samples: arrays are [Q, R, N]."""

    right: Bools
    """Whether the leader is right; False without a vote."""
    tokens: Floats
    """The cost of these samples."""
    share: Floats
    """The leader's smoothed share: (votes + 1) / (samples + 2)."""
    indices: Ints
    """Indices into `vote_states`."""
    vote_states: tuple[VoteState, ...]
    """The distinct vote states; their answers are placeholders."""


def orders_for(questions: int) -> int:
    """How many random orders so many pools are replayed in."""
    return max(ORDERS, min(REPLAYS // max(questions, 1), MOST_ORDERS))


def random_orders(ids: Sequence[str], n: int) -> Ints:
    """[Q, R, n]: all orders of few samples, else random ones that depend only on the question's id."""
    if math.factorial(min(n, 20)) <= ALL_ORDERS:
        every = np.array(list(itertools.permutations(range(n))))
        return np.broadcast_to(every, (len(ids), *every.shape))
    rows = np.tile(np.arange(n), (orders_for(len(ids)), 1))
    digests = [hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in ids]
    return np.stack([np.random.default_rng(int.from_bytes(d, "little")).permuted(rows, axis=1) for d in digests])


def replay(samples: Samples, orders: Ints) -> Replay:
    """Replay pools in these orders, [Q, R, N], or in the first samples of each."""
    known: dict[bytes, int] = {}
    blocks = [_block(samples, orders, slice(at, at + _BLOCK), known) for at in range(0, len(orders), _BLOCK)]
    right, tokens, share, indices = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    n = orders.shape[-1]
    return Replay(right, tokens, share, indices, tuple(_vote_state(key, n) for key in known))


def _block(samples: Samples, orders: Ints, rows: slice, known: dict[bytes, int]) -> tuple[Bools, Floats, Floats, Ints]:
    order = orders[rows]
    classes, right = _ordered(samples.classes[rows], order), _ordered(samples.right[rows], order)
    own = _ordered(samples.own[rows], order)
    n = order.shape[-1]
    member = classes[..., None] == np.arange(max(int(classes.max()), 0) + 1)
    votes = member.cumsum(axis=2, dtype=np.int16)
    first = member.argmax(axis=2)
    # Ties go to the class of the member that was launched first; it represents the class.
    leader = (votes.astype(np.int64) * (n + 1) - first[:, :, None, :]).argmax(axis=-1)
    top = votes.max(axis=-1)
    representative = np.take_along_axis(first, leader, axis=-1)
    count = np.arange(1, n + 1)
    prompt = samples.first_prompt[rows, None, None] + samples.further_prompt[rows, None, None] * (count - 1)
    heads = np.stack([np.broadcast_to(count, top.shape), _streaks(classes)], axis=-1)
    keys = np.concatenate([heads, -np.sort(-votes, axis=-1)], axis=-1).astype(np.int16)
    keys = keys.reshape(-1, keys.shape[-1])
    firsts, inverse = _distinct(keys)
    # Without trailing zeros a key does not depend on the other questions of its block.
    numbers = [known.setdefault(key[: 2 + np.count_nonzero(key[2:])].tobytes(), len(known)) for key in keys[firsts]]
    indices = np.array(numbers)[inverse].reshape(top.shape)
    leader_right = np.take_along_axis(right, representative, axis=-1) & (top > 0)
    return leader_right, own.cumsum(axis=-1) + prompt, smoothed_share(top, count), indices


def _distinct(rows: NDArray[np.int16]) -> tuple[Ints, Ints]:
    """The indices of distinct rows, and for each row which of them it equals.

    As `np.unique` by rows, but several times as fast: it sorts integers, four columns at a time.
    """
    words = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).view(np.int64)
    firsts, same = np.zeros(1, dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    for word in words.T:
        _, numbers = np.unique(word, return_inverse=True)
        _, firsts, same = np.unique(same * (numbers.max() + 1) + numbers, return_index=True, return_inverse=True)
    return firsts, same


def _ordered(values: NDArray[T], order: Ints) -> NDArray[T]:
    """[q, R, n]: the values [q, N] of each question in each of its orders, which may be of the first n samples."""
    return np.take_along_axis(np.broadcast_to(values[:, None], (*order.shape[:2], values.shape[1])), order, axis=-1)


def _streaks(classes: Ints) -> Ints:
    """The number of latest samples that agree, after each sample; 0 if the latest has no answer."""
    streak = np.zeros_like(classes)
    streak[..., 0] = classes[..., 0] != SILENT
    for at in range(1, classes.shape[-1]):
        same = classes[..., at] == classes[..., at - 1]
        streak[..., at] = np.where(classes[..., at] == SILENT, 0, np.where(same, streak[..., at - 1] + 1, 1))
    return np.minimum(streak, MAX_STREAK)


def _vote_state(key: bytes, max_samples: int) -> VoteState:
    samples, streak, *counts = np.frombuffer(key, dtype=np.int16).tolist()
    votes = tuple(Vote(Answer(str(rank), str(rank)), float(count), count) for rank, count in enumerate(counts))
    return VoteState(votes, samples, len(counts) > 1 and counts[0] == counts[1], streak, max_samples)


def stops(replayed: Replay, rule: StopRule) -> Ints:
    """[Q, R]: the number of samples when the rule stopped the vote, or all of them.

    The rule is asked once about each vote state, so it may depend on nothing else: costs are not available.
    """
    questions, orders, n = replayed.indices.shape
    indices, verdicts = replayed.indices.reshape(-1, n), np.full(len(replayed.vote_states), -1, dtype=np.int8)
    counts, running = np.full(len(indices), n), np.arange(len(indices))
    for at in range(n):
        current = indices[running, at]
        for index in np.unique(current[verdicts[current] < 0]).tolist():
            verdicts[index] = rule.stop(replayed.vote_states[index], Cost()) is not None
        ended = verdicts[current] == 1
        counts[running[ended]] = at + 1
        running = running[~ended]
    return counts.reshape(questions, orders)


def after(values: Floats | Bools, counts: Ints) -> Floats:
    """[Q, R]: of values [Q, R, N], those after these numbers of samples."""
    return np.take_along_axis(values, counts[..., None] - 1, axis=-1)[..., 0].astype(np.float64)


def sizes_of(pool: int) -> Iterator[int]:
    """The numbers of samples that a profile covers for a pool: 1, 3, powers of two from 4, and the whole pool."""
    yield from (size for size in (1, 3, *(1 << power for power in range(2, pool.bit_length()))) if size < pool)
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
    whole: Floats | None = None
    """For a stopped vote, whether the vote of all samples in the same order is right."""
    most: float = 1.0
    """The most that any question can lose against that vote."""

    def of(self, rows: Bools | Ints) -> "Outcomes":
        """The outcomes of some questions."""
        whole = None if self.whole is None else self.whole[rows]
        chosen = {name: getattr(self, name)[rows] for name in ("right", "tokens", "samples", "share")}
        return replace(self, whole=whole, **chosen)


@dataclass(frozen=True, slots=True)
class PooledArm:
    """An arm that was run as a pool, on q questions with all its samples."""

    read: ArmRead
    rows: Ints
    """[q]: the indices of these questions in the task."""
    pool: PoolArrays
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
    right, tokens, samples, share = (
        column[rows, None] for column in (values["right"], values["tokens"], samples, share)
    )
    return Outcomes(Way(arm.strategy, arm.verifier, arm.budget), right, tokens, samples, share)


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
    chosen = PoolArrays(pool.right[rows], pool.answers[rows], pool.scores[rows], pool.truncated[rows])
    return PooledArm(read, rows, chosen, tokens, samples)


def _own_tokens(read: ArmRead) -> Floats:
    """[Q, N]: the tokens of each reply without its prompt, its rating included."""
    rows = {question_id: row for row, question_id in enumerate(read.run.tasks[read.data.arm.task].ids)}
    tokens = np.zeros((len(rows), read.data.arm.pool))
    for record in counted_records(read.run.folder.arm(read.data.arm.name)):
        replies = record.pool[: tokens.shape[1]]
        tokens[rows[record.question_id], : len(replies)] = [
            reply.generated_tokens + reply.verifier_tokens for reply in replies
        ]
    return tokens


def from_pool(pooled: PooledArm) -> Iterator[Outcomes]:
    """All outcomes that a pool predicts, from the safest on: stopped and short votes, then every smaller size.

    A size is the mean over subsets of the samples; a rule is the mean over orders of the samples.
    """
    arm = pooled.arm
    strategy: Any = build("strategy", arm.strategy)
    orders = random_orders(pooled.ids, arm.pool)
    replayed = replay(pooled.samples, orders)
    if arm.rule == "majority":
        for spec in RULES:
            yield stopped(replayed, strategy, spec)
        for size, spec in SHORT:
            if arm.pool > size:
                short = stopped(replay(pooled.samples, orders[..., :size]), replace(strategy, n=size), spec)
                yield replace(short, whole=replayed.right[..., -1].astype(np.float64), most=1.0)
    sizes = tuple(sizes_of(arm.pool))
    right = np.clip(selected(arm.rule, pooled.pool, sizes), 0.0, 1.0)
    for column, size in reversed(list(enumerate(sizes))):
        if arm.rule == "majority" and size == arm.pool:
            # The baseline; where answers tie, the order decides.
            yield replace(_after(pooled.way(), replayed, np.full(replayed.right.shape[:2], size)), most=0.0)
            continue
        way = Way(spec_of(replace(strategy, n=size)), arm.verifier, "")
        count = np.full((len(right), 1), float(size))
        yield Outcomes(way, right[:, [column]], pooled.costs[:, [column]], count, replayed.share[:, :, size - 1])


def most_lost_by(rule: StopRule, n: int) -> float:
    """The most accuracy that a rule can lose on any question, in the mean over orders; 1 where that is not known."""
    if isinstance(rule, Lossless):
        return 0.0
    if isinstance(rule, FirstOf):
        return min(1.0, sum(most_lost_by(each, n) for each in rule.rules))
    return most_lost(rule.theta, n) if isinstance(rule, BetaRule) else 1.0


def safe_rule(n: int) -> str:
    """The cheapest rule that loses at most `NEAR` on any question of so many samples."""
    return [spec for spec in RULES if most_lost_by(rule(spec), n) <= NEAR][-1]


def stopped(replayed: Replay, strategy: Any, spec: str) -> Outcomes:
    """The vote of a pool that a rule stops, without the wasted samples."""
    stopping = replace(strategy, stop=rule(spec), order="launch")
    ended = _after(Way(spec_of(stopping), "", ""), replayed, stops(replayed, stopping.stop))
    whole = replayed.right[..., -1].astype(np.float64)
    return replace(ended, whole=whole, most=most_lost_by(stopping.stop, strategy.n))


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
    return Outcomes(parts[0].way, right, tokens, samples, share, whole, parts[0].most)
