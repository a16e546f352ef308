"""The race: after each round, candidates that are shown to be worse, or no better at a higher cost, go out.

A pair is compared by bets on each question (Waudby-Smith and Ramdas 2024, 2010.09686), whose p-value holds at whatever
moment the race looks. The candidates share the error: with 95 % confidence the bets keep the most accurate one, or one
that is cheaper and at most a margin less accurate.

Where the tokens do not last for all of them, those that are furthest behind go out too, some after each round (as in
sequential halving: Karnin 2013, JMLR W&CP 28:1238). That proves nothing about them, and is called `behind`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from reasoner.calibration.promises import SHARES, STAKES
from reasoner.system.printing import counted, printable
from reasoner_evals.stats import Bools, Floats
from reasoner_evals.stats.intervals import Groups

ERROR: Final = 0.05
"""The chance that the race drops the candidate that it should keep."""
MARGIN: Final = 0.01
"""Accuracies that differ by less count as equal: the cheaper candidate wins."""
NEAR: Final = 0.0025
"""The chosen candidate is the cheapest that is estimated to be at most this much less accurate than the best."""
TRACE: Final = 1e-9
CHEAP: Final = 0.1
"""A candidate of at most this share of the budget stays in where tokens are saved."""
SLACK: Final = 1.1
"""The most that a candidate may cost on average, as a multiple of the budget: sizes are estimates."""
LEAST: Final = 10
"""The fewest questions of a round."""
ROUNDS: Final = 8
"""How many rounds a race has at most."""
LEAST_SHARE: Final = 3
"""What a race may always spend on a question, as a multiple of its budget, with any number of candidates."""
SHARE: Final = 3
"""A race spends at most 1 / SHARE of what all candidates cost by themselves on all questions."""
_STEPS: Final = 40

Why = Literal["worse", "dearer", "over", "failed", "behind"]


@dataclass(frozen=True, slots=True)
class Exit:
    """Why a candidate is out."""

    who: int
    why: Why
    questions: int
    """How many it had been asked."""
    against: int | None = None
    """The candidate that it lost to."""
    p_value: float = 0.0


@dataclass(slots=True)
class Race:
    """What K candidates did on Q questions so far: arrays [K, Q], nan where one was not asked or not graded."""

    right: Floats
    """In [0, 1]; an error counts as wrong."""
    tokens: Floats
    sequential: Floats
    goal: float
    """Tokens that a question may cost on average; infinite without a budget."""
    groups: Groups | None = None
    """What questions share, [Q]; whole groups are then the units."""
    failed: Bools = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """[K]: the candidates without a result in the last round."""
    exits: list[Exit] = field(default_factory=list)

    @property
    def inside(self) -> list[int]:
        """The candidates that are still in, the most accurate first, the cheaper one first of equal ones."""
        out = {each.who for each in self.exits}
        right, costs = self.accuracies, self.costs
        standing = (who for who in range(len(right)) if who not in out)
        return sorted(standing, key=lambda who: (-right[who], costs[who], who))

    @property
    def accuracies(self) -> Floats:
        """[K]: the share of right answers so far; 0 without any answer."""
        return _means(self.right, empty=0.0)

    @property
    def costs(self) -> Floats:
        """[K]: the mean tokens of a question so far; infinite without any."""
        return _means(self.tokens, empty=math.inf)

    @property
    def expected_costs(self) -> Floats:
        """[K]: the costs; the goal where none is known."""
        return np.where(np.isfinite(self.costs), self.costs, self.goal)

    @property
    def budget(self) -> float:
        """The goal; without one, the cost of the dearest candidate so far."""
        known = self.costs[np.isfinite(self.costs)]
        return float(known.max(initial=0.0)) if math.isinf(self.goal) else self.goal

    @property
    def shares(self) -> Floats:
        """[K]: the part of the budget that a question takes on average."""
        return self.costs / (self.budget or 1.0)

    def accuracy(self, who: int) -> float:
        """The mean of one candidate."""
        return float(self.accuracies[who])

    def cost(self, who: int) -> float:
        """The mean of one candidate."""
        return float(self.costs[who])

    def asked(self, who: int) -> int:
        """The number of questions with a value."""
        return int((~np.isnan(self.right[who])).sum())

    def look(self) -> list[Exit]:
        """The candidates that go out now. The most accurate ones are compared last, so that one always stays."""
        standing, fresh = self.inside, list[Exit]()
        for who in [
            each for each in standing if len(self.failed) and self.failed[each]
        ]:
            self._leave(Exit(who, "failed", self.asked(who)), standing, fresh)
        right, shares = self.accuracies, self.shares
        for who in sorted(standing, key=lambda who: -shares[who]):
            if shares[who] > SLACK and len(standing) > 1:
                self._leave(Exit(who, "over", self.asked(who)), standing, fresh)
        error = ERROR / max(len(self.right) - 1, 1)
        for who in reversed([*standing]):
            others = [each for each in standing if each != who]
            lost = self.lost(who, others)
            if others and lost.min() <= error:
                at = int(lost.argmin())
                why: Why = "dearer" if right[who] >= right[others[at]] else "worse"
                self._leave(
                    Exit(who, why, self.asked(who), others[at], float(lost[at])),
                    standing,
                    fresh,
                )
        return fresh

    def thin_out(
        self, price: Callable[[Sequence[int]], float], rounds_left: int, tokens: float
    ) -> list[Exit]:
        """Those that go out so that the `tokens` last for all rounds that are left, evenly; see `fit`."""
        whole = price(self.inside)
        return self.fit(whole * next_share(whole, rounds_left, tokens), price)

    def fit(
        self, allowed: float, price: Callable[[Sequence[int]], float]
    ) -> list[Exit]:
        """Those that go out, the least accurate first, so that the `price` of the others is at most `allowed`.

        One that saves next to nothing stays, such as a single sample, or a vote over samples that another one needs. So
        does the most accurate one, and all stay where even that alone is above the price.
        """
        standing, fresh = self.inside, list[Exit]()
        first, whole = standing[0], price(standing)
        for who in reversed(standing[1:]):
            if whole <= allowed or price([first]) > allowed:
                break
            without = price([each for each in standing if each != who])
            if whole - without > CHEAP * self.goal:
                lost = float(self.lost(who, [first])[0])
                self._leave(
                    Exit(who, "behind", self.asked(who), first, lost), standing, fresh
                )
                whole = without
        return fresh

    def _leave(self, out: Exit, standing: list[int], fresh: list[Exit]) -> None:
        self.exits.append(out)
        fresh.append(out)
        standing.remove(out.who)

    def lost(self, who: int, others: Sequence[int]) -> Floats:
        """[K]: the p-values of: `who` is more accurate than another one, and by a margin where it costs more."""
        costs = self.costs
        margins = np.where(costs[who] > costs[list(others)], MARGIN, 0.0)
        return better_by(
            self.right[who], self.right[list(others)], margins, self.groups
        )

    def limit(self, questions: int) -> float:
        """The tokens that a race and its judge may spend by default, on that number of questions.

        It is a share of what all candidates on all questions cost. The sizes, the samples of the largest vote, and the
        judge fit whatever the number of candidates.
        """
        whole = float(self.expected_costs.sum())
        return max(whole / SHARE, LEAST_SHARE * self.goal) * questions

    def choice(self) -> int:
        """The candidate to run: the cheapest within a margin of the most accurate one."""
        inside, right, costs = self.inside, self.accuracies, self.costs
        near = [who for who in inside if right[who] >= right[inside[0]] - NEAR - TRACE]
        return min(near, key=lambda who: (costs[who], -right[who], who))


def better_by(
    ours: Floats, theirs: Floats, margins: Floats, groups: Groups | None = None
) -> Floats:
    """The p-values [K] of the claim that the mean of `ours` [Q] exceeds the means of `theirs` [K, Q] by a margin.

    They equal `reasoner.calibration.promises.p_value`, for many at once, and hold at any moment. Questions
    without both values are left out. With groups, the mean is that over groups.
    """
    ahead = ours - theirs
    if groups is not None:
        ahead = _by_group(ahead, groups)
    bets = np.array(STAKES)[:, None] * (1 - 1e-6) / (1 - margins)
    growth = np.nansum(np.log1p(bets[..., None] * (margins[:, None] - ahead)), axis=-1)
    logs = growth + np.log(SHARES)[:, None]
    top = logs.max(axis=0)
    values: Floats = np.minimum(1.0, np.exp(-top) / np.exp(logs - top).sum(axis=0))
    return values


def _by_group(values: Floats, groups: Groups) -> Floats:
    """[K, G]: the means of these values [K, Q] over groups; nan where a group has none."""
    _, inverse = np.unique(
        np.asarray(groups, dtype=object).astype(str), return_inverse=True
    )
    belongs = np.eye(inverse.max(initial=0) + 1)[inverse]
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0) @ belongs / (known @ belongs))


def rounds(questions: int) -> list[range]:
    """The questions of each round, by their numbers."""
    size = max(LEAST, math.ceil(questions / ROUNDS))
    return [
        range(start, min(start + size, questions))
        for start in range(0, questions, size)
    ]


def next_share(price: float, rounds_left: int, tokens: float) -> float:
    """What the next round may cost, as a share of `price`: each round the same share of the one before it, at most 1.

    So the `tokens` last for all rounds that are left, and the field thins out evenly.
    """
    low, high = 0.0, 1.0
    if price * rounds_left <= tokens:
        return 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        total = price * sum(middle**each for each in range(1, rounds_left + 1))
        low, high = (middle, high) if total <= tokens else (low, middle)
    return low


def _means(values: Floats, *, empty: float) -> Floats:
    """[K]: the means of the values [K, Q] that are known; `empty` without any."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    return np.where(
        count > 0,
        np.where(known, values, 0.0).sum(axis=1) / np.maximum(count, 1),
        empty,
    )


def why_out(
    out: Exit, specs: Sequence[str], race: Race, errors: Mapping[int, str]
) -> str:
    """Why a candidate is out, in a few words."""
    after = f"after {counted(out.questions, 'question')}"
    if out.why == "failed":
        return f"no result {after}: {printable(errors.get(out.who, ''))}".rstrip(": ")
    if out.why == "over":
        return f"costs {race.cost(out.who):,.0f} tokens, over the {race.goal:,.0f} of the budget"
    assert out.against is not None
    rival = specs[out.against]
    if out.why == "worse":
        return f"less accurate than {rival} {after} (p = {out.p_value:.2g})"
    if out.why == "behind":
        gap = race.accuracy(out.against) - race.accuracy(out.who)
        return f"{100 * gap:.1f} points behind {rival} {after}; the tokens go to the others, nothing is proved"
    points = f"{100 * MARGIN:g} point"
    return f"costs more than {rival} and is not {points} better, {after} (p = {out.p_value:.2g})"
