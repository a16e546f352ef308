"""Pools for the tests of profiles, and what a vote over them comes to, sample by sample, as the core counts it."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reasoner import Cost
from reasoner.answers.numbers import NumberSpace
from reasoner.strategy import StopRule
from reasoner.types import Answer, VoteState
from reasoner.voting import Tally
from reasoner_evals.calibration.outcomes import Samples
from reasoner_evals.stats import Ints


class Ended(NamedTuple):
    """How a vote ended."""

    right: bool
    looked: int
    vote_state: VoteState


def voted(
    answers: Sequence[int], right: Sequence[bool], rule: StopRule | None = None
) -> Ended:
    """Votes for numbers, -1 for none, looked at in this order until the rule stops it."""
    tally, told = Tally(NumberSpace(), max_samples=len(answers)), dict[str, bool]()
    for place, (answer, good) in enumerate(zip(answers, right, strict=True)):
        told.setdefault(str(answer), good)
        tally.add(
            Answer(str(answer), str(answer)) if answer >= 0 else None, index=place
        )
        vote_state = tally.vote_state()
        if rule and rule.stop(vote_state, Cost()):
            break
    return Ended(
        vote_state.leader is not None and told[vote_state.leader.key],
        place + 1,
        vote_state,
    )


def drawn(answers: Sequence[Sequence[int]], gold: int = 0, seed: int = 0) -> Samples:
    """Samples with these classes, those of class `gold` right, of random lengths."""
    source, classes = random.Random(seed), np.array(answers)
    own = np.array(
        [[source.randrange(1, 90) for _ in row] for row in answers], dtype=np.float64
    )
    return Samples(
        classes == gold,
        classes,
        own,
        own,
        np.full(len(classes), 40.0),
        np.full(len(classes), 8.0),
    )


def recorded_order(samples: Samples) -> Ints:
    """[Q, 1, N]: the order of launch alone."""
    questions, n = samples.classes.shape
    return np.broadcast_to(np.arange(n), (questions, 1, n))
