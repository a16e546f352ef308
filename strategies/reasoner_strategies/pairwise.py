"""Pairwise: every answer is compared with every other by the model itself."""

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from reasoner.errors import UsageError
from reasoner.plan import Plan, propose
from reasoner.types import Answer, Question, SamplingParams
from reasoner_strategies.comparing import compared, field, standing_of


@dataclass(frozen=True, slots=True)
class Pairwise:
    """The answer that wins most of its comparisons with the others (GenRM: Zhang 2024, 2408.15240; V1: 2603.04304).

    `n` candidates are drawn and the first of each class of answers stands. Each pair is compared `comparisons` times,
    every second time in the other order, so that an even number leaves no advantage to a place. A comparison that does
    not end in a verdict abstains; a tied pair goes to the answer with more votes, as does a tie of pairs won. With one
    class nothing is compared. `params` draw candidates and comparisons; of each text the last 4,000 characters are
    shown.

    The standing weighs a class by the pairs it won and, below 1, its share of the votes.
    """

    uses_verifier: ClassVar[bool] = False

    n: int = 8
    comparisons: int = 2
    params: SamplingParams = SamplingParams()

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"n={self.n} draws nothing: n is 1 or more")
        if self.comparisons < 1:
            raise UsageError(f"comparisons={self.comparisons} is out of range: comparisons is 1 or more a pair")

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, compare all pairs at once."""
        entered = yield from field(question, self.n, self.params)
        pairs = list(itertools.combinations(entered.seeds, 2))
        if not pairs:
            return entered.majority.leader
        winners = yield from compared(question, pairs, self.comparisons, self.params)
        won = Counter(one.place for one in winners)
        standing = yield from standing_of(question, entered.drawn, won)
        yield from propose(standing.leader, standing)
        return standing.leader
