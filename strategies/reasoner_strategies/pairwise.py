"""Pairwise: every answer is compared with every other by the model itself."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations, islice
from typing import ClassVar, Final

from reasoner import Answer, Question
from reasoner.strategy import Plan
from reasoner_strategies._voting.self_comparison import (
    PairOptions,
    by_points,
    draw_candidates,
)

TOGETHER: Final = 1024
"""Pairs that are compared at once: the texts of all pairs of a thousand candidates do not fit into memory."""


@dataclass(frozen=True, slots=True)
class Pairwise(PairOptions):
    """The answer that wins most comparisons with the others (GenRM: Zhang 2024, 2408.15240; V1: 2603.04304).

    `n` candidates are drawn; the first of each class of answers is compared with every other. With an even
    number of `comparisons` no order has an advantage. A tie of pairs won goes to the answer with more votes. With one
    class nothing is compared.

    In the vote state, the weight of a class is the pairs it won plus, below 1, its share of the votes.
    """

    listed_under: ClassVar[str] = "Choice among samples"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, compare all pairs, and propose by those that were compared so far."""
        entered = yield from draw_candidates(question, self.n, self.params)
        vote_state, won, pairs = (
            entered.majority,
            Counter[int](),
            combinations(entered.ranked, 2),
        )
        while some := list(islice(pairs, TOGETHER)):
            winners = yield from self.winners(question, some)
            won.update(candidate.index for candidate in winners)
            vote_state = yield from by_points(question, entered.drawn, won)
        return vote_state.leader
