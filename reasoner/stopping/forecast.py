"""A rule that stops by a forecast of the whole vote, from samples that ended, trial answers of others, and the rest."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Final, NamedTuple

from reasoner.budget import Cost
from reasoner.specs import Chance, CheckedOptions, Length, Range
from reasoner.stopping.rules import (
    STRAGGLERS_PER_VOTE,
    BetaRule,
    FirstOf,
    Lossless,
    NoMajority,
    StopRule,
)
from reasoner.system.printing import counted
from reasoner.types import VoteState

RELIABILITY: Final = 0.5
"""The chance that a straggler ends with its trial answer, before any sample has ended."""
PRIOR_SAMPLES: Final = 16
"""How many samples that have ended weigh as much as `RELIABILITY`."""
UNDECIDED: Final = 4
"""From this number of ended samples on, a vote may be given up."""
UNASKED: Final = FirstOf((BetaRule(0.9), NoMajority()))
"""What decides where nobody is asked: from votes alone, a forecast loses more at equal tokens."""


@dataclass(frozen=True, slots=True)
class Predict(CheckedOptions):
    """Stops when the forecast of the leader's final lead is `z` of its standard deviations above 0.

    Samples that ended vote 1. A straggler votes p for its trial answer: the share of the ended samples
    that have it, taken with 16 more samples, half of them with it; the rest of its vote is open. All others follow the
    posterior of the shares. From 4 ended samples on it gives up where each answer has a majority of all samples with a
    probability below `hopeless`. `self_consistency` asks for trial answers after every `every` tokens where the model
    thinks and its engine can probe; elsewhere it is `first_of(rules=[beta(theta=0.9), no_majority])`. Where all samples
    have ended it is `Lossless`.
    """

    z: Annotated[float, Range(above=0)] = 2.5
    hopeless: Chance = 0.05
    every: Annotated[Length, Range(at_least=1)] = 500

    def stop(self, vote_state: VoteState, cost: Cost) -> str | None:
        """The forecast, where it decides."""
        if vote_state.trials is None:
            return UNASKED.stop(vote_state, cost)
        if not (vote_state.votes and vote_state.max_samples):
            return None
        if certain := Lossless().stop(vote_state, cost):
            return certain
        lead, finals = forecast(vote_state)
        agree = f"{vote_state.votes[0].count} of {counted(vote_state.samples, 'sample')} agree"
        if lead.mean > 0 and lead.mean >= self.z * lead.deviation:
            trials = (
                f", {sum(vote_state.trials)} trial answers" if vote_state.trials else ""
            )
            return f"{agree}{trials}: the leader will lead by {lead}, z is {self.z:g}"
        undecided = UNDECIDED <= vote_state.samples < vote_state.max_samples
        majority, far = vote_state.max_samples / 2, -NormalDist().inv_cdf(self.hopeless)
        if undecided and all(
            majority - final.mean > far * final.deviation for final in finals
        ):
            most = f"{max(finals)} of {vote_state.max_samples} votes"
            return f"{agree}: no answer will have more than {most}, hopeless is {self.hopeless:g}"
        return None


class Forecast(NamedTuple):
    """A number of votes that is not known yet: its mean and its standard deviation."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.deviation:.2g}"


def forecast(vote_state: VoteState) -> tuple[Forecast, tuple[Forecast, ...]]:
    """The leader's final lead over the strongest other, and each answer's final votes; for a vote state with votes.

    With a and b the expected votes of both and S those of all so far, the shares of further samples are a / (S + 1) and
    (b + 1/2) / (S + 1). They are uncertain as after S samples of a Beta posterior. Stragglers
    without a trial answer are held against the decision: for the lead, four of them are a vote for the other, up to a
    tie; for the final votes of an answer, all of them are its own.
    """
    ended, total = vote_state.samples, vote_state.max_samples
    counts = [vote.count for vote in vote_state.votes]
    asked = vote_state.trials or ()
    trials = [*asked, *[0] * (len(counts) - len(asked))]
    counts += [0] * (len(trials) - len(counts))
    chances = [
        (count + PRIOR_SAMPLES * RELIABILITY) / (ended + PRIOR_SAMPLES)
        for count in counts
    ]
    expected = [
        count + times * p
        for count, times, p in zip(counts, trials, chances, strict=True)
    ]
    spread = [times * p * (1 - p) for times, p in zip(trials, chances, strict=True)]
    second = max(range(1, len(expected)), key=expected.__getitem__, default=None)
    a, b = expected[0], 0.0 if second is None else expected[second]
    known = spread[0] + (0.0 if second is None else spread[second])

    left = max(0, total - ended)
    read = min(sum(trials), left)
    unread = min(max(0, vote_state.stragglers - read), left - read)
    free = math.fsum(times * (1 - p) for times, p in zip(trials, chances, strict=True))
    votes = math.fsum(expected) + vote_state.tail.votes
    share, other = a / (votes + 1), (b + 0.5) / (votes + 1)

    rest, gap = left - read, share - other
    each = share + other - gap**2
    against = max(b, min(a, b + unread / STRAGGLERS_PER_VOTE))
    lead = Forecast(
        a - against + rest * gap,
        math.sqrt(known + free / 4 + rest * each + rest**2 * each / (votes + 2)),
    )

    later, finals = rest - unread + free, list[Forecast]()
    for own, doubt in zip(expected, spread, strict=True):
        share = own / (votes + 1)
        each = share * (1 - share)
        finals.append(
            Forecast(
                own + unread + later * share,
                math.sqrt(doubt + later * each + later**2 * each / (votes + 2)),
            )
        )
    return lead, tuple(finals)


def predicting(rule: StopRule | None) -> Predict | None:
    """The rule, or the first of its rules, that wants trial answers."""
    if isinstance(rule, FirstOf):
        return next(filter(None, map(predicting, rule.rules)), None)
    return rule if isinstance(rule, Predict) else None
