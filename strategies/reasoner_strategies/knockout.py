"""Knockout: answers are compared in pairs by the model itself, and the winner of each goes to the next round."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Question
from reasoner.strategy import Plan
from reasoner_strategies._voting.self_comparison import (
    Candidate,
    PairOptions,
    draw_candidates,
    tournament,
)


@dataclass(frozen=True, slots=True)
class Knockout(PairOptions):
    """The answer that is left after rounds of pairs (Chen 2024, 2411.19477).

    `n` candidates are drawn; the first of each class of answers enters. In each round the one with the most votes meets
    the one with the fewest, and so on inwards; of an odd number the first advances unopposed. At most
    n + comparisons * (n - 1) requests; with one class nothing is compared.

    With independent comparisons, each right with p_comp > 1/2, and candidates right with p_gen, it fails with at most
    (1 - p_gen)^n + ceil(log2 n) * exp(-2 * comparisons * (p_comp - 1/2)^2). In the paper all n enter and are paired at
    random; here equal answers enter as one, and votes decide who meets whom.

    In the vote state, the weight of a class is the rounds it won plus, below 1, its share of the votes.
    """

    listed_under: ClassVar[str] = "Choice among samples"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, then round after round."""
        entered = yield from draw_candidates(question, self.n, self.params)

        def play(left: Sequence[Candidate]) -> Plan[Sequence[Candidate]]:
            unopposed, paired = left[: len(left) % 2], left[len(left) % 2 :]
            pairs = [
                (paired[index], paired[-1 - index]) for index in range(len(paired) // 2)
            ]
            winners = yield from self.winners(question, pairs)
            return (*unopposed, *winners)

        return (yield from tournament(question, entered, play))
