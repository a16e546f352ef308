"""Ensemble: several verifiers as one."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from reasoner.budget import Cost
from reasoner.catalog import spec_of
from reasoner.errors import UsageError, VerifierError, require_choice
from reasoner.protocols import Engine, Tab, Verifier, claim, forget
from reasoner.types import Completion, Question, Rating
from reasoner_verifiers.maps import Weights, read_map

How = Literal["mean", "product", "learned"]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Rates by several verifiers: their `mean`, their `product`, or a logistic map of their log-odds.

    `how` "learned" takes the map from the file `weights`, which `reasoner verifier weigh` fits on a labelled run. All
    members rate every candidate, at once; where one fails the candidate has no rating, as a mean over fewer members
    would be another scale. `parts` keeps the members' values.
    """

    members: tuple[Verifier, ...]
    how: How = "mean"
    weights: str = ""
    _map: list[Weights] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.members:
            raise UsageError("members must not be empty: write ensemble:members=[certainty,judge]")
        require_choice(self.how, "how", get_args(How))
        if (self.how == "learned") != bool(self.weights):
            raise UsageError("how=learned and weights=FILE belong together: give both or neither")
        if self.weights:
            learned = read_map(Path(self.weights), Weights)
            if learned.members != tuple(map(spec_of, self.members)):
                raise UsageError(
                    f"{self.weights} was fitted on the members [{','.join(learned.members)}]: name the same, in order"
                )
            self._map.append(learned)

    @property
    def logprobs(self) -> int | None:
        """The most that a member needs."""
        return max((m.logprobs for m in self.members if m.logprobs is not None), default=None)

    async def claim(self, policy: Engine) -> None:
        """Have the members claim their parts of the policy's GPU."""
        await claim(policy, *self.members)

    async def start(self, policy: Engine) -> None:
        """Make the members ready, one after the other."""
        for member in self.members:
            await member.start(policy)

    async def forget(self) -> None:
        """Empty the members' caches."""
        await forget(*self.members)

    async def close(self) -> None:
        """Free what the members hold."""
        for member in self.members:
            await member.close()

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """All the members' together."""
        bounds = [await member.bound(question, candidate, policy) for member in self.members]
        return sum(bounds, Cost())

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: Tab) -> Rating:
        """What the members say of one candidate.

        Raises:
            VerifierError: a member could not rate it; the others are cancelled.
        """
        tabs = [Tab() for _ in self.members]
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
        return Rating(self._together(values), tab.cost, parts=tuple(values))

    def _together(self, values: Sequence[float]) -> float:
        if self.how == "learned":
            return self._map[0].apply(values)
        return math.prod(values) if self.how == "product" else math.fsum(values) / len(values)


async def _rated(member: Verifier, question: Question, candidate: Completion, policy: Engine, tab: Tab) -> float:
    """A member's value; its whole cost is on its tab, however it ends."""
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
