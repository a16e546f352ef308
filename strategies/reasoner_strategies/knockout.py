"""Knockout: answers are compared in pairs by the model itself, the winner of each goes on."""

from collections.abc import Sequence
from dataclasses import dataclass

from reasoner.plan import Plan
from reasoner.types import Answer, Question, SamplingParams
from reasoner_strategies._voting.self_comparison import (
    COMPARISONS,
    By,
    Candidate,
    check,
    compared,
    field,
    preferred,
    tournament,
)


@dataclass(frozen=True, slots=True)
class Knockout:
    """The answer that is left after rounds of pairs (Chen 2024, 2411.19477).

    `n` candidates are drawn and the first of each class of answers stands. In each round the one with the most votes
    meets the one with the fewest, and so on inwards; of an odd number the first goes on unopposed. A pair is compared
    `comparisons` times, every second time in the other order; one that does not end in a verdict abstains, and a tie
    goes to the answer with more votes. At most n + comparisons * (n - 1) requests; with one class nothing is compared.
    `params` draw candidates and comparisons; of each text the last 4,000 characters are shown. With `by` "verifier" the
    run's verifier compares each pair once, in both orders, if it is one that can, such as `judge`.

    With independent comparisons, each right with p_comp > 1/2, and candidates right with p_gen, it fails with at most
    (1 - p_gen)^n + ceil(log2 n) * exp(-2 * comparisons * (p_comp - 1/2)^2). The paper lets all n stand and pairs them
    at random; here equal answers stand as one, and votes decide who meets whom.

    The standing weighs a class by the rounds it won and, below 1, its share of the votes.
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
        """Draw, propose the majority, then round after round."""
        entered = yield from field(question, self.n, self.params)

        def play(left: Sequence[Candidate]) -> Plan[Sequence[Candidate]]:
            unopposed, rest = left[: len(left) % 2], left[len(left) % 2 :]
            pairs = [(rest[at], rest[-1 - at]) for at in range(len(rest) // 2)]
            winners = yield from (
                compared(question, pairs, self.comparisons, self.params)
                if self.by == "policy"
                else preferred(question, entered, pairs)
            )
            return (*unopposed, *winners)

        return (yield from tournament(question, entered, play))
