"""Rules that end a question once more samples are not worth what they cost, and the prices that they go by."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reasoner.budget import Cost
from reasoner.controller.odds import best_gain, decided
from reasoner.controller.rule import StopRule, rest
from reasoner.controller.stopping import Lossless
from reasoner.errors import UnknownName, UsageError, require
from reasoner.types import Standing

EFFORTS: Mapping[str, float] = MappingProxyType({"low": 0.01, "medium": 0.002, "high": 0.0002})
"""Prices by name: the gain in the chance of a right answer that a sample of mean cost must bring."""
AHEAD = 12
"""How many samples `Price` looks ahead where their number is not known."""
FORESIGHT = 128
"""The most samples ahead of which `Futility` says anything."""
LED = 0.95
"""The `beta_lead` at which `Futility` calls a question decided."""


def price_of(effort: str) -> float:
    """The price that an effort names.

    Raises:
        UnknownName: there is none of that name.
    """
    if effort not in EFFORTS:
        raise UnknownName("effort", effort, EFFORTS)
    return EFFORTS[effort]


def counts(standing: Standing) -> tuple[int, int]:
    """The votes of the leader and of the strongest other answer, the greater first; 0 where there is none."""
    leader, *others = (*(vote.count for vote in standing.votes), 0)
    second = max(others, default=0)
    return max(leader, second), min(leader, second)


def smoothed(standing: Standing) -> float:
    """The leader's votes among all samples, one more for it and two more in all: (votes + 1) / (samples + 2).

    Above 0, below 1; it rises with agreement and with evidence: 1 of 1 and 3 of 4 are 0.667, 0.5 where nothing is seen.
    """
    return smooth(standing.votes[0].count if standing.votes else 0, standing.samples)


def smooth(votes: float, samples: float) -> float:
    """A share of `votes` among `samples`, as `smoothed` counts it."""
    return (votes + 1) / (samples + 2)


@dataclass(frozen=True, slots=True)
class Price:
    """Stops when no number of more samples raises the chance of a right vote by `price` a sample.

    By the knowledge gradient of the first two answers (`odds.best_gain`), times the share of samples that gave an
    answer, (answered + 1) / (samples + 1). It takes the likeliest answer for the right one. Samples count as of mean
    cost. Where `standing.most` is not known it looks 12 samples ahead. At 0 only what is `Lossless` stops; a question
    without an answer is never stopped.
    """

    price: float = 0.002

    def __post_init__(self) -> None:
        require(self.price, "price", at_least=0, at_most=1)

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The best gain, where it is below the price."""
        if not standing.votes:
            return None
        if certain := Lossless().stop(standing, cost):
            return certain
        a, b = counts(standing)
        gain = best_gain(a, b, rest(standing) if standing.most else AHEAD)
        answered = standing.cast
        worth = gain.rate * (answered + 1) / (standing.samples + 1)
        if worth >= self.price:
            return None
        return f"{a} to {b} votes: a sample more is worth {worth:.3g} at best, the price is {self.price:g}"


@dataclass(frozen=True, slots=True)
class Confidence:
    """Stops when the leader has `threshold` of all the weight cast, after `least` samples.

    The share alone, without the evidence behind it: a vote of confidences (DeepConf: Fu 2025, 2508.15260) stops so.
    """

    threshold: float = 0.9
    least: int = 4

    def __post_init__(self) -> None:
        require(self.threshold, "threshold", above=0, at_most=1)
        require(self.least, "least", at_least=1)

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The share, where it is large enough."""
        if not standing.votes or standing.samples < self.least or not standing.share >= self.threshold:
            return None
        return f"the leader has {standing.share:.4g} of the weight after {standing.samples} samples"


@dataclass(frozen=True, slots=True)
class Futility:
    """Gives up when a clear leader by the last sample has a chance below `chance`; it saves, and answers no better.

    A clear leader is ahead of the next answer with probability 0.95 (`odds.beta_lead`). Its chance is exact under a
    Dirichlet posterior of the answers seen, one unseen and none given, each one sample more than it has. That prior is
    not calibrated on any question: read `chance` as a knob, not as how often it errs. It looks after `least` samples,
    where no more than 128 are left, and never where `standing.most` is not known.
    """

    chance: float = 0.05
    least: int = 8

    def __post_init__(self) -> None:
        require(self.chance, "chance", above=0, below=1)
        require(self.least, "least", at_least=1)

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The chance, where it is too low."""
        left = rest(standing)
        if not (standing.votes and standing.most) or standing.samples < self.least or left > FORESIGHT:
            return None
        seen = tuple(vote.count for vote in standing.votes)
        hope = decided(seen, left, silent=max(0, standing.samples - standing.cast), theta=LED)
        if hope >= self.chance:
            return None
        return f"{left} samples left decide this question with probability {hope:.3g}, below {self.chance:g}: given up"


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Stops when the first of `rules`, one or more, asked in turn, stops; its reason names it."""

    rules: tuple[StopRule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise UsageError("rules must not be empty: give at least one rule, as in first_of:[lossless,price]")

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The reason of the first that stops."""
        for rule in self.rules:
            if reason := rule.stop(standing, cost):
                return reason if isinstance(rule, FirstOf) else f"{type(rule).__name__}: {reason}"
        return None
