"""Promises that hold at their rate: how surely a mean loss, or a share of wrong answers, is below a risk.

Learn then Test (Angelopoulos 2021, 2110.01052): arms or thresholds are tested in an order that was fixed before, each
at the full level, until the first that fails; all before it are promised at once.
"""

import math
from collections.abc import Sequence
from typing import Final

LEVEL: Final = 0.95
"""The confidence of a promise."""
STAKES: Final = (1.0, 0.5, 0.2, 0.08, 0.03, 0.01)
"""Bets against a loss, as parts of the largest that cannot ruin."""
SHARES: Final = (0.4, 0.2, 0.1, 0.1, 0.1, 0.1)
"""The share of the wealth on each. The largest is best where nothing is lost, small ones where losses vary."""

Losses = Sequence[tuple[float, int]]
"""Losses of questions, each with the number of questions that have it."""


def p_value(losses: Losses, risk: float, most: float = 1.0) -> float:
    """The p-value of "the mean loss is above `risk`", for independent questions and losses of at most `most`.

    One over the wealth of a gambler who bets against that on each question (Waudby-Smith and Ramdas 2024, 2010.09686),
    as a mixture of constant bets, so that the order of the questions does not matter. Losses may be as negative as they
    like. If nothing was ever lost it is at most 2.5 (1 - risk / most)^n.
    """
    if most <= risk:
        return 0.0
    logs = [
        math.log(share) + sum(n * g for n, g in _growth(losses, risk, most, s))
        for s, share in _bets()
    ]
    top = max(logs)
    return min(1.0, math.exp(-top) / math.fsum(math.exp(log - top) for log in logs))


def needed(
    losses: Losses, risk: float, most: float = 1.0, level: float = LEVEL
) -> int | None:
    """About how many questions with such losses would promise this risk; None where no number would."""
    count = sum(n for _, n in losses)
    rates = [
        (math.fsum(n * g for n, g in _growth(losses, risk, most, s)) / count, share)
        for s, share in _bets()
    ]
    enough = [
        math.log(1 / (1 - level) / share) / rate for rate, share in rates if rate > 0
    ]
    return math.ceil(min(enough)) if enough else None


def _bets() -> Sequence[tuple[float, float]]:
    return list(zip(STAKES, SHARES, strict=True))


def _growth(
    losses: Losses, risk: float, most: float, stake: float
) -> Sequence[tuple[int, float]]:
    """The numbers of questions, and by how much the wealth's logarithm grows on each."""
    # A hair below the largest bet: a question of the largest loss takes nearly all, and not all.
    bet = stake * (1 - 1e-6) / (most - risk)
    return [(n, math.log1p(bet * (risk - min(loss, most)))) for loss, n in losses]


def least_share(
    shares: Sequence[float],
    answered: Sequence[int],
    right: Sequence[int],
    risk: float,
    promises: int = 1,
) -> float | None:
    """The lowest share from which on at most `risk` of the answers are wrong, with confidence `LEVEL`; None if none is.

    Of ascending shares with their numbers of answers and of right ones, one answer a question. An exact binomial test
    at each share, from the highest down; the first is the one with enough answers to pass at all. `promises`
    is how many of such shares hold together.
    """
    from scipy import special

    least, count, wrong = None, 0, 0
    for share, given, good in zip(
        reversed(shares), reversed(answered), reversed(right), strict=True
    ):
        count, wrong = count + given, wrong + given - good
        if count < fewest(risk, promises):
            continue
        if special.bdtr(wrong, count, risk) > (1 - LEVEL) / promises:
            break
        least = share
    return least


def fewest(risk: float, promises: int = 1) -> int:
    """The number of answers that, without a wrong one, promise that at most `risk` of them, above 0, are wrong."""
    return (
        math.ceil(math.log((1 - LEVEL) / promises) / math.log1p(-risk))
        if risk < 1
        else 1
    )
