"""What a profile holds, made from the arms of a run."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, cast, get_args

import numpy as np

from reasoner.calibration.profile import ArmRow, Bins, Family, Signal, Trust
from reasoner.errors import UsageError
from reasoner_evals.calibration.outcomes import (
    Outcomes,
    PooledArm,
    Way,
    concatenated,
    from_pool,
    measured,
    pooled_arm,
    rule,
    safe_rule,
    usable,
)
from reasoner_evals.runs.measures import ArmReading
from reasoner_evals.runs.reading import SILENT
from reasoner_evals.stats import Bools, Floats, Ints

FIRST: Final = 4
"""Samples that the signal `split` looks at."""
SPLITS: Final = (0.5, 0.75, 1.0)
MIN_QUESTIONS: Final = 30
"""A bin of fewer questions is merged with a neighbour."""
PARTS: Final = 3
MAX_PARTS: Final = 20
PRIOR_MEAN: Final = (0.0, 1.0)
"""The prior of a trust curve's intercept and slope: the chance is the share itself."""
PRIOR_SD, PRIOR_QUESTIONS = (0.2, 0.1), 15
"""How far the curve may be from its prior with `PRIOR_QUESTIONS` or fewer; it grows with the root of their number."""
FEW, SHOWN = 3, NormalDist().inv_cdf(0.95)
"""Where votes may end after so few samples, shorter ones are surer on all recorded answers (bench/controller.py);
elsewhere it must show by this many standard errors."""
EDGE: Final = 1e-6
LOSS_DIGITS: Final = 4
DIGITS: Final = 12
"""Decimals of a sum: further ones are rounding noise."""
SHARE_DIGITS: Final = 6
"""Decimals of a share in a trust curve."""


@dataclass(frozen=True, slots=True)
class Binning:
    """A signal and the number of bins, which have about equal size; 0 is the signal's default."""

    signal: Signal = "none"
    parts: int = 0

    @classmethod
    def parse(cls, text: str) -> "Binning":
        """The binning of a signal, or with a number of bins as in `prompt:4`. Raises UsageError for other texts."""
        name, colon, count = text.partition(":")
        if name not in get_args(Signal):
            raise UsageError(
                f"--bins must be one of {', '.join(get_args(Signal))}, as in split:3 (got {text!r})"
            )
        if not colon:
            return cls(cast("Signal", name))
        if name == "none":
            raise UsageError(
                f"--bins none makes one bin and takes no number (got {text!r})"
            )
        if not (
            count.isascii()
            and count.isdigit()
            and len(count) <= 2
            and 2 <= int(count) <= MAX_PARTS
        ):
            raise UsageError(
                f"--bins must have 2 to {MAX_PARTS} bins, as in {name}:3 (got {text!r})"
            )
        return cls(cast("Signal", name), int(count))

    def bins(self, values: Floats) -> Bins:
        """The edges between questions with these signals [Q]; small ones are merged with a neighbour."""
        if self.signal == "none":
            return Bins()
        if self.signal == "split" and not self.parts:
            edges = list(SPLITS)
        else:
            parts = self.parts or PARTS
            edges = np.quantile(
                values, [part / parts for part in range(1, parts)]
            ).tolist()
        # An edge at the minimum would leave the bin below it empty.
        edges = sorted({edge for edge in edges if edge > values.min()})
        while edges:
            sizes = np.bincount(
                np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1
            ).tolist()
            smallest = sizes.index(min(sizes))
            if sizes[smallest] >= MIN_QUESTIONS:
                break
            # The smallest bin is merged with the smaller of its neighbours.
            below, above = (
                sizes[i] if 0 <= i < len(sizes) else math.inf
                for i in (smallest - 1, smallest + 1)
            )
            del edges[smallest - 1 if below <= above else smallest]
        return Bins(signal=self.signal, edges=tuple(edges)) if edges else Bins()


def check_signal(binning: Binning, pool: int) -> None:
    """Raise UsageError if a vote of `pool` samples cannot provide the signal."""
    if binning.signal == "split" and pool < FIRST:
        raise UsageError(
            f"--bins split looks at the first {FIRST} samples of a vote, and the largest has {pool}: add "
            "-s self_consistency:n=16, or choose other bins"
        )


def signals(signal: Signal, pooled: PooledArm, lengths: Mapping[str, int]) -> Floats:
    """[q]: the signal of each question of a pool, of at least `FIRST` samples for `split`."""
    if signal == "prompt":
        return np.array([float(lengths[name]) for name in pooled.ids])
    if signal == "split":
        return np.array(
            [_split(classes) for classes in pooled.samples.classes[:, :FIRST]]
        )
    return np.zeros(len(pooled.ids))


def _split(classes: Ints) -> float:
    """The leader's share of the votes of the first samples; 0 without an answer."""
    votes = Counter(number for number in classes.tolist() if number != SILENT)
    return max(votes.values()) / votes.total() if votes else 0.0


def family_of(
    arms: Sequence[ArmReading],
    binning: Binning,
    lengths: Mapping[str, int],
    origin: str,
) -> Family | None:
    """The family of a task by these arms, over the questions with a result in every arm; None without one, or a vote.

    All arms ask the same questions, whose texts have `lengths` by id.
    """
    rows = np.flatnonzero(np.logical_and.reduce([usable(read) for read in arms]))
    votes = [read for read in arms if read.data.arm.rule == "majority"]
    if not len(rows) or not votes:
        return None
    pools = [pooled_arm(read, rows) for read in arms if read.data.arm.pool]
    # The largest vote, and the first of several.
    reference = max(
        (pool for pool in pools if pool.arm.rule == "majority"),
        key=lambda pool: pool.arm.pool,
    )
    by_way: dict[Way, list[Outcomes]] = {}
    predicted = (outcomes for pool in pools for outcomes in from_pool(pool))
    for outcomes in (
        *predicted,
        *(measured(read, rows) for read in arms if not read.data.arm.pool),
    ):
        by_way.setdefault(outcomes.way, []).append(outcomes)
    # Several seeds of one way are concatenated.
    ways = {way: concatenated(parts) for way, parts in by_way.items()}
    values = signals(binning.signal, reference, lengths)
    bins = binning.bins(values)
    indices = np.searchsorted(bins.edges, values, side="right")
    baseline, samples = reference.way(), reference.samples
    return Family(
        task=reference.arm.task,
        questions=len(values),
        bins=bins,
        arms=tuple(
            row
            for index in range(bins.count)
            for row in bin_rows(ways, baseline, indices == index, index)
        ),
        baseline=baseline.strategy,
        safe=reference.way(
            stop=rule(safe_rule(reference.arm.pool)), order="launch"
        ).strategy,
        sample_tokens=_rounded(
            (samples.further_prompt + samples.own.mean(axis=1)).mean()
        ),
        origin=origin,
    )


def bin_rows(
    ways: Mapping[Way, Outcomes], baseline: Way, rows: Bools, index: int
) -> Iterator[ArmRow]:
    """The rows of a bin with this index, by the outcomes of these questions, a mask [Q]."""
    inside = {way: outcomes.of(rows) for way, outcomes in ways.items()}
    standard = inside[baseline].right.mean(axis=1)
    for way, outcomes in inside.items():
        right = outcomes.right.mean(axis=1)
        yield ArmRow(
            strategy=way.strategy,
            verifier=way.verifier,
            budget=way.budget,
            bin=index,
            questions=len(right),
            right=_rounded(right.sum()),
            losses=counted(outcomes, standard)
            if way != baseline
            else ((0.0, len(right)),),
            most=outcomes.most,
            orders=outcomes.share.shape[1],
            tokens=_rounded(outcomes.tokens.mean()),
            sequential_tokens=None
            if math.isnan(mean := outcomes.sequential.mean())
            else _rounded(mean),
            samples=_rounded(outcomes.samples.mean()),
            trust=trust_in(outcomes),
        )


def counted(outcomes: Outcomes, standard: Floats) -> tuple[tuple[float, int], ...]:
    """What an arm loses on questions where the vote of all samples is right so often, [Q], and on how many of them.

    A stopped vote is compared with the vote of all samples in the same order, so that chance differences between orders
    do not count. Losses are rounded up: a promise must not be too good.
    """
    whole = standard if outcomes.whole is None else outcomes.whole.mean(axis=1)
    losses = (
        np.ceil((whole - outcomes.right.mean(axis=1)).round(DIGITS) * 10**LOSS_DIGITS)
        / 10**LOSS_DIGITS
    )
    values, counts = np.unique(losses + 0.0, return_counts=True)
    return tuple(zip(values.tolist(), counts.tolist(), strict=True))


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)


def trust_in(ended: Outcomes) -> Trust:
    """The chance of being right by the final smoothed share: a logistic curve, with equal weight for each question.

    The prior is the share itself: with few questions, which would fit their luck, the curve stays near it, with many it
    is the most likely one. What was answered is counted in the first order of each question.
    """
    from scipy import optimize, special

    # The outcome of a size is a mean over its orders.
    right = np.repeat(ended.right, ended.share.shape[1] // ended.right.shape[1], axis=1)
    shares, inverse = np.unique(
        ended.share.ravel().round(SHARE_DIGITS), return_inverse=True
    )
    weight = np.bincount(inverse.ravel()) / ended.share.shape[1]
    good = np.bincount(inverse.ravel(), weights=right.ravel()) / ended.share.shape[1]
    odds = special.logit(np.clip(shares, EDGE, 1 - EDGE))
    spread = np.array(PRIOR_SD) * math.sqrt(
        max(1.0, len(ended.share) / PRIOR_QUESTIONS)
    )
    if ended.samples.max() == 1:
        # The share of a single sample says nothing: the intercept may be further from its prior.
        spread[0] = max(spread[0], 0.5)

    def surprise(curve: Floats) -> float:
        scores = curve[0] + curve[1] * odds
        prior = (((curve - PRIOR_MEAN) / spread) ** 2).sum() / 2
        return float(prior + (weight * np.logaddexp(0, scores) - good * scores).sum())

    intercept, slope = optimize.minimize(
        surprise, np.array(PRIOR_MEAN), bounds=((None, None), (0.05, None))
    ).x.tolist()
    # Rounded down, so that a share is not below itself.
    scale = 10**SHARE_DIGITS
    seen, first = np.unique(
        np.floor(ended.share[:, 0] * scale) / scale, return_inverse=True
    )
    # An expected outcome counts as right from one half on.
    answered, hits = (
        np.bincount(first.ravel(), weights=values).astype(int).tolist()
        for values in (np.full(len(first), 1.0), right[:, 0] >= 0.5)
    )
    return Trust(
        intercept=round(intercept, 6),
        slope=round(slope, 6),
        length=round(_ranking_length(ended, right, inverse.ravel()), 2),
        shares=tuple(seen.tolist()),
        answered=tuple(answered),
        right=tuple(hits),
    )


def _ranking_length(ended: Outcomes, right: Floats, level: Ints) -> float:
    """The geometric mean of the lengths, if of equal shares those of shorter samples are right more often; else 0.

    They are where votes end after two or three samples, as most shares are equal; elsewhere a score test must show it.
    `level` numbers the share of each answer.
    """
    if not (ended.length > 0).all():
        return 0.0
    logs, size = np.log(ended.length), np.bincount(level)
    longer, better = (
        x.ravel() - (np.bincount(level, weights=x.ravel()) / size)[level]
        for x in (logs, right)
    )
    scores = -(longer * better).reshape(logs.shape).sum(axis=1)
    shown = 1 < ended.samples.min() <= FEW or scores.sum() > SHOWN * math.sqrt(
        scores @ scores
    )
    return math.exp(logs.mean()) if shown else 0.0
