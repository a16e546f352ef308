"""Knockout: answers are compared in pairs by the model itself, the winner of each goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from reasoner.errors import UsageError
from reasoner.plan import Plan
from reasoner.types import Answer, Question, SamplingParams
from reasoner_strategies.comparing import Candidate, compared, field, tournament


@dataclass(frozen=True, slots=True)
class Knockout:
    """The answer that is left after rounds of pairs (Chen 2024, 2411.19477).

    `n` candidates are drawn and the first of each class of answers stands. In each round the one with the most votes
    meets the one with the fewest, and so on inwards; of an odd number the first goes on unopposed. A pair is compared
    `comparisons` times, every second time in the other order; one that does not end in a verdict abstains, and a tie
    goes to the answer with more votes. At most n + comparisons * (n - 1) requests; with one class nothing is compared.
    `params` draw candidates and comparisons; of each text the last 4,000 characters are shown.

    With independent comparisons, each right with p_comp > 1/2, and candidates right with p_gen, it fails with at most
    (1 - p_gen)^n + ceil(log2 n) * exp(-2 * comparisons * (p_comp - 1/2)^2). The paper lets all n stand and pairs them
    at random; here equal answers stand as one, and votes decide who meets whom.

    The standing weighs a class by the rounds it won and, below 1, its share of the votes.
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
        """Draw, propose the majority, then round after round."""
        entered = yield from field(question, self.n, self.params)

        def play(left: Sequence[Candidate]) -> Plan[Sequence[Candidate]]:
            unopposed, rest = left[: len(left) % 2], left[len(left) % 2 :]
            pairs = [(rest[at], rest[-1 - at]) for at in range(len(rest) // 2)]
            winners = yield from compared(question, pairs, self.comparisons, self.params)
            return (*unopposed, *winners)

        answer = yield from tournament(question, entered, play)
        return answer
