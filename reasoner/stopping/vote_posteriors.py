"""Posterior probabilities and gains of a vote between answers, in closed form by the votes of each.

The prior is uniform: after a and b votes, the probability that a sample votes for the first is Beta(a + 1, b + 1).
Sums of integers are exact and rounded once.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

NODES = 256
"""Nodes of the quadrature; its error is below 1e-12 up to a thousand votes."""
TAIL = 1e-16
"""The leader's probability mass that the quadrature leaves out at each end."""
DRAWS = (1, 2, 3, 4, 6, 8, 12)
"""The numbers of more samples that `best_gain` tries, besides all that are left."""
MAX_LEAD = 64
"""How many samples ahead `best_gain` looks; 12 more than the lead, if that is more."""
HORIZON = 128
"""How many samples ahead `stays` is exact."""
MAX_BOUNDED = 256
"""Up to this many samples `most_lost` is computed; its time grows with their third power."""


class Gain(NamedTuple):
    """The best `rate` of gain from more samples, in chance of a right vote per sample, and its number of `draws`."""

    rate: float
    draws: int


def beta_lead(a: int, b: int) -> float:
    """P(p > 1/2) for p ~ Beta(a + 1, b + 1): the answer with `a` votes is likelier than the one with `b`. Exact."""
    tosses, term, heads = a + b + 1, 1, 1
    for k in range(min(a, b)):
        term = term * (tosses - k) // (k + 1)
        heads += term
    # The two tails sum to one, and the shorter one is summed.
    share = float(heads / 2**tosses)
    return 1 - share if b <= a else share


@lru_cache(maxsize=64)
def most_lost(theta: float, n: int) -> float:
    """The most accuracy that a vote of `n` loses on any question, if it stops at `beta_lead` of `theta` (a theorem).

    In a random order the samples of two answers are a random walk, whatever lies between them. So an answer that is not
    the final leader stops the vote with at most the chance that it overtakes the leader in that walk. The bound is the
    largest sum of these chances that fits into `n` samples. Where answers tie at the end, all have equal chances in
    both votes. It holds for exchangeable samples of a question, launch order, weights of 1 and at most `MAX_BOUNDED`
    samples; it is 1 for more. Samples that a server repeats, or that drift, are not exchangeable.
    """
    if n > MAX_BOUNDED:
        return 1.0
    most, passages = 0.0, _first_passages(theta, n // 2)
    for leader in range(1, n):
        rest = n - leader
        chances = [
            _overtakes(passages, votes, leader)
            for votes in range(1, min(leader, rest + 1))
        ]
        sums = [0.0] * (rest + 1)
        for room in range(1, rest + 1):
            sums[room] = max(
                (c + sums[room - k] for k, c in enumerate(chances[:room], 1)),
                default=0.0,
            )
        most = max(most, *sums)
    return min(1.0, most)


def _first_passages(theta: float, votes: int) -> list[tuple[int, int, int]]:
    """Each point (a, b), a up to `votes`, where a walk may first be ahead by `theta`, and how many paths go there."""
    points, paths, needed = [], [1], 1
    for b in range(votes):
        while needed <= votes and beta_lead(needed, b) < theta:
            needed += 1
        if needed > votes:
            break
        # Paths with b votes for the leader and fewer than needed for the other.
        paths = (
            list(accumulate([*paths, *[0] * (needed - len(paths))]))
            if b
            else [1] * needed
        )
        points.append((needed, b, paths[-1]))
    return points


def _overtakes(
    passages: Sequence[tuple[int, int, int]], votes: int, leader: int
) -> float:
    """P(an answer with `votes` votes is ever ahead of the leader by that), in a random order of the votes of both."""
    ways = sum(
        n * math.comb(votes + leader - a - b, votes - a)
        for a, b, n in passages
        if a <= votes
    )
    return ways / math.comb(votes + leader, votes)


def dirichlet_lead(counts: Sequence[int]) -> float:
    """P(the first class is the likeliest) under the posterior Dirichlet(counts + 1); two classes or more.

    The probabilities are normalized gamma variables, so it is the integral of the first one's density times the
    distribution functions of all others, by Gauss-Legendre quadrature over the support of that density.
    """
    import numpy as np
    from scipy import special

    first, *others = counts
    nodes, weights = _legendre()
    low, high = (
        special.gammaincinv(first + 1, TAIL),
        special.gammainccinv(first + 1, TAIL),
    )
    x = low + (high - low) * (nodes + 1) / 2
    density = np.exp(first * np.log(x) - x - math.lgamma(first + 1))
    below = np.ones_like(x)
    for votes in set(others):
        below *= special.gammainc(votes + 1, x) ** others.count(votes)
    return float(min(1.0, np.dot(weights, density * below) * (high - low) / 2))


@lru_cache(maxsize=1)
def _legendre() -> Any:
    import numpy as np

    return np.polynomial.legendre.leggauss(NODES)


def certificate(a: int, b: int) -> float:
    """The p-value of `a` to `b` votes: (a + b + 1) C(a + b, a) / 2^(a + b) (PPR-1v1, Jain 2022, 2109.05047).

    If the second answer is at least as likely as the first, i.i.d. samples ever bring it down to x with probability at
    most x; so it is valid after each sample. More votes for the second, up to a, never make it smaller.
    """
    return (a + b + 1) * math.comb(a + b, a) / (1 << a + b)


@lru_cache(maxsize=1 << 16)
def lock_in(a: int, b: int, remaining: int) -> float:
    """P(the answer with `a` votes has no fewer than that with `b` after `remaining` more votes for one or the other).

    The sum of BetaBinom(x; remaining, a + 1, b + 1) over a + x >= b + remaining - x, exact. 1.0 where remaining <= a -
    b.
    """
    # Future votes fall at random between a + b + 1 marks, those for the first before mark a + 1. So the second
    # overtakes if the last `seats` of marks and votes together hold at most b marks.
    seats = (a + b + remaining) // 2 + 1
    marks = a + b + 1
    # The sum is over marks, not votes: marks are few, however many votes are left.
    lost = sum(
        math.comb(seats, k) * math.comb(marks + remaining - seats, marks - k)
        for k in range(min(b, seats) + 1)
    )
    total = math.comb(marks + remaining, marks)
    return (total - lost) / total


@lru_cache(maxsize=1 << 17)
def knowledge_gain(a: int, b: int, draws: int) -> float:
    """How much `draws` more votes raise the chance that the leader is the likelier of two answers (KG_h).

    That chance is g = max(P, 1 - P), P of `beta_lead`; this is its expected value after the draws minus its current one
    (the knowledge gradient: Frazier 2008). Exact; 0.0 where draws <= |a - b|, as they cannot change the leader.
    """
    a, b = max(a, b), min(a, b)
    if draws <= a - b:
        return 0.0
    # P is a martingale, so the gain is the mean of 1 - 2P over outcomes in which the second leads. 1 - 2P is the sum of
    # the binomials of m between the two counts, over 2^m.
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


def best_gain(a: int, b: int, remaining: int) -> Gain:
    """The highest mean gain per sample, where up to `remaining` more may be drawn.

    The greatest KG_h / h over h of `DRAWS` up to `remaining` and h = `remaining`: one draw cannot change a leader,
    several can. `remaining` is limited by `MAX_LEAD`. The rate is above 0 exactly if remaining > |a - b|.
    """
    a, b = max(a, b), min(a, b)
    return _best_gain(a, b, min(remaining, max(MAX_LEAD, a - b + DRAWS[-1])))


@lru_cache(maxsize=1 << 17)
def _best_gain(a: int, b: int, remaining: int) -> Gain:
    tried = [*(h for h in DRAWS if h < remaining), *((remaining,) if remaining else ())]
    return max(
        (Gain(knowledge_gain(a, b, h) / h, h) for h in tried),
        key=lambda gain: gain.rate,
        default=Gain(0.0, 0),
    )


def stays(counts: Sequence[int], remaining: int) -> float:
    """P(no class has more than the first after `remaining` more samples) under the posterior Dirichlet(counts + 1).

    For two or more classes. Exact, up to rounding, for at most `HORIZON` more samples; beyond, the limit
    `dirichlet_lead`, which is lower.
    """
    if remaining > HORIZON or len(counts) < 2:
        return dirichlet_lead(counts)
    first, *others = counts
    return _stays(first, tuple(sorted(others)), remaining)


@lru_cache(maxsize=1 << 14)
def _stays(first: int, others: tuple[int, ...], remaining: int) -> float:
    """`stays` within the horizon.

    The votes of each class are negative binomial, given that they sum to `remaining`; so it is one coefficient of a
    product of power series, for each number of votes that the first may get.
    """
    import numpy as np

    multiplicities = Counter(others)
    size = first + sum(others) + len(others) + 1
    series = {
        votes: _power_series(votes, remaining, size) for votes in {first, *others}
    }
    chance = 0.0
    for more in range(max(0, max(others) - first), remaining + 1):
        left = remaining - more
        product = np.array([1.0])
        for votes, times in multiplicities.items():
            power = series[votes][: min(first + more - votes, left) + 1]
            for bit in range(times.bit_length()):
                if times >> bit & 1:
                    product = np.convolve(product, power)[: left + 1]
                power = np.convolve(power, power)[: left + 1]
        if len(product) > left:
            chance += float(series[first][more] * product[left])
    return min(1.0, chance / float(_power_series(size - 1, remaining, size)[remaining]))


def _power_series(votes: int, remaining: int, size: int) -> Any:
    """The negative binomial of a class, 0 to `remaining` more votes, scaled so that all classes expect `remaining`."""
    import numpy as np
    from scipy import special

    # Not `scipy.stats.nbinom`: it takes six times as long, and its import half a second.
    x, share = np.arange(remaining + 1), remaining / (remaining + size)
    binomials = (
        special.gammaln(votes + 1 + x)
        - special.gammaln(votes + 1)
        - special.gammaln(x + 1)
    )
    return np.exp(
        binomials + special.xlogy(x, share) + (votes + 1) * math.log1p(-share)
    )
