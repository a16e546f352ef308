"""How good a verifier is: its AUROC, and the accuracy of selection by its rating, by votes, and at random."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reasoner.answers import TextSpace
from reasoner.types import Answer
from reasoner.voting import Tally

SUBSETS = 200
"""Random subsets of a question's samples; an accuracy at n is their mean."""
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Rated:
    """The answer of a sequence and the verifier's value, both None without an answer, and whether it is right."""

    answer: Answer | None
    right: bool
    value: float | None


class Estimate(NamedTuple):
    """A mean over questions with its 95 % interval, by bootstrap over questions."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class Selection(NamedTuple):
    """Accuracies at n samples per question, and the gain of two ways of selecting over the majority."""

    n: int
    random: Estimate
    majority: Estimate
    argmax: Estimate
    weighted: Estimate
    coverage: Estimate
    argmax_gain: Estimate
    weighted_gain: Estimate


def auroc(values: Sequence[float], right: Sequence[bool]) -> float | None:
    """The probability that a right answer is rated above a wrong one, ties count half; None without both kinds."""
    labels = np.asarray(right, dtype=bool)
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return None
    ranks = stats.rankdata(values)
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


def pooled_auroc(questions: Sequence[Sequence[Rated]], *, seed: int = 0) -> Estimate | None:
    """AUROC over all rated answers; the interval resamples whole questions."""

    def over(groups: Sequence[Sequence[Rated]]) -> float | None:
        return _auroc([rated for group in groups for rated in group])

    value = over(questions)
    if value is None:
        return None
    source = random.Random(seed)
    draws = (over(source.choices(questions, k=len(questions))) for _ in range(RESAMPLES // 10))
    low, high = np.percentile([draw for draw in draws if draw is not None], [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def within_auroc(questions: Sequence[Sequence[Rated]], *, seed: int = 0) -> Estimate | None:
    """The mean AUROC within a question, over the questions that have both a right and a wrong answer."""
    own = [value for value in map(_auroc, questions) if value is not None]
    return estimate(own, seed=seed) if own else None


def _auroc(group: Sequence[Rated]) -> float | None:
    pairs = [(rated.value, rated.right) for rated in group if rated.value is not None]
    return auroc([value for value, _ in pairs], [right for _, right in pairs])


def estimate(values: Sequence[float] | NDArray[np.float64], *, seed: int = 0) -> Estimate:
    """The mean of one value per question, with its interval."""
    sample = np.asarray(values, dtype=np.float64)
    source = np.random.default_rng(seed)
    means = sample[source.integers(0, len(sample), size=(RESAMPLES, len(sample)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(sample.mean()), float(low), float(high))


def selection(questions: Sequence[Sequence[Rated]], n: int, *, seed: int = 0) -> Selection:
    """Accuracies of a random answer, the majority, the best rating and the rated vote at `n` samples per question."""
    rows: list[NDArray[np.float64]] = []
    for index, group in enumerate(questions):
        source = random.Random(f"{seed}-{index}")
        rounds = SUBSETS if n < len(group) else 1
        subsets = (sorted(source.sample(range(len(group)), min(n, len(group)))) for _ in range(rounds))
        rows.append(np.mean([_outcomes([group[i] for i in chosen]) for chosen in subsets], axis=0))
    table = np.asarray(rows)
    columns = [estimate(table[:, column], seed=seed) for column in range(5)]
    gains = [estimate(table[:, column] - table[:, 1], seed=seed) for column in (2, 3)]
    return Selection(n, *columns, *gains)


def _outcomes(samples: Sequence[Rated]) -> list[float]:
    """For one subset: the share of right samples, and whether each way of selecting gives a right answer."""
    return [
        sum(sample.right for sample in samples) / len(samples),
        _chosen(samples, lambda _: 1.0, "sum"),
        _chosen(samples, lambda sample: sample.value or 0.0, "max"),
        _chosen(samples, lambda sample: sample.value or 0.0, "sum"),
        float(any(sample.right for sample in samples)),
    ]


def _chosen(samples: Sequence[Rated], weight: Callable[[Rated], float], by: str) -> float:
    # Any space that compares by key: the keys are those of the answers' own space.
    tally = Tally(TextSpace(), by="max" if by == "max" else "sum")
    for index, sample in enumerate(samples):
        tally.add(sample.answer, index=index, weight=weight(sample))
    leader = tally.vote_state().leader
    chosen = [sample for sample in samples if leader and sample.answer and sample.answer.key == leader.key]
    return float(any(sample.right for sample in chosen))
