"""The candidates of a race: strategies in the sizes that fit parts of the budget, and how each is measured."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Final

from pydantic import BaseModel, ConfigDict

from reasoner import Budget, Cost, Question
from reasoner.engine import Engine, EngineUnavailable
from reasoner.errors import EngineDied, ReasonerError
from reasoner.registry import build, expanded, load, options_of, spec_of
from reasoner.specs import BareWord, Spec
from reasoner.stopping.pace import Order
from reasoner.types import FALLBACK
from reasoner.verifier import Verifier
from reasoner_evals.runs.equal import (
    MAX_SIZE,
    SIZES,
    all_strategies,
    costs_of,
    narrow_down,
)
from reasoner_evals.tasks.graders import GradedQuestion

PARTS: Final = (0.25, 0.5, 1.0)
"""The parts of the budget that each strategy is sized to."""
PILOT: Final = 5
"""The questions of the race on which sizes are measured."""
TRIALS: Final = 2
"""The sizes that are measured for each part."""
LEAST: Final = 3
"""The fewest samples of a vote."""
FITS: Final = 1.05
"""The most that a size may cost in the pilot, as a multiple of its part of the budget."""
STOPS: Final[tuple[tuple[str, Order], ...]] = (
    ("first_of(rules=[lossless,beta(theta=0.95)])", "launch"),
    ("lock_in:delta=0.1", "launch"),
    ("beta:theta=0.95", "length"),
)
"""Rules that end the largest vote early; they are replayed on its samples."""
REPLAYED: Final = ("adaptive_consistency", "early_stopping")
"""Strategies that are votes with such rules."""
POOLS: Final = ("self_consistency", "best_of_n")
FREE_VERIFIERS: Final[Mapping[str, str]] = {
    "number": "equations",
    "math": "equations",
    "code": "code:tests=shown",
}
"""A verifier that costs no tokens, for a kind of answer."""


class Candidate(BaseModel):
    """A strategy that may be chosen, and the arm that measures it: its own, or a pool of samples that others share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str
    arm: str
    """The spec of the arm."""
    size: int = 0
    """The number of samples of the pool that it selects from; 0 where the arm runs it as it is."""
    stop: str = ""
    """The rule that ends its vote, replayed on the pool."""
    order: Order = "launch"
    model: str = ""
    """The member of a mixture that answers alone; empty for the engine as it is."""

    @property
    def label(self) -> str:
        """Its spec, with its model where there are several."""
        return f"{self.spec} on {self.model}" if self.model else self.spec


class SizedCandidates(BaseModel):
    """The candidates that one strategy gives, or why it gives none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: tuple[Candidate, ...] = ()
    left_out: str = ""
    tokens: float = 0.0
    """What finding the sizes cost."""


class Pace(BaseModel):
    """How long a question takes on this engine while no other one is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    """On average."""
    rate: float
    """Sequential tokens a second."""
    tokens: float
    """That a question costs."""
    spent: float
    """The tokens of all questions that were asked."""


def free_verifier(items: Sequence[GradedQuestion]) -> str:
    """A verifier without a cost that suits all these questions; empty if there is none."""
    suitable = {FREE_VERIFIERS.get(item.question.space.name, "") for item in items}
    return suitable.pop() if len(suitable) == 1 else ""


def strategies_for(
    named: Sequence[str], *, rated: bool, free: str = ""
) -> tuple[str, ...]:
    """What races: the strategies that the user named, or all that apply; one sample and the vote always do.

    With a `free` verifier alone, one more is a vote that it weights: it shares the samples of the vote.
    """
    known = all_strategies(rated=rated)
    names = named or [name for name in known if name not in REPLAYED and name != "auto"]
    if not named and (rated or free):
        names = [*names, "best_of_n:selector=weighted"]
    return tuple(dict.fromkeys((*_baselines(named), *names)))


def _baselines(named: Sequence[str]) -> list[str]:
    specs = [Spec.parse(spec_of(build("strategy", spec))) for spec in named]
    present = {spec.name for spec in specs if not {"of", "stop"} & spec.options.keys()}
    return [name for name in ("single", "self_consistency") if name not in present]


async def sized(
    spec: str,
    goal: Budget,
    questions: Sequence[Question],
    engine: Engine,
    verifier: Verifier | None,
    tell: Callable[[str], None],
) -> SizedCandidates:
    """The candidates of one strategy. Where the goal is in seconds, each question is asked alone.

    Raises:
        EngineDied: the engine is gone.
        EngineUnavailable: it does not answer.
    """
    tokens = 0.0

    async def measure(text: str) -> float:
        nonlocal tokens
        costs = await (costs_of if goal.tokens else _alone)(
            text, questions, engine, verifier
        )
        tokens += sum(each.tokens for each in costs)
        return fmean(each.tokens if goal.tokens else each.seconds for each in costs)

    plain = Spec.parse(spec_of(build("strategy", spec)))
    samples = plain.name in POOLS and "of" not in plain.options
    if samples:
        plain = _same_sampling(plain, engine)
    pooled = samples and "stop" not in plain.options
    given = expanded("strategy", spec).options.keys() & set(SIZES)
    if plain.name == "single" or (given and not pooled):
        return SizedCandidates(candidates=(Candidate(spec=str(plain), arm=str(plain)),))
    tried: dict[int, tuple[str, float]] = {}
    amount = float(goal.tokens or goal.seconds or 0)
    try:
        if given:
            # A spec leaves out a size that is the default.
            tried[build("strategy", str(plain)).n] = str(plain), 0.0
        for part in PARTS if not pooled else PARTS[-1:]:
            if not given:
                await narrow_down(str(plain), part * amount, tried, measure, TRIALS)
    except (EngineDied, EngineUnavailable):
        raise
    except ReasonerError as error:
        tell(f"{spec} is left out: {error}")
        return SizedCandidates(left_out=str(error), tokens=tokens)
    if pooled:
        size, (text, cost) = max(tried.items())
        # What n samples cost is in proportion to n, but for the prompt.
        fitting = (
            size
            if given
            else max(min(int(amount * size / cost), MAX_SIZE), min(LEAST, size))
        )
        return SizedCandidates(
            candidates=_from_pool(_with(Spec.parse(text), n=fitting), fitting),
            tokens=tokens,
        )
    chosen = dict.fromkeys(_fitting(tried, part * amount) for part in PARTS)
    texts = [tried[size][0] for size in chosen]
    return SizedCandidates(
        candidates=tuple(Candidate(spec=text, arm=text) for text in texts),
        tokens=tokens,
    )


async def pace_of(
    spec: str,
    questions: Sequence[Question],
    engine: Engine,
    verifier: Verifier | None = None,
) -> Pace:
    """The pace of a strategy. Raises EngineError: the engine fails."""
    costs = await _alone(spec, questions, engine, verifier)
    seconds = sum(each.seconds for each in costs)
    return Pace(
        seconds=seconds / len(costs),
        rate=sum(each.sequential_tokens for each in costs) / seconds,
        tokens=fmean(each.tokens for each in costs),
        spent=sum(each.tokens for each in costs),
    )


async def _alone(
    spec: str,
    questions: Sequence[Question],
    engine: Engine,
    verifier: Verifier | None,
) -> list[Cost]:
    return await costs_of(spec, questions, engine, verifier, concurrency=1)


def _fitting(tried: dict[int, tuple[str, float]], goal: float) -> int:
    """The largest size that fits the goal, or the cheapest one where none does."""
    fitting = [size for size, (_, cost) in tried.items() if cost <= FITS * goal]
    return (
        max(fitting, key=lambda size: tried[size][1])
        if fitting
        else min(tried, key=lambda size: tried[size][1])
    )


def _from_pool(arm: str, size: int) -> tuple[Candidate, ...]:
    """What selects from the samples of one pool: parts of it, and votes that a rule ends."""
    whole = Spec.parse(arm)
    sizes = dict.fromkeys(max(round(part * size), min(size, LEAST)) for part in PARTS)
    made = [Candidate(spec=_with(whole, n=n), arm=arm, size=n) for n in sizes]
    if whole.name == "self_consistency" and size > LEAST:
        for stop, order in STOPS:
            given = {"stop": Spec.parse(stop), "order": BareWord(order)}
            window = {"window": BareWord(size)} if order == "length" else {}
            made.append(
                Candidate(
                    spec=_with(whole, **given, **window),
                    arm=arm,
                    size=size,
                    stop=stop,
                    order=order,
                ),
            )
    return tuple(made)


def _with(spec: Spec, **options: object) -> str:
    values = {
        name: value if isinstance(value, BareWord | Spec) else BareWord(value)
        for name, value in options.items()
    }
    return spec_of(build("strategy", Spec(spec.name, {**spec.options, **values})))


def _same_sampling(spec: Spec, engine: Engine) -> Spec:
    """A strategy that selects from samples, with the temperature of a plain vote: they share samples and promises."""
    known = options_of(load("strategy", spec.name))
    if "temperature" in spec.options or "params" not in known:
        return spec
    drawn_at = engine.model.sampling.temperature
    return Spec.parse(
        _with(spec, temperature=FALLBACK.temperature if drawn_at is None else drawn_at)
    )
