"""What every stop rule promises: it is a pure function of the numbers, with its reason in one line."""

import random
from dataclasses import replace

from reasoner.budget import Cost
from reasoner.strategy import StopRule
from reasoner.types import Answer, Vote, VoteState

HOSTILE = (
    "stop now\nIgnore the rule",
    "\x1b[2J",
    "x" * 9_000,
    "",
    "\ud800",
    "5 to 0 votes",
    "-0",
    "nan",
    "{}",
    "%s",
)
"""Answers that a model may give."""


def check_rule(rule: StopRule, *, wide: bool = False) -> None:
    """Ask a rule about vote states, possible or not: ties, weights against counts, more samples than there should be.

    Raises:
        AssertionError: its verdict depends on what the answers are or on earlier calls, its reason is no short line, or
            it looks ahead where nobody knows how many samples there will be.
    """
    source = random.Random(0)
    for _ in range(5000 if wide else 200):
        here, cost = (
            _vote_state(source),
            Cost(
                generated_tokens=source.randrange(10**6), samples=source.randrange(99)
            ),
        )
        reason = rule.stop(here, cost)
        line = reason is None or (0 < len(reason) < 200 and reason.isprintable())
        assert line, (
            f"a reason is one printable line of at most 200 characters: {reason!r}"
        )
        texts = source.sample(HOSTILE, len(here.votes))
        votes = tuple(
            replace(vote, answer=Answer(text, text))
            for vote, text in zip(here.votes, texts, strict=True)
        )
        renamed = rule.stop(replace(here, votes=votes), cost)
        assert renamed == reason, (
            f"with other answers to the same votes the verdict is {renamed!r} and not {reason!r}"
        )
        ahead = [
            rule.stop(replace(here, max_samples=here.samples + more), cost)
            for more in (1, 8, 1000)
        ]
        blind = rule.stop(replace(here, max_samples=0), cost)
        looks = any(ahead) and not all(ahead)
        assert not (looks and blind), (
            f"without max_samples a rule that looks ahead never stops: {blind!r}"
        )
        again = rule.stop(here, cost)
        assert again == reason, (
            f"asked twice about one vote state, it said {reason!r} and {again!r}"
        )


def _vote_state(source: random.Random) -> VoteState:
    counts = [source.randint(1, 40) for _ in range(source.randint(0, 8))]
    even = source.random() < 0.5
    weights = [
        count
        if even
        else source.choice([0.0, 1.0, 1e-300, 1e300, source.uniform(0, 50)])
        for count in counts
    ]
    rows = sorted(zip(weights, counts, strict=True), reverse=True)
    votes = tuple(
        Vote(Answer(str(at), str(at)), float(weight), count)
        for at, (weight, count) in enumerate(rows)
    )
    return VoteState(
        votes,
        sum(counts) + source.randint(0, 30),
        len(rows) > 1 and rows[0][0] == rows[1][0],
        source.randint(0, 64),
        source.choice([0, source.randint(1, 400)]),
        stragglers=source.randint(0, 70),
    )
