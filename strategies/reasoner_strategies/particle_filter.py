"""Particle filtering over steps: chains are copied or dropped at random, by how a verifier rates them."""

import bisect
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from reasoner import Answer, Question
from reasoner.specs import Range, Samples
from reasoner.strategy import MAX_CHAINS, Plan, note
from reasoner_strategies._search.step_search import Level, SearchOptions, StepSearch
from reasoner_strategies._search.steps import Path
from reasoner_strategies._voting.pool import softmax

Line = tuple[Path, ...]
"""A particle: its chain after each of its steps, from the question on."""
EPSILON = 1e-6
"""Ratings are clipped to this distance from 0 and 1, as their odds must be finite."""


@dataclass(frozen=True, slots=True)
class ParticleFilter(SearchOptions):
    """`n` chains, resampled by their odds after each step (Puri 2025, 2502.01618).

    A particle rated r has the weight of its odds, (r / (1 - r)) ^ (1 / `weight_temperature`). Each resampling uses the
    current weights, so that a prefix that lasts counts again at each step, which sharpens. Resampling is systematic.

    Particles that finished may be copied and dropped too. Those that were cut, finished without an answer, or could not
    be rated have no weight. The finished particles vote with their weights, or `selector` chooses in another way among
    them. Chains that ended and were dropped count as samples, and vote only if nothing else can.

    With `iterations` above 1 it is particle Gibbs (Andrieu 2010): each further iteration draws n - 1 new particles
    beside the reference, a particle that the one before drew by weight and that is retained, and copied, step by step.
    The last iteration decides; one that the budget ends changes nothing. Ancestors are not sampled: after each particle
    that would need the likelihood and the ratings of all that is left of the reference, at every step.

    The effective sample size and the number of different ancestors of each step are noted in the trace. Resampling is
    a function of the question, the step and the seeds of what was drawn.
    """

    listed_under: ClassVar[str] = "Search over steps"

    n: Annotated[Samples, Range(at_least=1, at_most=MAX_CHAINS)] = 8
    # Below 0.001 the odds of two ratings leave the range of numbers.
    weight_temperature: Annotated[float, Range(at_least=0.001, at_most=1000)] = 1.0
    iterations: Annotated[Samples, Range(at_least=1)] = 1

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Extend every open particle by a step, rate, resample; at the end vote. Repeat beside a reference."""
        weights = dict[int, float]()
        search = StepSearch(
            question, self, weight_of=lambda path: weights.get(path.order)
        )
        reference: Line = ()
        for iteration in range(self.iterations):
            start: Line = (Path(question.prompt),)
            lines, step, complete = [start] * (self.n - bool(reference)), 0, True
            while complete and (
                moving := [line[-1] for line in lines if line[-1].open]
            ):
                step += 1
                level = yield from search.launch([(path, 1) for path in moving])
                complete = (yield from search.next_level()) is not None
                lines = moved(lines, level)
                if complete and any(line[-1].open for line in lines):
                    lines = yield from self._resampled(
                        question, lines, reference[: step + 1], (iteration, step)
                    )
                if not iteration:
                    weights = self._votes([line[-1] for line in lines])
                    search.recount()
                    yield from search.publish()
            if not complete:
                break
            lines += [reference] if reference else []
            if iteration:
                weights = self._votes([line[-1] for line in lines])
                search.recount()
                yield from search.publish()
            reference = self._reference(question, lines, iteration)
        return (yield from search.finish())

    def _resampled(
        self,
        question: Question,
        lines: Sequence[Line],
        reference: Line,
        at: tuple[int, int],
    ) -> Plan[list[Line]]:
        """The particles after a step, resampled from them and the reference up to there; unchanged if none is rated."""
        every = [*lines, reference] if reference else lines
        theta = self._theta([line[-1] for line in every])
        if not any(theta):
            return list(lines)
        seeds = [line[-1].last.seed for line in every if line[-1].last]
        name = f"{at[0]}\0{at[1]}" if at[0] else f"{at[1]}"
        ancestors = systematic(
            theta, random.Random(f"{question.id}\0{name}\0{seeds}").random(), len(lines)
        )
        size = 1 / math.fsum(share * share for share in theta)
        when = (
            f"iteration {at[0] + 1}, step {at[1]}"
            if self.iterations > 1
            else f"step {at[1]}"
        )
        yield from note(
            f"{when}: ESS {size:.2f} of {len(every)}, {len(set(ancestors))} ancestors"
        )
        return [every[ancestor] for ancestor in ancestors]

    def _reference(
        self, question: Question, lines: Sequence[Line], iteration: int
    ) -> Line:
        """The particle that the next iteration retains, drawn by weight; none if none is rated."""
        theta = self._theta([line[-1] for line in lines])
        if not any(theta):
            return ()
        orders = [line[-1].order for line in lines]
        return random.Random(f"{question.id}\0{iteration}\0{orders}").choices(
            lines, theta
        )[0]

    def _votes(self, particles: Sequence[Path]) -> dict[int, float]:
        """The weight of each finished chain, summed over its copies, by its position in launch order."""
        rated = [path for path in particles if path.finished and path.value is not None]
        if self.selector != "weighted":
            return {path.order: path.value or 0.0 for path in rated}
        votes: dict[int, float] = {}
        for path, theta in zip(rated, self._theta(rated), strict=True):
            votes[path.order] = votes.get(path.order, 0.0) + theta
        return votes

    def _theta(self, particles: Sequence[Path]) -> list[float]:
        """The share of each particle in the weight of all; 0 if it is not rated."""
        logits = [
            None if path.value is None else logit(path.value) for path in particles
        ]
        return softmax(logits, self.weight_temperature)


def moved(lines: Sequence[Line], level: Level) -> list[Line]:
    """The particles, each open one with its step; one without a step, as the budget refused it, is unchanged."""
    after, order = list(lines), level.first
    for index, line in enumerate(lines):
        if line[-1].open:
            after[index] = (
                (*line, level.children[order]) if order in level.children else line
            )
            order += 1
    return after


def logit(value: float) -> float:
    """The logarithm of the odds of a rating."""
    clipped = min(max(value, EPSILON), 1 - EPSILON)
    return math.log(clipped) - math.log1p(-clipped)


def systematic(theta: Sequence[float], u: float, copies: int) -> list[int]:
    """The index of the ancestor of each copy, by shares that sum to 1; `u` is random, in [0, 1).

    Each share gets its expected number of copies, rounded up or down.
    """
    ends = list(itertools.accumulate(theta))
    last = max(index for index, share in enumerate(theta) if share)
    # The sum may fall short of 1 by rounding: a position beyond it belongs to the last one with a share.
    positions = ((index + u) / copies for index in range(copies))
    return [min(bisect.bisect_right(ends, position), last) for position in positions]
