"""What a stop rule is, and what rules share: how many samples of a question are left."""

from typing import Protocol

from reasoner.budget import Cost
from reasoner.types import Standing


class StopRule(Protocol):
    """Says when a question has had enough; pure, imposed from outside on what a plan proposes."""

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The reason to stop now, or None to go on."""
        ...


def rest(standing: Standing) -> int:
    """How many samples are left to look at; 0 where their number is not known."""
    return max(0, standing.most - standing.samples)
