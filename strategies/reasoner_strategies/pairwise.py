"""Pairwise: every answer is compared with every other by the model itself."""

import itertools
from collections import Counter
from dataclasses import dataclass

from reasoner.plan import Plan, propose
from reasoner.types import Answer, Question, SamplingParams
from reasoner_strategies._voting.self_comparison import COMPARISONS, By, check, compared, field, preferred, standing_of


@dataclass(frozen=True, slots=True)
class Pairwise:
    """The answer that wins most of its comparisons with the others (GenRM: Zhang 2024, 2408.15240; V1: 2603.04304).

    `n` candidates are drawn and the first of each class of answers stands. Each pair is compared `comparisons` times,
    every second time in the other order, so that an even number leaves no advantage to a place. A comparison that does
    not end in a verdict abstains; a tied pair goes to the answer with more votes, as does a tie of pairs won. With one
    class nothing is compared. `params` draw candidates and comparisons; of each text the last 4,000 characters are
    shown. With `by` "verifier" the run's verifier compares each pair once, in both orders, if it is one that can, such
    as `judge`.

    The standing weighs a class by the pairs it won and, below 1, its share of the votes.
    """

    n: int = 8
    comparisons: int = COMPARISONS
    params: SamplingParams = SamplingParams()
    by: By = "policy"

    def __post_init__(self) -> None:
        check(self.n, self.comparisons, self.by)

    @property
    def uses_verifier(self) -> bool:
        """Only where it compares."""
        return self.by == "verifier"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, compare all pairs at once."""
        entered = yield from field(question, self.n, self.params)
        pairs = list(itertools.combinations(entered.seeds, 2))
        if not pairs:
            return entered.majority.leader
        winners = yield from (
            compared(question, pairs, self.comparisons, self.params)
            if self.by == "policy"
            else preferred(question, entered, pairs)
        )
        won = Counter(one.place for one in winners)
        standing = yield from standing_of(question, entered.drawn, won)
        yield from propose(standing.leader, standing)
        return standing.leader
