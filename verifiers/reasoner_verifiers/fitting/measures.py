"""How good a verifier is: its discrimination, and what selecting by it buys over voting and over chance."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reasoner.answers import TextSpace
from reasoner.types import Answer
from reasoner.votes import Tally

SUBSETS = 200
"""Random subsets of a question's samples over which an accuracy at n is averaged."""
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Rated:
    """One sequence: its answer, whether that is right, and the verifier's value; no answer, no value."""

    answer: Answer | None
    right: bool
    value: float | None


class Estimate(NamedTuple):
    """A mean over questions and its 95 % interval, by bootstrap over questions."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class Selection(NamedTuple):
    """Accuracies at n samples a question, and what two ways of selecting gain over the majority."""

    n: int
    random: Estimate
    majority: Estimate
    argmax: Estimate
    weighted: Estimate
    coverage: Estimate
    argmax_gain: Estimate
    weighted_gain: Estimate


def auroc(values: Sequence[float], right: Sequence[bool]) -> float | None:
    """The chance that a right one is rated above a wrong one, ties half; None where one of the two is missing."""
    labels = np.asarray(right, dtype=bool)
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return None
    ranks = stats.rankdata(np.asarray(values, dtype=np.float64))
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


def pooled_auroc(questions: Sequence[Sequence[Rated]], *, seed: int = 0) -> Estimate | None:
    """AUROC over all rated answers, with questions resampled whole for its interval."""
    rated = [[(one.value, one.right) for one in group if one.value is not None] for group in questions]

    def over(places: Sequence[int]) -> float | None:
        pairs = [pair for place in places for pair in rated[place]]
        return auroc([value for value, _ in pairs], [right for _, right in pairs])

    value = over(range(len(rated)))
    if value is None:
        return None
    source = random.Random(seed)
    draws = (over(source.choices(range(len(rated)), k=len(rated))) for _ in range(RESAMPLES // 10))
    low, high = np.percentile([draw for draw in draws if draw is not None], [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def within_auroc(questions: Sequence[Sequence[Rated]], *, seed: int = 0) -> Estimate | None:
    """The mean of the questions' own AUROCs, over those with a right and a wrong answer: what selection lives on."""
    own = [
        found
        for group in questions
        if (found := auroc(*_columns([one for one in group if one.value is not None]))) is not None
    ]
    return estimate(own, seed=seed) if own else None


def _columns(group: Sequence[Rated]) -> tuple[list[float], list[bool]]:
    return [one.value or 0.0 for one in group], [one.right for one in group]


def estimate(values: Sequence[float] | NDArray[np.float64], *, seed: int = 0) -> Estimate:
    """The mean of one value a question, with its interval."""
    sample = np.asarray(values, dtype=np.float64)
    source = np.random.default_rng(seed)
    means = sample[source.integers(0, len(sample), size=(RESAMPLES, len(sample)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(sample.mean()), float(low), float(high))


def selection(questions: Sequence[Sequence[Rated]], n: int, *, seed: int = 0) -> Selection:
    """What answering by chance, majority, best rating and rated vote gets right at `n` samples a question."""
    rows: list[NDArray[np.float64]] = []
    for place, group in enumerate(questions):
        source = random.Random(f"{seed}-{place}")
        rounds = SUBSETS if n < len(group) else 1
        subsets = (sorted(source.sample(range(len(group)), min(n, len(group)))) for _ in range(rounds))
        rows.append(np.mean([_outcomes([group[i] for i in chosen]) for chosen in subsets], axis=0))
    table = np.asarray(rows)
    columns = [estimate(table[:, column], seed=seed) for column in range(5)]
    gains = [estimate(table[:, column] - table[:, 1], seed=seed) for column in (2, 3)]
    return Selection(n, *columns, *gains)


def _outcomes(drawn: Sequence[Rated]) -> list[float]:
    """Of one subset: the share that is right, and whether each way of answering is."""
    return [
        sum(one.right for one in drawn) / len(drawn),
        _chosen(drawn, lambda _: 1.0, "sum"),
        _chosen(drawn, lambda one: one.value or 0.0, "max"),
        _chosen(drawn, lambda one: one.value or 0.0, "sum"),
        float(any(one.right for one in drawn)),
    ]


def _chosen(drawn: Sequence[Rated], weight: Callable[[Rated], float], by: str) -> float:
    # Answers carry the keys of their own space, which are all that counts here.
    tally = Tally(TextSpace(), by="max" if by == "max" else "sum")
    for index, one in enumerate(drawn):
        tally.add(one.answer, index=index, weight=weight(one))
    leader = tally.standing().leader
    return float(leader is not None and any(one.right for one in drawn if one.answer and one.answer.key == leader.key))
