"""What a stop rule is, and what rules share: what is left of a question's samples, and ranges of their options."""

from typing import Protocol

from reasoner.budget import Cost
from reasoner.errors import UsageError
from reasoner.types import Standing


class StopRule(Protocol):
    """Says when a question has had enough; pure, imposed from outside on what a plan proposes."""

    def stop(self, standing: Standing, cost: Cost) -> str | None:
        """The reason to stop now, or None to go on."""
        ...


def rest(standing: Standing) -> int:
    """How many samples are left to look at; 0 where their number is not known."""
    return max(0, standing.most - standing.samples)


def fraction(name: str, value: float) -> None:
    """Refuse what is no probability above 0 and below 1."""
    if not 0 < value < 1:
        raise UsageError(f"{name}={value} is out of range: {name} is a probability, above 0 and below 1")


def whole(name: str, value: int, least: int, most: int | None = None) -> None:
    """Refuse what is no number of `least` or more, up to `most`."""
    if value < least or (most is not None and value > most):
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        raise UsageError(f"{name}={value} is out of range: {name} is {allowed}")
