"""Rules that stop a question: when its leading answer is safe, or when more samples cost more than they gain.

And how many samples of a vote that a rule stops run side by side, and which are stragglers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    Protocol,
    TypeVar,
)

from reasoner.budget import Cost
from reasoner.errors import UsageError
from reasoner.specs import Chance, CheckedOptions, Range, Share
from reasoner.stopping.vote_posteriors import (
    best_gain,
    beta_lead,
    certificate,
    dirichlet_lead,
    lock_in,
    stays,
)
from reasoner.system.printing import counted
from reasoner.types import Answer, Vote, VoteState

if TYPE_CHECKING:
    from numpy.typing import NDArray

RISKS: Mapping[str, float] = MappingProxyType(
    {"low": 0.05, "medium": 0.02, "high": 0.01}
)
"""By effort: the accuracy that may be lost against the vote of all samples."""
_Numbers = TypeVar("_Numbers", float, "NDArray[Any]")
MAX_WINDOW = 64
"""The longest streak that a vote state records."""
AHEAD = 12
"""How many samples `Price` looks ahead where their number is not known."""
SHOWN = 5
"""The most counts of votes that a reason lists."""
STRAGGLERS_PER_VOTE = 4
"""How many stragglers count as one vote for the runner-up."""
Order = Literal["length", "launch"]
"""The order in which samples are counted: by their virtual end (docs/adr/0026-virtual-clock.md), or by launch."""
LAUNCH_WINDOW: Final = 4
"""Samples in flight by default in launch order, where the first one holds up all others."""
ABUNDANCE: Final = 8
"""By length, this many times the samples run that the rule needs before it may stop: the shortest of them come soon.

On recordings of models that think, 4 takes two thirds of the tokens, and a sixth more sequential ones.
"""
STRAGGLER_LENGTH: Final = 0.8
"""The part of the mean length of the finished samples beyond which a running one is a straggler."""


class StopRule(Protocol):
    """Decides when a question has enough samples. Pure: it reads what a plan proposes."""

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The reason to stop now, or None to continue."""


def sample_price(risk: float) -> float:
    """The gain in the chance of a right answer that a sample of mean cost must bring: a fifth of the risk."""
    return risk / 5


def smoothed(vote_state: VoteState) -> float:
    """The smoothed share of the leader's votes among all samples, as `smoothed_share` computes it."""
    return smoothed_share(
        vote_state.votes[0].count if vote_state.votes else 0, vote_state.samples
    )


def smoothed_share(votes: _Numbers, samples: _Numbers) -> _Numbers:
    """(votes + 1) / (samples + 2): above 0, below 1, 0.5 without samples; it rises with agreement and evidence."""
    share: _Numbers = (votes + 1) / (samples + 2)
    return share


def _left(vote_state: VoteState) -> int:
    """How many samples are left; 0 where their number is not known."""
    return max(0, vote_state.max_samples - vote_state.samples)


def _counts(vote_state: VoteState) -> tuple[int, int]:
    """The votes of the leader and of the strongest other, which has more where weights outvote the majority."""
    leader, *others = (vote.count for vote in vote_state.votes)
    return leader, max(others, default=0)


def _top_two(vote_state: VoteState) -> tuple[int, int]:
    """The same, where stragglers count for the strongest other, up to a tie.

    Where samples are counted by length, the long ones are missing, and may vote differently from the short ones.
    """
    leader, second = _counts(vote_state)
    missing = (vote_state.stragglers + STRAGGLERS_PER_VOTE // 2) // STRAGGLERS_PER_VOTE
    return leader, max(second, min(leader, second + missing))


def _score(vote_state: VoteState) -> str:
    """The votes of these two in words."""
    (leader, second), counted = _top_two(vote_state), _counts(vote_state)[1]
    running = (
        f", {second - counted} of them for long samples that still run"
        if second > counted
        else ""
    )
    return f"{leader} to {second} votes{running}"


@dataclass(frozen=True, slots=True)
class BetaRule(CheckedOptions):
    """Stops when the leader beats the runner-up with probability `theta` (Adaptive-Consistency, 2305.11860).

    That is the posterior of a race of these two, by counts of votes, not by weights. It is not an error rate of 1 -
    `theta`: applied after each vote, theta 0.95 stops on the wrong one of (0.6, 0.4) in 5.4 % of runs of up to 40
    samples and of (0.55, 0.45) in 10.9 %. At 0.95 it takes at least four votes, all equal.
    """

    theta: Chance = 0.95

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The probability, where it is high enough."""
        if not vote_state.votes:
            return None
        leader, second = _top_two(vote_state)
        ahead = beta_lead(leader, second)
        if ahead < self.theta:
            return None
        return f"{_score(vote_state)}: the leader is ahead with probability {ahead:.4g}, theta is {self.theta:g}"


@dataclass(frozen=True, slots=True)
class DirichletRule(CheckedOptions):
    """Stops when the leader is the likeliest of all answers seen with probability `theta` (2305.11860).

    The posterior is over the answers seen, each with one pseudo-vote; a single answer competes with one unseen. Equal
    to `BetaRule` up to two answers, slower to stop with more.
    """

    theta: Chance = 0.95

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The probability, where it is high enough."""
        if not vote_state.votes:
            return None
        (leader, second), others = (
            _top_two(vote_state),
            sorted(vote.count for vote in vote_state.votes[1:]),
        )
        others = [second, *others[-2::-1]]
        ahead = dirichlet_lead((leader, *others))
        if ahead < self.theta:
            return None
        votes = " to ".join(str(count) for count in (leader, *others)[:SHOWN])
        more = (
            f" and {len(others) + 1 - SHOWN} more answers"
            if len(others) >= SHOWN
            else ""
        )
        return f"{votes} votes{more}: the leader is the mode with probability {ahead:.4g}, theta is {self.theta:g}"


@dataclass(frozen=True, slots=True)
class Lossless:
    """Stops when the samples that are left cannot change the vote: the lead is greater than their number.

    The answer equals the one of all `vote_state.max_samples` samples, whatever they are. A lead equal to that number is
    not enough, as a tie goes to the earliest launch. It holds for votes of weight 1, so it never stops a weighted vote,
    nor one without an end.
    """

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The lead and what is left, where the lead is greater."""
        votes, left = vote_state.votes, _left(vote_state)
        leader, second, *_ = (*(vote.count for vote in votes[:2]), 0, 0)
        unweighted = leader - second > left and all(
            vote.weight == vote.count for vote in votes
        )
        if not (unweighted and votes and vote_state.max_samples):
            return None
        return f"{leader} to {second} votes: the {counted(left, 'sample')} left cannot change who leads"


@dataclass(frozen=True, slots=True)
class LockIn(CheckedOptions):
    """Stops when the current leader also leads after all `vote_state.max_samples` samples with probability 1 - `delta`.

    Every sample left is a vote for one of the first two, under their posterior. Where the third has as many votes as
    the second or one fewer, the same must hold of all answers seen, under theirs. It takes at least two samples; what
    `Lossless` stops, it stops too. `delta` 0.01 costs hardly any accuracy. A vote without an end never stops.
    """

    delta: Chance = 0.05

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The probability, where it is high enough."""
        if not (vote_state.votes and vote_state.max_samples) or vote_state.samples < 2:
            return None
        left, (leader, second) = _left(vote_state), _top_two(vote_state)
        stay = lock_in(leader, second, left)
        _, *others = (vote.count for vote in vote_state.votes)
        third = sorted(others)[-2] if len(others) > 1 else None
        if third is not None and third >= second - 1 and leader - second < left:
            stay = min(stay, stays((leader, *sorted(others)), left))
        if stay < 1 - self.delta:
            return None
        votes = f"{_score(vote_state)}, {counted(left, 'sample')} left"
        return f"{votes}: the leader stays with probability {stay:.4g}, delta is {self.delta:g}"


@dataclass(frozen=True, slots=True)
class Ppr(CheckedOptions):
    """Stops with a certificate: the leader is not the likeliest answer with probability at most `delta`.

    PPR-1v1 (Jain 2022, 2109.05047), at any time, for samples that are i.i.d. It holds where `classes`, how many answers
    the question can have, is fixed in advance; the number of those seen is not valid. It certifies which answer is the
    likeliest, not that it is right; to cover M questions, give each `delta` / M. Two classes at 0.05 take at least
    eight votes, all equal.
    """

    delta: Chance = 0.05
    classes: Annotated[int, Range(at_least=2)] = 2

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The certificate, where there is one."""
        if not vote_state.votes:
            return None
        leader, second = _top_two(vote_state)
        doubt = certificate(leader, second) * (self.classes - 1)
        if leader <= second or doubt > self.delta:
            return None
        return f"{_score(vote_state)}: the leader is not the mode with chance {doubt:.4g}, delta is {self.delta:g}"


@dataclass(frozen=True, slots=True)
class Esc(CheckedOptions):
    """Stops when all samples of a window gave one answer (early-stopping self-consistency: Li 2024, 2401.10480).

    Windows do not overlap: the rule applies after each `window` samples, 1 to 64; a sample without an answer breaks its
    window. The answer is then the leader of the whole vote, where the paper gives the window's.
    """

    window: Annotated[int, Range(at_least=1, at_most=MAX_WINDOW)] = 5

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The window, where it agrees."""
        if (
            not vote_state.votes
            or vote_state.samples % self.window
            or vote_state.streak < self.window
        ):
            return None
        return f"the latest {self.window} samples gave one answer"


@dataclass(frozen=True, slots=True)
class Price(CheckedOptions):
    """Stops when no number of more samples raises the chance of a right vote by `price` per sample.

    By the knowledge gradient of the first two answers (`vote_posteriors.best_gain`), times the share of samples that
    gave an answer, (answered + 1) / (samples + 1). It takes the likeliest answer for the right one, and samples as of
    mean cost. Where `vote_state.max_samples` is not known it looks 12 samples ahead. At 0 it equals `Lossless`; a
    question without an answer is never stopped.
    """

    price: Share = 0.002

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The best gain, where it is below the price."""
        if not vote_state.votes:
            return None
        if certain := Lossless().stop(vote_state, cost):
            return certain
        leader, second = _top_two(vote_state)
        best = best_gain(
            leader, second, _left(vote_state) if vote_state.max_samples else AHEAD
        )
        gain = best.rate * (vote_state.cast + 1) / (vote_state.samples + 1)
        if gain >= self.price:
            return None
        return f"{_score(vote_state)}: one more sample gains at most {gain:.3g}, the price is {self.price:g}"


@dataclass(frozen=True, slots=True)
class NoMajority(CheckedOptions):
    """Gives up: stops when the leader's share of all samples is surely below one half, with probability 1 - `delta`.

    Under a uniform prior of the share. Samples without an answer count against the leader, stragglers for
    it. Where samples differ so much, more of them rarely change how often the vote is right; a question
    without an answer is never stopped.
    """

    example: ClassVar[str] = (
        '-s "self_consistency(n=64, stop=first_of(rules=[beta(theta=0.9), no_majority]))"'
    )

    delta: Chance = 0.01

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The probability of a majority, where it is low enough."""
        if not vote_state.votes:
            return None
        leader = vote_state.votes[0].count
        majority = beta_lead(
            leader + vote_state.stragglers, vote_state.samples - leader
        )
        if majority >= self.delta:
            return None
        votes = f"{leader} of {vote_state.samples} samples agree"
        return f"{votes}: they are a majority with probability {majority:.2g}, delta is {self.delta:g}"


def _all_counts(vote_state: VoteState) -> list[int]:
    """The votes of each answer; samples without one are one more answer, and long ones that run count as above."""
    (leader, second), silent = (
        _top_two(vote_state),
        vote_state.samples - vote_state.cast,
    )
    others = sorted((vote.count for vote in vote_state.votes[1:]), reverse=True)
    return [leader, *filter(None, [second, *others[1:], silent])]


@dataclass(frozen=True, slots=True)
class MajorityRule(CheckedOptions):
    """Stops when the leader has the share `share` of two or more samples (Adaptive-Consistency's code, 2305.11860).

    It looks at no number of samples: at any share it stops on two equal answers.
    """

    share: Chance = 0.8

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The share, where it is high enough."""
        if not vote_state.votes or vote_state.samples < 2:
            return None
        counts = _all_counts(vote_state)
        share = counts[0] / sum(counts)
        return (
            f"{counts[0]} of {sum(counts)} samples agree, share is {self.share:g}"
            if share >= self.share
            else None
        )


@dataclass(frozen=True, slots=True)
class EntropyRule(CheckedOptions):
    """Stops when the answers' entropy, of its maximum, is `share` or less (Adaptive-Consistency's code, 2305.11860).

    A single answer competes with an unseen one that has a vote, so that four equal answers stop it by default.
    """

    share: Chance = 0.75

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The entropy, where it is low enough."""
        if not vote_state.votes or vote_state.samples < 2:
            return None
        counts = _all_counts(vote_state)
        counts += [1] if len(counts) == 1 else []
        total = sum(counts)
        entropy = -math.fsum(
            count / total * math.log(count / total) for count in counts
        ) / math.log(len(counts))
        if entropy > self.share:
            return None
        return f"{_score(vote_state)}: the entropy is {entropy:.4g} of its maximum, share is {self.share:g}"


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Stops when the first of `rules`, one or more, in their order, stops; its reason names it."""

    example: ClassVar[str] = (
        '-s "self_consistency(n=16, stop=first_of(rules=[lossless, lock_in]))"'
    )

    rules: tuple[StopRule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise UsageError(
                "rules must not be empty: give at least one rule, as in first_of:[lossless,price]"
            )

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The reason of the first that stops."""
        for rule in self.rules:
            if reason := rule.stop(vote_state, cost):
                return (
                    reason
                    if isinstance(rule, FirstOf)
                    else f"{type(rule).__name__}: {reason}"
                )
        return None


def width(
    rule: StopRule | None, vote_state: VoteState, window: int, order: Order
) -> int:
    """How many samples to have in flight, or in launch order beyond the last one counted; 1 to `window`."""
    each = ABUNDANCE if order == "length" else 1
    return min(window, each * _samples_to_stop(rule, vote_state, -(-window // each)))


def _samples_to_stop(rule: StopRule | None, vote_state: VoteState, most: int) -> int:
    """How many more samples, up to `most`, the rule needs before it may stop, if all of them are for the leader."""
    leader, *others = vote_state.votes or (Vote(Answer("", ""), 0.0, 0),)
    for more in range(1, most if rule else 0):
        votes = (
            Vote(leader.answer, leader.weight + more, leader.count + more),
            *others,
        )
        samples, streak = (
            vote_state.samples + more,
            min(vote_state.streak + more, MAX_WINDOW),
        )
        agreed = replace(
            vote_state,
            votes=votes,
            samples=samples,
            streak=streak,
            tied=False,
            stragglers=0,
        )
        if rule and rule.stop(agreed, Cost()):
            return more
    return max(1, most)
