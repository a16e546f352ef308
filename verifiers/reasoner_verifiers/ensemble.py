"""Ensemble: several verifiers as one."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, get_args

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import Engine
from reasoner.errors import UsageError, VerifierError, require_choice
from reasoner.registry import spec_of
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter, Verifier
from reasoner_verifiers.composite import Composite
from reasoner_verifiers.maps import Weights, read_map

How = Literal["mean", "product", "learned"]


@dataclass(frozen=True, slots=True)
class Ensemble(Composite):
    """Rates by several verifiers: their `mean`, their `product`, or a logistic map of their log-odds.

    With `how` "learned", `weights` is the file of a map that `reasoner verifier weigh` fitted on a labelled run. All
    members rate every candidate concurrently. If one fails the candidate has no rating, because a mean over fewer
    members is on another scale. `parts` of a rating holds the members' values.
    """

    example: ClassVar[str] = '-s best_of_n:n=4 --verifier "ensemble:members=[certainty,rules(pattern=7)]"'

    members: tuple[Verifier, ...]
    how: How = "mean"
    weights: str = ""
    _map: list[Weights] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.members:
            raise UsageError("members must not be empty: write ensemble:members=[certainty,judge]")
        require_choice(self.how, "how", get_args(How))
        if (self.how == "learned") != bool(self.weights):
            raise UsageError("how=learned and weights=FILE need each other: give both or neither")
        if self.weights:
            learned = read_map(Path(self.weights), Weights)
            if learned.members != tuple(map(spec_of, self.members)):
                raise UsageError(f"{self.weights} was fitted on the members [{','.join(learned.members)}]: use these")
            self._map.append(learned)

    @property
    def _verifiers(self) -> tuple[Verifier, ...]:
        return self.members

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: CostMeter) -> Rating:
        """The combined rating of one candidate.

        Raises:
            VerifierError: a member cannot rate it; the other members are cancelled.
        """
        tabs = [CostMeter() for _ in self.members]
        tasks = [
            asyncio.ensure_future(_rated(member, question, candidate, policy, own))
            for member, own in zip(self.members, tabs, strict=True)
        ]
        try:
            values = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            costs = [own.cost for own in tabs]
            tab.cost = None if None in costs else sum((cost for cost in costs if cost), Cost())
        assert tab.cost is not None
        return Rating(self._combined(values), tab.cost, parts=tuple(values))

    def _combined(self, values: Sequence[float]) -> float:
        if self.how == "learned":
            return self._map[0].apply(values)
        return math.prod(values) if self.how == "product" else math.fsum(values) / len(values)


async def _rated(member: Verifier, question: Question, candidate: Completion, policy: Engine, tab: CostMeter) -> float:
    """A member's value. Its tab holds its whole cost, also after an error."""
    try:
        rating = await member.score(question, candidate, policy, tab)
    except BaseException:
        if tab.cost is None:
            tab.cost = await member.bound(question, candidate, policy)
        raise
    tab.cost = rating.cost
    if rating.value is None:
        raise VerifierError(rating.error)
    return rating.value
