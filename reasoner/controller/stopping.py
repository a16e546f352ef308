"""Rules that end a question once its leading answer is unlikely to be overtaken."""

from dataclasses import dataclass

from reasoner.budget import Cost
from reasoner.controller.odds import beta_lead, certificate, dirichlet_lead, lock_in, stays
from reasoner.controller.rule import rest
from reasoner.errors import require
from reasoner.types import Standing

LONGEST_WINDOW = 64
"""So far back a standing knows its streak."""
SHOWN = 5
"""The most counts of votes that a reason lists."""


@dataclass(frozen=True, slots=True)
class BetaRule:
    """Stops when the leader beats the runner-up with probability `theta` (Adaptive-Consistency, 2305.11860).

    That is the posterior of a race of these two, by counts of votes, not by weights. It is no 5 % error rule:
    looked at after each vote, theta 0.95 stops on the wrong one of (0.6, 0.4) in 5.4 % of runs of up to 40 samples and
    of (0.55, 0.45) in 10.9 %. Four votes that agree are the least that stop it at 0.95.
    """

    theta: float = 0.95

    def __post_init__(self) -> None:
        require(self.theta, "theta", above=0, below=1)

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The odds, where they are good enough."""
        if not standing.votes:
            return None
        leader, second = _race(standing)
        sure = beta_lead(leader, second)
        if sure < self.theta:
            return None
        return f"{leader} to {second} votes: the leader is ahead with probability {sure:.4g}, theta is {self.theta:g}"


@dataclass(frozen=True, slots=True)
class DirichletRule:
    """Stops when the leader is the likeliest of all answers seen with probability `theta` (2305.11860).

    The posterior is over the answers seen, each one vote more than it has; beside a single one stands one unseen. Equal
    to `BetaRule` up to two answers, slower to stop with more.
    """

    theta: float = 0.95

    def __post_init__(self) -> None:
        require(self.theta, "theta", above=0, below=1)

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The odds, where they are good enough."""
        if not standing.votes:
            return None
        leader, *others = (vote.count for vote in standing.votes)
        sure = dirichlet_lead((leader, *(others or (0,))))
        if sure < self.theta:
            return None
        votes = " to ".join(str(count) for count in (leader, *others)[:SHOWN])
        more = f" and {len(others) + 1 - SHOWN} answers more" if len(others) >= SHOWN else ""
        return f"{votes} votes{more}: the leader is the mode with probability {sure:.4g}, theta is {self.theta:g}"


@dataclass(frozen=True, slots=True)
class Lossless:
    """Stops when no samples that are left could change the vote: the leader's lead is greater than their number.

    The answer is that of all `standing.most` samples, whatever they are: samples without an answer are spent, so they
    shorten what is left. An equal number does not do, as a tie goes to the earliest launch. It holds for votes of one a
    sample, so it never stops a vote whose classes weigh anything else, nor one that has no end.
    """

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The lead and what is left, where the lead is greater."""
        if not (standing.votes and standing.most) or any(vote.weight != vote.count for vote in standing.votes):
            return None
        leader, second = _race(standing)
        if leader - second <= rest(standing):
            return None
        return f"{leader} to {second} votes: the {rest(standing)} samples left cannot change who leads"


@dataclass(frozen=True, slots=True)
class LockIn:
    """Stops when the leader after all `standing.most` samples will be the leader of now with probability 1 - `delta`.

    Every sample left is a vote for one of the first two, under their posterior. Where the third has as many votes as
    the second or one fewer, the same must hold of all answers seen, under theirs. Two samples are the least; what is
    `Lossless` stops. `delta` 0.01 costs hardly any accuracy. Without an end it never stops.
    """

    delta: float = 0.05

    def __post_init__(self) -> None:
        require(self.delta, "delta", above=0, below=1)

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The probability, where it is high enough."""
        if not (standing.votes and standing.most) or standing.samples < 2:
            return None
        left, (leader, second) = rest(standing), _race(standing)
        sure = lock_in(leader, second, left)
        _, *others = (vote.count for vote in standing.votes)
        third = sorted(others)[-2] if len(others) > 1 else None
        if third is not None and third >= second - 1 and leader - second < left:
            sure = min(sure, stays((leader, *sorted(others)), left))
        if sure < 1 - self.delta:
            return None
        votes = f"{leader} to {second} votes, {left} samples left"
        return f"{votes}: the leader stays with probability {sure:.4g}, delta is {self.delta:g}"


@dataclass(frozen=True, slots=True)
class Ppr:
    """Stops with a certificate: that the leader is not the likeliest answer has probability `delta` at most.

    PPR-1v1 (Jain 2022, 2109.05047), at any time, for samples that are i.i.d. It holds where `classes`, how many answers
    the question can have, is fixed in advance: the number of those seen will not do. It certifies which answer is the
    likeliest, not that it is right; for a promise over M questions, give each `delta` / M. Eight votes that agree are
    the least that stop two classes at 0.05.
    """

    delta: float = 0.05
    classes: int = 2

    def __post_init__(self) -> None:
        require(self.delta, "delta", above=0, below=1)
        require(self.classes, "classes", at_least=2)

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The certificate, where there is one."""
        if not standing.votes:
            return None
        leader, second = _race(standing)
        doubt = certificate(leader, second) * (self.classes - 1)
        if leader <= second or doubt > self.delta:
            return None
        return f"{leader} to {second} votes: the leader is the mode but for a chance of {self.delta:g} ({doubt:.4g})"


@dataclass(frozen=True, slots=True)
class Esc:
    """Stops when all samples of a window gave one answer (early-stopping self-consistency: Li 2024, 2401.10480).

    Windows follow each other: it is looked at after each `window` samples, 1 to 64; one without an answer breaks its
    window. The answer is then the leader of the whole vote, where `early_stopping` answers with the window's.
    """

    window: int = 5

    def __post_init__(self) -> None:
        require(self.window, "window", at_least=1, at_most=LONGEST_WINDOW)

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The window, where it agrees."""
        if not standing.votes or standing.samples % self.window or standing.streak < self.window:
            return None
        return f"the latest {self.window} samples gave one answer"


def _race(standing: Standing) -> tuple[int, int]:
    """The votes of the leader and of the strongest other, who has more where weights decide against the majority."""
    leader, *others = (vote.count for vote in standing.votes)
    return leader, max(others, default=0)
