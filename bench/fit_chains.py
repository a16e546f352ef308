"""Fit the law of simulated chains of thought to recordings, and say how well it fits.

    python bench/fit_chains.py FILE...

A file is a pool of chains with probes. Chains of one question are compared with each other for the ratio of wrong to
right lengths; lengths, chances and their correlation are maximum likelihood given that. A chain knows its answer from
the first probe on after which all give its last answer. The law is the one of `reasoner.engines.chains`, rounded as
there, with the median and the mean chance of the recordings: 2,000 questions of 128 chains, probed as often.
"""

import math
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from replies import questions_in
from scipy.optimize import minimize
from scipy.special import log_ndtr, logsumexp, ndtri

from reasoner.engines.chains import ChainLaw
from reasoner_evals.stats import Floats

EVERY, UNREADABLE, QUESTIONS, CHAINS, SUBSETS = 500, "ERR", 2000, 128, 200
LEVELS, SHARES, VOTES = (0.05, 0.25, 0.5, 0.75, 0.95), (0.25, 0.5, 0.75), (1, 4, 16, 64)
WRONG = 3
"""The number of equally likely wrong answers in the simulated arithmetic."""


class Seen(NamedTuple):
    """A chain: its length in tokens, its answer, whether that is right, and the share from which on it knows it."""

    tokens: int
    answer: str
    right: bool
    knows: float


def recorded(paths: Iterable[Path]) -> list[list[Seen]]:
    """The chains of each question."""
    questions = []
    for line in (line for path in paths for line in questions_in(path)):
        chains = []
        for chain in line["replies"]:
            tokens, answer, probes = chain["tokens"], chain["answer"], chain["probes"]
            early = max(
                (index + 1 for index, probe in enumerate(probes) if probe != answer),
                default=0,
            )
            knows = min((early + 1) * line["every"], tokens) / tokens
            chains.append(
                Seen(tokens, answer or UNREADABLE, answer == line["gold"], knows)
            )
        questions.append(chains)
    return questions


def drawn(law: ChainLaw, longest: int) -> list[list[Seen]]:
    """Chains by the law, cut at the longest recorded length and probed as often."""
    source, questions = random.Random(0), []
    for number in range(QUESTIONS):
        question, chains = law.question(f"question {number}"), []
        for _ in range(CHAINS):
            chain = law.chain(question, source.getrandbits(31))
            tokens, answer = (
                min(chain.tokens, longest),
                "right" if chain.right else str(source.randrange(WRONG)),
            )
            probed = min(math.ceil(chain.knows / EVERY) * EVERY, tokens)
            chains.append(Seen(tokens, answer, chain.right, probed / tokens))
        questions.append(chains)
    return questions


def fitted(questions: Sequence[Sequence[Seen]]) -> ChainLaw:
    """The law that fits best; its chances are integrated over what the lengths do not explain."""
    logs = [np.log([chain.tokens for chain in chains]) for chains in questions]
    wrong = [
        np.array([not chain.right for chain in chains], float) for chains in questions
    ]
    inner = [
        (log - log.mean(), bad - bad.mean())
        for log, bad in zip(logs, wrong, strict=True)
    ]
    ratio = sum(float(log @ bad) for log, bad in inner) / sum(
        float(bad @ bad) for _, bad in inner
    )
    within = math.sqrt(np.concatenate([log - ratio * bad for log, bad in inner]).var())
    medians = np.array(
        [(log - ratio * bad).mean() for log, bad in zip(logs, wrong, strict=True)]
    )
    hard = (medians - medians.mean()) / medians.std()
    rights = np.array([(1 - bad).sum() for bad in wrong])
    wrongs = np.array([bad.sum() for bad in wrong])
    grid = np.linspace(-6, 6, 2401)
    accuracy = float(np.mean(1 - np.concatenate(wrong)))

    def loss(values: Floats) -> float:
        spread, tie = math.exp(values[0]), math.tanh(values[1])
        other = tie * hard[:, None] + math.sqrt(1 - tie**2) * grid
        probits = math.hypot(1, spread) * ndtri(accuracy) - spread * other
        likelihood = (
            rights[:, None] * log_ndtr(probits)
            + wrongs[:, None] * log_ndtr(-probits)
            - grid**2 / 2
        )
        return -float(logsumexp(likelihood, axis=1).sum())

    best = minimize(loss, [1.0, 0.5], method="Nelder-Mead").x
    return ChainLaw(
        math.exp(medians.mean()),
        accuracy,
        float(medians.std()),
        within,
        math.exp(ratio),
        math.exp(best[0]),
        math.tanh(best[1]),
    )


def vote(answers: Sequence[str]) -> dict[str, float]:
    """The answers that lead, in equal shares."""
    counts = Counter(answer for answer in answers if answer != UNREADABLE)
    top = max(counts.values(), default=0)
    leaders = [answer for answer, count in counts.items() if count == top]
    return {answer: 1 / len(leaders) for answer in leaders}


def figures(questions: Sequence[Sequence[Seen]], subsets: int) -> dict[str, float]:
    """What is compared: quantiles of lengths, shares of chains that know their answer, and the accuracy of votes."""
    chains, source = (
        [chain for chains in questions for chain in chains],
        random.Random(0),
    )
    compared: dict[str, float] = {}
    for name, ends_right in (("right", True), ("wrong", False)):
        lengths = np.quantile(
            [chain.tokens for chain in chains if chain.right == ends_right], LEVELS
        )
        compared |= {
            f"{name}, {level:.0%} shorter than": float(at)
            for level, at in zip(LEVELS, lengths, strict=True)
        }
    for share in SHARES:
        compared[f"know at {share:.0%}"] = float(
            np.mean([chain.knows <= share for chain in chains])
        )
    for size in VOTES:
        scores = []
        for question in questions:
            right = next((chain.answer for chain in question if chain.right), "")
            picks = (source.sample(question, size) for _ in range(subsets))
            scores += [
                vote([chain.answer for chain in pick]).get(right, 0.0) for pick in picks
            ]
        compared[f"vote of {size}"] = float(np.mean(scores))
    return compared


def main(paths: Sequence[Path]) -> None:
    questions = recorded(paths)
    fit = fitted(questions)
    longest = max(chain.tokens for chains in questions for chain in chains)
    shares = [chain.knows for chains in questions for chain in chains]
    print(f"{len(questions)} questions, {len(shares)} chains: {fit}")
    print(
        f"exponent of the share from which on a chain knows its answer: {-1 / np.log(shares).mean():.2f}"
    )
    law = ChainLaw(fit.tokens, fit.accuracy)
    print(f"as the product rounds it: {law}\n")
    measured, simulated = figures(questions, SUBSETS), figures(drawn(law, longest), 1)
    print(f"{'':<26}{'recorded':>10}{'law':>10}")
    for name, value in measured.items():
        digits = 0 if "shorter" in name else 3
        print(f"{name:<26}{value:>10,.{digits}f}{simulated[name]:>10,.{digits}f}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
