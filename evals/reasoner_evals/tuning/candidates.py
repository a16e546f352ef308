"""The candidates of a race: strategies in the sizes that fit parts of the budget, and how each is measured."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import Final

from pydantic import BaseModel, ConfigDict

from reasoner import Question
from reasoner.engine import Engine, EngineUnavailable
from reasoner.errors import EngineDied, ReasonerError
from reasoner.registry import VOTE_VERIFIER, build, expanded, load, options_of, spec_of
from reasoner.specs import BareWord, Spec
from reasoner.stopping.rules import Order
from reasoner.types import FALLBACK
from reasoner.verifier import Verifier
from reasoner_evals.runs.naming import is_greedy
from reasoner_evals.runs.run import sampling_of
from reasoner_evals.tasks.graders import GradedQuestion
from reasoner_evals.tuning.race import Race
from reasoner_evals.tuning.sizes import (
    MAX_SIZE,
    SIZES,
    SpendExceeded,
    all_strategies,
    costs_of,
    narrow_down,
)
from reasoner_evals.tuning.verdict import SINGLES

PARTS: Final = (0.25, 0.5, 1.0)
"""The parts of the budget that each strategy is sized to."""
PILOT: Final = 5
"""The questions of the race on which sizes are measured."""
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
POOLS: Final = ("self_consistency", "best_of_n")
FREE_VERIFIERS: Final[Mapping[str, str]] = {
    "number": VOTE_VERIFIER,
    "math": VOTE_VERIFIER,
    "code": "code:tests=shown",
}
"""A verifier that costs no tokens, for a kind of answer."""


class Kept(BaseModel):
    """What is kept in the folder of a race."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(Kept):
    """A strategy that may be chosen, and the arm that measures it: its own, or a pool of samples that others share."""

    spec: str
    arm: str
    """The spec of the arm."""
    size: int = 0
    """The number of samples of the pool that it selects from; 0 where the arm runs it as it is."""
    stop: str = ""
    """The rule that ends its vote, replayed on the pool."""
    order: Order = "launch"

    @property
    def votes(self) -> bool:
        """Whether it is a vote of a pool."""
        return bool(self.size) and Spec.parse(self.arm).name == "self_consistency"


@cache
def drawn_by(candidate: Candidate) -> str:
    """What draws the samples: an arm, or a way of sampling that pools share."""
    strategy = build("strategy", candidate.arm)
    return repr(sampling_of(strategy)) if candidate.size else candidate.arm


def is_single(spec: str) -> bool:
    """Whether a strategy is one sample."""
    return expanded("strategy", spec).name == "single"


class SizedCandidates(Kept):
    """The candidates that one strategy gives, or why it gives none."""

    candidates: tuple[Candidate, ...] = ()
    left_out: str = ""
    tokens: float = 0.0
    """What finding the sizes cost."""


class Sizes(Kept):
    """What is known of the sizes, by the strategy, and the model where there are several, that they belong to."""

    by_strategy: dict[str, SizedCandidates] = {}

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, each once."""
        return tuple(
            dict.fromkeys(
                candidate
                for each in self.by_strategy.values()
                for candidate in each.candidates
            )
        )

    @property
    def tokens(self) -> float:
        """What finding them cost."""
        return sum(each.tokens for each in self.by_strategy.values())


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
    names = named or [name for name in known if name != "auto"]
    if not named and (rated or free):
        names = [*names, "best_of_n:selector=weighted"]
    return tuple(dict.fromkeys((*_baselines(named), *names)))


def _baselines(named: Sequence[str]) -> list[str]:
    specs = [Spec.parse(spec_of(build("strategy", spec))) for spec in named]
    present = {spec.name for spec in specs if not {"of", "stop"} & spec.options.keys()}
    return [name for name in ("single", "self_consistency") if name not in present]


async def sized(
    spec: str,
    goal: int | None,
    questions: Sequence[Question],
    engine: Engine,
    verifier: Verifier | None,
    tell: Callable[[str], None],
    most: float = math.inf,
) -> SizedCandidates:
    """The candidates of one strategy, in the sizes that fit a goal of tokens a question.

    Raises:
        SpendExceeded: the sizes cost more than `most` tokens.
        EngineDied: the engine is gone.
        EngineUnavailable: it does not answer.
    """
    tokens = 0.0

    async def measure(text: str) -> float:
        nonlocal tokens
        costs = await costs_of(text, questions, engine, verifier, most - tokens)
        tokens += sum(each.tokens for each in costs)
        return fmean(each.tokens for each in costs)

    plain = Spec.parse(spec_of(build("strategy", spec)))
    samples = plain.name in POOLS and "of" not in plain.options
    if samples:
        plain = _same_sampling(plain, engine)
    pooled = samples and "stop" not in plain.options
    given = expanded("strategy", spec).options.keys() & set(SIZES)
    if plain.name == "single" or (given and not pooled):
        return SizedCandidates(candidates=(Candidate(spec=str(plain), arm=str(plain)),))
    tried: dict[int, tuple[str, float]] = {}
    amount = float(goal or 0)
    try:
        if given:
            # A spec leaves out a size that is the default.
            tried[build("strategy", str(plain)).n] = str(plain), 0.0
        for part in () if given else PARTS[-1:] if pooled else PARTS:
            await narrow_down(str(plain), part * amount, tried, measure)
    except (EngineDied, EngineUnavailable, SpendExceeded):
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


def price_of(
    candidates: Sequence[Candidate], race: Race, inside: Sequence[int]
) -> float:
    """About the tokens of a question for these candidates; what selects from one pool costs it once."""
    prices = {drawn_by(candidates[who]): 0.0 for who in inside}
    for each, cost in zip(candidates, race.expected_costs.tolist(), strict=True):
        arm = drawn_by(each)
        if arm in prices:
            prices[arm] = max(cost, prices[arm])
    return sum(prices.values())


def baselines(
    candidates: Sequence[Candidate],
    race: Race,
    chosen: int,
    engine: Engine,
) -> list[tuple[str, Candidate]]:
    """One sample, and the plain vote that costs about what the chosen one does; for one sample, the largest vote."""
    own = candidates[chosen]
    single = candidates[
        max(
            (who for who, each in enumerate(candidates) if is_single(each.spec)),
            key=lambda who: (who == chosen, race.accuracy(who)),
        )
    ]
    greedy = is_greedy(single.spec, thinks=engine.model.thinking is not None)
    named = [(SINGLES[0] if greedy else SINGLES[1], single)]
    votes = [
        (who, each)
        for who, each in enumerate(candidates)
        if each.votes and not each.stop
    ]
    if not votes:
        return named
    largest, whole = max(votes, key=lambda vote: vote[1].size)
    size = whole.size
    if own != single:
        size = round(size * race.cost(chosen) / max(race.cost(largest), 1.0))
    size = max(min(size, whole.size), min(LEAST, whole.size))
    vote = build("strategy", whole.arm)
    spec = spec_of(type(vote)(n=size, params=vote.params))
    equal = whole.model_copy(update={"spec": spec})
    title = "the largest plain vote" if own == single else "a plain vote of equal cost"
    return [*named, (title, equal)]


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
