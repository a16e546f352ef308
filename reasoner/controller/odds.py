"""Chances and gains of a vote between answers: closed forms over how many votes each has.

All take a uniform prior: after a and b votes, the probability that a sample votes for the first is Beta(a + 1, b + 1).
Where integers count the cases, they are counted exactly and rounded once.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

NODES = 256
"""Of the quadrature; its error is below 1e-12 up to a thousand votes."""
TAIL = 1e-16
"""The leader's probability mass that is left out at each end of the quadrature."""
DRAWS = (1, 2, 3, 4, 6, 8, 12)
"""How many more samples `best_gain` tries, beside all that are left."""
FARTHEST = 64
"""The most samples ahead that `best_gain` looks, but where the lead is longer: then 12 beyond what would end it."""
HORIZON = 128
"""The most samples ahead over which `stays` sums."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What more samples bring: the best `rate`, in chance of a right vote per sample, and with how many `draws`."""

    rate: float
    draws: int


def beta_lead(a: int, b: int) -> float:
    """P(p > 1/2) for p ~ Beta(a + 1, b + 1): that the answer with `a` votes is likelier than the one with `b`.

    Exact: the integral is a sum of binomials, counted in integers and rounded once.
    """
    _check_votes(a, b)
    tosses, term, heads = a + b + 1, 1, 1
    for k in range(min(a, b)):
        term = term * (tosses - k) // (k + 1)
        heads += term
    # The two tails sum to one, and the shorter is counted.
    share = float(heads / 2**tosses)
    return 1 - share if b <= a else share


def dirichlet_lead(counts: Sequence[int]) -> float:
    """P(the first class is the likeliest) under the posterior Dirichlet(counts + 1); two classes or more.

    The probabilities are gamma variables, normalised, so it is the integral of the first one's density times the
    distribution functions of all others. Deterministic, by Gauss-Legendre quadrature over where that density lives.
    """
    import numpy as np
    from scipy import special

    if len(counts) < 2 or min(counts) < 0:
        raise ValueError(f"two classes or more of 0 votes or more, not {list(counts)}")
    first, *others = counts
    nodes, weights = _legendre()
    least, most = special.gammaincinv(first + 1, TAIL), special.gammainccinv(first + 1, TAIL)
    x = least + (most - least) * (nodes + 1) / 2
    density = np.exp(first * np.log(x) - x - math.lgamma(first + 1))
    below = np.ones_like(x)
    for votes in set(others):
        below *= special.gammainc(votes + 1, x) ** others.count(votes)
    return float(min(1.0, np.dot(weights, density * below) * (most - least) / 2))


@lru_cache(maxsize=1)
def _legendre() -> Any:
    import numpy as np

    return np.polynomial.legendre.leggauss(NODES)


def certificate(a: int, b: int) -> float:
    """How well `a` to `b` votes go with a tie: (a + b + 1) C(a + b, a) / 2^(a + b) (PPR-1v1, Jain 2022, 2109.05047).

    Draws that are i.i.d. ever bring it down to x with probability x at most, where the second answer is as likely as
    the first or likelier; so it may be looked at after each. It is no smaller for more votes of the second, up to a.
    """
    _check_votes(a, b)
    return (a + b + 1) * math.comb(a + b, a) / (1 << a + b)


@lru_cache(maxsize=1 << 16)
def lock_in(a: int, b: int, rest: int) -> float:
    """P(the answer with `a` votes has no fewer than that with `b` after `rest` more votes for one or the other).

    The sum of BetaBinom(x; rest, a + 1, b + 1) over a + x >= b + rest - x, exact. 1.0 where rest <= a - b.
    """
    _check_votes(a, b, rest)
    # Votes to come fall between a + b + 1 marks at random, those for the first before the mark a + 1. So the second
    # overtakes where the last `seats` of marks and votes together hold b marks or fewer.
    seats = (a + b + rest) // 2 + 1
    marks = a + b + 1
    # Counted by where the marks fall, not by where the votes fall: marks are few, however many votes are to come.
    lost = sum(math.comb(seats, k) * math.comb(marks + rest - seats, marks - k) for k in range(min(b, seats) + 1))
    every = math.comb(marks + rest, marks)
    return (every - lost) / every


@lru_cache(maxsize=1 << 17)
def knowledge_gain(a: int, b: int, draws: int) -> float:
    """By how much `draws` more votes raise the chance that the leader is the likelier of two answers (KG_h).

    That chance is g = max(P, 1 - P), P of `beta_lead`; this is its expected value after the draws less what it is now
    (the knowledge gradient: Frazier 2008). Exact; 0.0 exactly where draws <= |a - b|, as they cannot change the leader.
    """
    _check_votes(a, b, draws)
    a, b = max(a, b), min(a, b)
    if draws <= a - b:
        return 0.0
    # P is a martingale, so what is gained is 1 - 2P over the draws after which the second leads. With m votes and a
    # half for one more, 1 - 2P is the middle of 2^m: as many binomials as lie between the two counts.
    m = a + b + draws + 1
    x = (b + draws - a - 1) // 2
    low, high = a + x, b + draws - x
    term, binomial = math.comb(low, a) * math.comb(high, b), math.comb(m, high)
    middle = binomial if 2 * high == m else 2 * binomial
    gain = term * middle
    while x:
        binomial = binomial * (m - high) // (high + 1)
        middle += 2 * binomial
        term = term * x * (high + 1) // (low * (draws - x + 1))
        gain += term * middle
        x, low, high = x - 1, low - 1, high + 1
    return gain / (math.comb(m, draws) << m)


def best_gain(a: int, b: int, rest: int) -> Gain:
    """The most that a sample can bring on average, where up to `rest` more may be drawn.

    The greatest KG_h / h over h of `DRAWS` up to `rest` and h = `rest`: one draw cannot change a leader, several can.
    The last is taken no farther than `FARTHEST`. The rate is above 0 exactly where rest > |a - b|.
    """
    a, b = max(a, b), min(a, b)
    return _best_gain(a, b, min(rest, max(FARTHEST, a - b + DRAWS[-1])))


@lru_cache(maxsize=1 << 17)
def _best_gain(a: int, b: int, rest: int) -> Gain:
    _check_votes(a, b, rest)
    tried = [*(h for h in DRAWS if h < rest), *((rest,) if rest else ())]
    return max((Gain(knowledge_gain(a, b, h) / h, h) for h in tried), key=lambda gain: gain.rate, default=Gain(0.0, 0))


def stays(counts: Sequence[int], rest: int) -> float:
    """P(no class has more than the first after `rest` more samples) under the posterior Dirichlet(counts + 1).

    Two classes or more of 0 votes or more. Exact but for rounding up to `HORIZON` more samples; beyond, their limit,
    `dirichlet_lead`, which is lower.
    """
    if rest > HORIZON or len(counts) < 2:
        return dirichlet_lead(counts)
    first, *others = counts
    return _stays(first, tuple(sorted(others)), rest)


@lru_cache(maxsize=1 << 14)
def _stays(first: int, others: tuple[int, ...], rest: int) -> float:
    """`stays` within the horizon.

    The votes of each class are negative binomial, given that they sum to `rest`; so it is one coefficient of a product
    of power series, for each number of votes that the first may get.
    """
    import numpy as np

    _check_votes(first, *others, rest)
    multiplicities = Counter(others)
    size = first + sum(others) + len(others) + 1
    series = {votes: _power_series(votes, rest, size) for votes in {first, *others}}
    chance = 0.0
    for more in range(max(0, max(others) - first), rest + 1):
        left = rest - more
        product = np.ones(1)
        for votes, times in multiplicities.items():
            power = series[votes][: min(first + more - votes, left) + 1]
            for bit in range(times.bit_length()):
                if times >> bit & 1:
                    product = np.convolve(product, power)[: left + 1]
                power = np.convolve(power, power)[: left + 1]
        if len(product) > left:
            chance += float(series[first][more] * product[left])
    return min(1.0, chance / float(_power_series(size - 1, rest, size)[rest]))


def _power_series(votes: int, rest: int, size: int) -> Any:
    """The negative binomial of a class, 0 to `rest` more votes, scaled so that all classes expect `rest` in total."""
    import numpy as np
    from scipy import special

    # Not `scipy.stats.nbinom`: it takes six times as long, and its import half a second.
    x, share = np.arange(rest + 1), rest / (rest + size)
    binomials = special.gammaln(votes + 1 + x) - special.gammaln(votes + 1) - special.gammaln(x + 1)
    return np.exp(binomials + special.xlogy(x, share) + (votes + 1) * math.log1p(-share))


def _check_votes(*counts: int) -> None:
    if min(counts) < 0:
        raise ValueError(f"votes must be 0 or more (got {', '.join(map(str, counts))})")
