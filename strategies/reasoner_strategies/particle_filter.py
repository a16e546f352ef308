"""Particle filtering over steps: chains are copied or dropped at random, by how a verifier rates them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

from reasoner.errors import require, require_choice
from reasoner.plan import Plan, note
from reasoner.types import Answer, Question, SamplingParams
from reasoner_strategies._search.resampling import (
    Resampling,
    annealing,
    effective,
    log_mean,
    logit,
    multinomial,
    softmax,
    systematic,
)
from reasoner_strategies._search.step_search import PARAMS, Level, Levels, check
from reasoner_strategies._search.steps import Path

Resampler = Literal["systematic", "multinomial"]
Weighting = Literal["reference", "twisted"]
Final = Literal["vote", "argmax"]


@dataclass(frozen=True, slots=True)
class ParticleFilter:
    r"""`n` chains; after each step they are drawn anew in proportion to their odds (Puri 2025, 2502.01618).

    A particle rated r has the log-weight l = logit(r) / `weight_temperature`. "reference" weighting is the paper's:
    each resampling uses the current l, so that a beginning that lasts is weighed again and again, which sharpens.
    "twisted" uses how much l grew since the last resampling: the particles then come from the model's chains, weighed
    by the odds of their final rating, exactly so as `n` grows. Particles are resampled where their effective sample
    size is at most the share `ess_trigger` of their number, above 0; at 1 that is at every step.

    With `resample_inactive`, particles that finished may be copied and dropped too; without, they stay and only the
    open ones are resampled among themselves. What was cut, finished without an answer, or could not be rated has no
    weight. With `annealing` the temperature rises where few particles hold the weight early on (its_hub); the final
    weights are not annealed.

    The finished particles vote with their weights, or the best rated of them is the answer, with `final` "argmax".
    Chains that ended and were dropped count as samples, and vote only where nothing else can.

    The effective sample size and the number of different ancestors of each step are noted in the trace. Resampling is
    a function of the question, the step and the seeds of what was drawn.

    A step ends at `step`, or after `step_tokens` if above 0; the last of `max_steps` runs to the chain's end. `reserve`
    tokens are held back at every step: where the budget ends before any chain has come to an answer, they bring the
    best open one to its end.
    """

    uses_verifier: ClassVar[bool] = True

    n: int = 8
    weight_temperature: float = 1.0
    weighting: Weighting = "reference"
    resampler: Resampler = "systematic"
    ess_trigger: float = 1.0
    resample_inactive: bool = True
    annealing: bool = False
    final: Final = "vote"
    step: str = "\n\n"
    step_tokens: int = 0
    max_steps: int = 40
    reserve: int = 128
    params: SamplingParams = PARAMS

    def __post_init__(self) -> None:
        check(self)
        # Below 0.001 the odds of two ratings leave the range of numbers.
        require(self.weight_temperature, "weight_temperature", at_least=0.001, at_most=1000)
        require_choice(self.weighting, "weighting", get_args(Weighting))
        require_choice(self.resampler, "resampler", get_args(Resampler))
        require(self.ess_trigger, "ess_trigger", above=0, at_most=1)
        require_choice(self.final, "final", get_args(Final))

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Take every open particle a step on, rate, resample; at the end vote."""
        weights = dict[int, float]()
        by: Literal["sum", "max"] = "max" if self.final == "argmax" else "sum"
        levels = Levels(question, self, weigh=lambda path: weights.get(path.order), by=by)
        particles, step = [Particle(levels.root)] * self.n, 0
        while moving := [particle.path for particle in particles if particle.path.open]:
            step += 1
            level = yield from levels.launch([(path, 1) for path in moving])
            whole = yield from levels.complete()
            particles = moved(particles, level)
            if whole and any(particle.path.open for particle in particles):
                particles = yield from self._resampled(question, particles, step)
            weights = self._votes(particles)
            levels.anew()
            yield from levels.tell()
            if not whole:
                break
        return (yield from levels.finish())

    def _resampled(self, question: Question, particles: Sequence["Particle"], step: int) -> Plan[list["Particle"]]:
        """The particles after a step: drawn anew, or as they are."""
        taking = [place for place, one in enumerate(particles) if one.path.open or self.resample_inactive]
        before, temperature = [particles[place] for place in taking], self.weight_temperature
        logs = log_weights(before, temperature)
        if all(log is None for log in logs):
            return list(particles)
        if self.annealing:
            temperature *= annealing(effective(softmax(logs)) / len(taking), step / self.max_steps)
            logs = log_weights(before, temperature)
        theta = softmax(logs)
        seeds = [one.path.last.seed for one in before if one.path.last]
        drawn = self._draw(theta, random.Random(f"{question.id}\0{step}\0{seeds}"))
        said = f"step {step}: ESS {drawn.ess:.2f} of {len(taking)}"
        if drawn.ess > self.ess_trigger * len(taking) + 1e-9:
            yield from note(f"{said}, not resampled")
            return list(particles)
        yield from note(f"{said}, {drawn.ancestors} ancestors")
        mean = log_mean([log for log in logs if log is not None])
        after = list(particles)
        for place, index in zip(taking, drawn.indices, strict=True):
            path = before[index].path
            told = logit(path.value or 0.0) / temperature - mean
            after[place] = Particle(path, told if self.weighting == "twisted" else 0.0)
        return after

    def _draw(self, theta: Sequence[float], source: random.Random) -> Resampling:
        if self.resampler == "systematic":
            return systematic(theta, source.random())
        return multinomial(theta, [source.random() for _ in theta])

    def _votes(self, particles: Sequence["Particle"]) -> dict[int, float]:
        """With how much each finished chain votes, by its place in launch order: with all its copies, if any."""
        rated = [one for one in particles if one.path.finished and one.path.value is not None]
        if self.final == "argmax":
            return {one.path.order: one.path.value or 0.0 for one in rated}
        votes: dict[int, float] = {}
        for one, theta in zip(rated, softmax(log_weights(rated, self.weight_temperature)), strict=True):
            votes[one.path.order] = votes.get(one.path.order, 0.0) + theta
        return votes


class Particle(NamedTuple):
    """A chain, and how much of its log-weight the last resampling has made up for by copies."""

    path: Path
    told: float = 0.0


def moved(particles: Sequence[Particle], level: Level) -> list[Particle]:
    """The particles, each open one with its step; one whose step was refused as it was."""
    after, order = list(particles), level.first
    for place, one in enumerate(particles):
        if one.path.open:
            after[place] = one._replace(path=level.children.get(order, one.path))
            order += 1
    return after


def log_weights(particles: Sequence[Particle], temperature: float) -> list[float | None]:
    """The log-weight of each that is rated."""
    return [None if one.path.value is None else logit(one.path.value) / temperature - one.told for one in particles]
