"""Particle filtering over steps: chains are copied or dropped at random, by how a verifier rates them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from reasoner.answers.questions import Question
from reasoner.specs import Range, Samples
from reasoner.strategy import Plan, note
from reasoner.types import Answer
from reasoner_strategies._search.resampling import log_mean, logit, softmax, systematic
from reasoner_strategies._search.step_search import Level, SearchOptions, StepSearch
from reasoner_strategies._search.steps import Path
from reasoner_strategies._voting.pool import By


@dataclass(frozen=True, slots=True)
class ParticleFilter(SearchOptions):
    """`n` chains; after each step they are resampled in proportion to their odds (Puri 2025, 2502.01618).

    A particle rated r has the log-weight l = logit(r) / `weight_temperature`. "reference" weighting is the paper's:
    each resampling uses the current l, so that a lasting prefix counts again at each step, which sharpens.
    "twisted" uses the growth of l since the last resampling: the particles then come from the model's chains, weighted
    by the odds of their final rating, exactly as `n` grows. Particles are resampled, systematically, if their effective
    sample size is at most the share `ess_trigger` of their number, above 0; at 1 that is at every step.

    Particles that finished may be copied and dropped too. Those that were cut, finished without an answer, or could not
    be rated have no weight. The finished particles vote with their weights, or the best rated of them is the answer,
    with `final` "argmax". Chains that ended and were dropped count as samples, and vote only if nothing else can.

    The effective sample size and the number of different ancestors of each step are noted in the trace. Resampling is
    a function of the question, the step and the seeds of what was drawn.
    """

    n: Samples = 8
    # Below 0.001 the odds of two ratings leave the range of numbers.
    weight_temperature: Annotated[float, Range(at_least=0.001, at_most=1000)] = 1.0
    weighting: Literal["reference", "twisted"] = "reference"
    ess_trigger: Annotated[float, Range(above=0, at_most=1)] = 1.0
    final: Literal["vote", "argmax"] = "vote"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Extend every open particle by a step, rate, resample; at the end vote."""
        weights = dict[int, float]()
        by: By = "max" if self.final == "argmax" else "sum"
        search = StepSearch(question, self, weight_of=lambda path: weights.get(path.order), by=by)
        particles, step = [Particle(search.root)] * self.n, 0
        while moving := [particle.path for particle in particles if particle.path.open]:
            step += 1
            level = yield from search.launch([(path, 1) for path in moving])
            complete = yield from search.next_level()
            particles = moved(particles, level)
            if complete and any(particle.path.open for particle in particles):
                particles = yield from self._resampled(question, particles, step)
            weights = self._votes(particles)
            search.recount()
            yield from search.publish()
            if not complete:
                break
        return (yield from search.finish())

    def _resampled(self, question: Question, particles: Sequence["Particle"], step: int) -> Plan[list["Particle"]]:
        """The particles after a step: resampled, or unchanged."""
        logs = log_weights(particles, self.weight_temperature)
        known = [log for log in logs if log is not None]
        if not known:
            return list(particles)
        seeds = [each.path.last.seed for each in particles if each.path.last]
        outcome = systematic(softmax(logs), random.Random(f"{question.id}\0{step}\0{seeds}").random())
        size = f"step {step}: ESS {outcome.ess:.2f} of {len(particles)}"
        if outcome.ess > self.ess_trigger * len(particles) + 1e-9:
            yield from note(f"{size}, not resampled")
            return list(particles)
        yield from note(f"{size}, {len(set(outcome.indices))} ancestors")
        mean, after = log_mean(known), []
        for path in (particles[ancestor].path for ancestor in outcome.indices):
            counted = logit(path.value or 0.0) / self.weight_temperature - mean
            after.append(Particle(path, counted if self.weighting == "twisted" else 0.0))
        return after

    def _votes(self, particles: Sequence["Particle"]) -> dict[int, float]:
        """The weight of each finished chain, summed over its copies, by its position in launch order."""
        rated = [each for each in particles if each.path.finished and each.path.value is not None]
        if self.final == "argmax":
            return {each.path.order: each.path.value or 0.0 for each in rated}
        votes: dict[int, float] = {}
        for each, theta in zip(rated, softmax(log_weights(rated, self.weight_temperature)), strict=True):
            votes[each.path.order] = votes.get(each.path.order, 0.0) + theta
        return votes


class Particle(NamedTuple):
    """A chain, and the part of its log-weight that its copies already stand for since the last resampling."""

    path: Path
    counted: float = 0.0


def moved(particles: Sequence[Particle], level: Level) -> list[Particle]:
    """The particles, each open one with its step; one whose step was refused is unchanged."""
    after, order = list(particles), level.first
    for index, each in enumerate(particles):
        if each.path.open:
            after[index] = each._replace(path=level.children.get(order, each.path))
            order += 1
    return after


def log_weights(particles: Sequence[Particle], temperature: float) -> list[float | None]:
    """The log-weight of each particle, None if it is not rated."""
    return [
        None if (value := each.path.value) is None else logit(value) / temperature - each.counted for each in particles
    ]
