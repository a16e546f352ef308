"""What `reasoner tune` chooses on simulated laws, how often it claims a gain that is none, and what it spends.

    python bench/tune.py [RESAMPLES] [QUESTIONS...]

Each law has 2,000 questions and 37 candidates at a budget of 4,000 tokens: one greedy sample, votes, best of n and
weighted votes of 8, 16 and 32 samples of one pool, three votes that a rule ends, seven searches in three sizes, and the
shortest three of 8, 16 and 32 chains. Their accuracies on all questions are the truth. A resample takes some of the
questions (150 and 600 by default), races two thirds of them as the command does, and judges with the others. The tokens
count the sizes, the race and the judge, against all candidates on all questions, each by itself or with the samples of
the pool drawn once.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from reasoner_evals.stats import Bools, Floats, Ints
from reasoner_evals.stats.estimators import best_of_k, votes_at_k
from reasoner_evals.tuning.candidates import PILOT, TRIALS
from reasoner_evals.tuning.race import Race, limit, rounds
from reasoner_evals.tuning.split import FEW, JUDGES
from reasoner_evals.tuning.verdict import SINGLES, JudgedStrategy, verdict

POPULATION = 2000
POOL, LENGTH = 32, 125.0
SIZES = (8, 16, 32)
GOAL = POOL * LENGTH
SEARCHES = {
    "beam": 0.0,
    "rebase": 0.02,
    "refine": -0.05,
    "mcts": -0.02,
    "swiss": -0.03,
    "ask": -0.04,
    "tree": -0.1,
}
"""How much more often than a single sample their parts are right; they have half as many as a vote of equal cost."""


@dataclass(frozen=True, slots=True)
class Law:
    """How a question comes out: the chance p that a sample is right is drawn from Beta(`a`, `b`)."""

    a: float
    b: float
    wrong: int = 6
    """How many wrong answers share the rest."""
    greedy: float = 0.0
    """Added to p for the greedy sample."""
    auroc: float = 0.6
    """How well the verifier tells right samples from wrong ones."""
    longer: float = 1.0
    """How many times as long wrong samples are."""


LAWS = {
    "votes help": Law(3, 3),
    "level": Law(0.03, 0.02, wrong=1),
    "a verifier helps": Law(1.2, 2.5, wrong=1, auroc=0.93),
    "greedy wins": Law(2, 2.2, wrong=1, greedy=0.4, auroc=0.5),
    "short chains win": Law(1.5, 2, wrong=1, longer=3.0),
}


class Field(NamedTuple):
    """The candidates on all questions of a law: [K, Q]."""

    names: list[str]
    right: Floats
    tokens: Floats
    shared: Bools
    """[K]: those that select from the pool."""


def field(law: Law, source: np.random.Generator) -> Field:
    """The candidates of a law."""
    p = source.beta(law.a, law.b, POPULATION)

    def answers(n: int, lift: float = 0.0) -> Ints:
        hit = source.random((POPULATION, n)) < np.clip(p + lift, 0, 1)[:, None]
        return np.where(hit, 0, 1 + source.integers(0, law.wrong, (POPULATION, n)))

    pool = answers(POOL)
    right = (pool == 0).astype(float)
    apart = np.sqrt(2) * norm.ppf(law.auroc)
    scores = norm.cdf(source.normal(size=pool.shape) + apart * right)
    lengths = source.gamma(4, 0.25, pool.shape) * np.where(right == 1, 1.0, law.longer)
    lengths *= LENGTH / lengths.mean()
    rows: list[tuple[str, Floats, Floats, bool]] = []
    greedy = (source.random(POPULATION) < np.clip(p + law.greedy, 0, 1)).astype(float)
    rows.append(("greedy", greedy, np.full(POPULATION, LENGTH), False))
    mean = lengths.mean(axis=1)
    votes = votes_at_k(right, pool, SIZES)
    weighted = votes_at_k(right, pool, SIZES, scores)
    best = best_of_k(right, scores, SIZES)
    for at, n in enumerate(SIZES):
        rows += [
            (f"{name}{n}", table[:, at], mean * n, True)
            for name, table in (("vote", votes), ("best", best), ("weighted", weighted))
        ]
    agreement = np.abs(right.mean(axis=1) - 0.5) * 2
    for theta, loss, part in ((0.99, 0.0, 0.5), (0.95, 0.004, 0.3), (0.9, 0.01, 0.2)):
        used = POOL * np.clip(part * (1.6 - agreement), 0.1, 1)
        rows.append(
            (f"stop{theta}", np.clip(votes[:, -1] - loss, 0, 1), mean * used, True)
        )
    for name, lift in SEARCHES.items():
        for n in SIZES:
            drawn = answers(n // 2, lift)
            counts = np.stack(
                [(drawn == answer).sum(axis=1) for answer in range(law.wrong + 1)],
                axis=1,
            )
            rival = counts[:, 1:].max(axis=1)
            won = (counts[:, 0] > rival) + 0.5 * (counts[:, 0] == rival)
            rows.append(
                (
                    f"{name}{n}",
                    (source.random(POPULATION) < won).astype(float),
                    np.full(POPULATION, LENGTH * n),
                    False,
                )
            )
    for n in SIZES:
        order = np.argsort(lengths[:, :n], axis=1)[:, :3]
        third = np.take_along_axis(lengths, order[:, 2:], axis=1)
        most = (np.take_along_axis(right, order, axis=1).sum(axis=1) >= 2).astype(float)
        rows.append(
            (f"short{n}", most, np.minimum(lengths[:, :n], third).sum(axis=1), False)
        )
    names, outcomes, tokens, shared = zip(*rows, strict=True)
    return Field(list(names), np.stack(outcomes), np.stack(tokens), np.array(shared))


class Result(NamedTuple):
    """One race."""

    chosen: int
    spent: float
    gains: tuple[str, ...]
    """The baselines over which a gain is claimed."""


def tuned(of: Field, asked: np.ndarray) -> Result:
    """A race and its judge on these questions, as the command runs them."""
    racing, judging = asked[: -len(asked) // JUDGES], asked[-len(asked) // JUDGES :]
    right, tokens = of.right[:, racing], of.tokens[:, racing]
    candidates = len(of.names)
    race = Race(right[:, :0], tokens[:, :0], tokens[:, :0], GOAL)
    own = of.tokens.mean(axis=1)
    spent = PILOT * TRIALS * (own[~of.shared].sum() + GOAL)

    def price(inside: Sequence[int]) -> float:
        kept = np.zeros(candidates, dtype=bool)
        kept[list(inside)] = True
        costs = np.where(np.isinf(race.costs), GOAL, race.costs)
        return float(
            costs[kept & ~of.shared].sum()
            + (costs[of.shared].max() if (kept & of.shared).any() else 0.0)
        )

    blocks = rounds(len(racing))
    judge = 2 * GOAL * len(judging)
    for number, block in enumerate(blocks, 1):
        costs = np.where(np.isinf(race.costs), GOAL, race.costs).tolist()
        left = (limit(costs, GOAL, len(asked)) - spent - judge) / len(block)
        if number > 1:
            race.thin_out(price, len(blocks) - number + 1, left)
        inside = race.inside
        if len(inside) == 1 or price(inside) > left:
            break
        part = slice(block.start, block.stop)
        row = np.isin(np.arange(candidates), inside)[:, None]
        race.right = np.concatenate(
            [race.right, np.where(row, right[:, part], np.nan)], axis=1
        )
        race.tokens = np.concatenate(
            [race.tokens, np.where(row, tokens[:, part], np.nan)], axis=1
        )
        spent += price(inside) * len(block)
        race.look()
    chosen = race.choice(few=len(asked) < FEW)
    sizes = [of.names.index(f"vote{n}") for n in SIZES]
    vote = min(sizes, key=lambda who: abs(own[who] - (own[chosen] if chosen else GOAL)))
    names = {SINGLES[0]: 0, "a plain vote": vote}
    judged = {
        who: JudgedStrategy(
            of.names[who], of.right[who, judging], *([of.tokens[who, judging]] * 3)
        )
        for who in {chosen, *names.values()}
    }
    spent += sum(float(each.tokens.sum()) for each in judged.values())
    judgement = verdict(
        judged[chosen], [(name, judged[who]) for name, who in names.items()]
    )
    truth = of.right.mean(axis=1)
    wrong = [
        each.name
        for each in judgement.comparisons
        if each.gain and truth[chosen] <= truth[names[each.name]]
    ]
    return Result(chosen, spent, tuple(wrong))


def main(resamples: int, counts: list[int]) -> None:
    print(
        "questions, law: within a point of the best, points lost, false claims, tokens of all (of all, the pool once)"
    )
    for count in counts:
        for name, law in LAWS.items():
            source = np.random.default_rng(0)
            of = field(law, source)
            truth, own = of.right.mean(axis=1), of.tokens.mean(axis=1)
            results = [
                tuned(of, source.permutation(POPULATION)[:count])
                for _ in range(resamples)
            ]
            lost = np.array([truth.max() - truth[each.chosen] for each in results])
            alone = own.sum() * count
            once = (own[~of.shared].sum() + own[of.shared].max()) * count
            spent = np.mean([each.spent for each in results])
            chosen, times = np.unique(
                [each.chosen for each in results], return_counts=True
            )
            often = of.names[chosen[times.argmax()]]
            print(
                f"{count}, {name}: {np.mean(lost <= 0.01):.1%}, {100 * lost.mean():.2f}, "
                f"{np.mean([bool(each.gains) for each in results]):.1%}, {spent / alone:.0%} ({spent / once:.0%}), "
                f"{often} {times.max() / resamples:.0%}; best {of.names[int(truth.argmax())]} {truth.max():.1%}, "
                f"greedy {truth[0]:.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main(
        int((sys.argv[1:] or ["300"])[0]),
        [int(each) for each in sys.argv[2:]] or [150, 600],
    )
