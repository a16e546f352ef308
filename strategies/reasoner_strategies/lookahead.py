"""Beam search that rates a step by where it leads."""

from dataclasses import dataclass
from typing import Annotated

from reasoner import Answer, Question
from reasoner.specs import Range, Samples
from reasoner.strategy import Plan
from reasoner_strategies._search.step_search import StepSearch
from reasoner_strategies.beam_search import BeamSearch, beam


@dataclass(frozen=True, slots=True)
class Lookahead(BeamSearch):
    """Beam search that looks `k` greedy steps ahead (Snell 2024, 2408.03314).

    A step is rated at the end of the `k` greedy steps that follow it. The greedy continuations are drawn at temperature
    0, rated and dropped; one that ends early is rated as it is. A level costs up to n (k + 1) steps. A chain that ended
    is rated itself. With `k` 0 it is beam search, and the other options are those of beam search.
    """

    k: Annotated[Samples, Range(at_least=0)] = 1

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, look ahead, rate and prune, level by level; then vote."""
        return (
            yield from beam(
                self, StepSearch(question, self, lookahead=self.k, voters=self.n)
            )
        )
