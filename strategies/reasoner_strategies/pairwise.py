"""Pairwise: every answer is compared with every other by the model itself."""

import itertools
from collections import Counter
from dataclasses import dataclass

from reasoner.answers.questions import Question
from reasoner.strategy import Plan
from reasoner.types import Answer
from reasoner_strategies._voting.self_comparison import PairOptions, by_points, draw_candidates


@dataclass(frozen=True, slots=True)
class Pairwise(PairOptions):
    """The answer that wins most of its comparisons with the others (GenRM: Zhang 2024, 2408.15240; V1: 2603.04304).

    `n` candidates are drawn; the first of each class of answers is compared with every other. With an even
    number of `comparisons` no order has an advantage. A tie of pairs won goes to the answer with more votes. With one
    class nothing is compared.

    In the vote state, the weight of a class is the pairs it won plus, below 1, its share of the votes.
    """

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, compare all pairs at once."""
        entered = yield from draw_candidates(question, self.n, self.params)
        pairs = list(itertools.combinations(entered.ranked, 2))
        if not pairs:
            return entered.majority.leader
        winners = yield from self.winners(question, pairs)
        won = Counter(candidate.index for candidate in winners)
        return (yield from by_points(question, entered.drawn, won)).leader
