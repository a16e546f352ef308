"""Beam search that rates a step by where it leads."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner.errors import UsageError, require
from reasoner.plan import Plan
from reasoner.types import Answer, Question, SamplingParams
from reasoner_strategies._search.step_search import PARAMS, Levels, check
from reasoner_strategies.beam_search import beam


@dataclass(frozen=True, slots=True)
class Lookahead:
    r"""Beam search in which a step is rated at the end of `k` greedy steps that follow it (Snell 2024, 2408.03314).

    The rollouts are drawn at temperature 0, rated and thrown away; one that ends early is rated as it is. A level costs
    up to n (k + 1) steps. A chain that ended is rated itself. With `k` 0 it is beam search, whose options the others
    are.
    """

    uses_verifier: ClassVar[bool] = True

    k: int = 1
    n: int = 16
    width: int = 4
    refill: bool = True
    step: str = "\n\n"
    step_tokens: int = 0
    max_steps: int = 40
    reserve: int = 128
    params: SamplingParams = PARAMS

    def __post_init__(self) -> None:
        check(self)
        require(self.k, "k", at_least=0)
        require(self.width, "width", at_least=1)
        if self.width == 1 and self.k:
            raise UsageError(f"k={self.k} has no effect with width=1, which drops no step: set k=0, or raise width")

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, look ahead, rate and prune, level by level; then vote."""
        return (yield from beam(self, Levels(question, self, ahead=self.k)))
