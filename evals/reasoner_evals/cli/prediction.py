"""`reasoner eval --dry-run`: the cost of a run, predicted by following its plans without a model."""

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from reasoner.budget import COUNTS, Budget, Cost
from reasoner.cli.terminal import labelled, table
from reasoner.engine import Engine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import ReasonerError
from reasoner.execution.prediction import REPLY_TOKENS, PredictedCost, left_out
from reasoner.execution.prediction import predict as predict_cost
from reasoner.registry import build
from reasoner_evals.cli.setup import RunSetup
from reasoner_evals.runs.arms import Subset
from reasoner_evals.runs.records import Arm

if TYPE_CHECKING:
    from rich.console import RenderableType

FOLLOWED: Final = 10
"""Questions of each arm whose plans are followed; the others are taken to cost the same."""


def predict(setup: RunSetup) -> dict[str, Any]:
    """The prediction for JSON: each arm, the sum, and what they rest on. Starts no engine but a simulated one."""
    engine = setup.engine if isinstance(setup.engine, SimulatedEngine) else SimulatedEngine(tokens=REPLY_TOKENS)
    basis = [
        f"the first {FOLLOWED} questions at most of each arm, followed on the simulated engine; the rest cost the same",
        f"mean: replies of {engine.tokens:g} tokens on average; longest: every reply as long as max_tokens allows",
    ]
    if engine is not setup.engine:
        # It stands for a model of which nothing is known, which may think.
        engine.model = replace(engine.model, served=True)
        basis.append(
            "a word of a prompt is one token and no prompt comes from the cache: the model's own counts differ"
        )
        basis.append("a model that thinks is taken for one that does not: give --max-tokens for its longest reply")
    basis += [*left_out(setup.verifier), "seconds are not predicted: they depend on the machine and its load"]

    def made_up(tokens: float) -> Engine:
        same = replace(engine, tokens=tokens)
        same.model = engine.model
        return same

    arms, costs = [], []
    for arm in setup.arms:
        predicted = {"name": arm.name, "task": arm.task, "strategy": arm.strategy, "budget": arm.limit}
        error = None
        try:
            costs.append(asyncio.run(_cost(arm, setup, made_up, engine.tokens)))
        except ReasonerError as failure:
            error = str(failure)
        questions = len(setup.tasks[arm.task].items)
        arms.append({**predicted, "questions": questions, "error": error, **({} if error else costs[-1].document())})
    return {"arms": arms, **PredictedCost.total(costs).document(), "basis": basis}


async def _cost(arm: Arm, setup: RunSetup, made_up: Callable[[float], Engine], mean: float) -> PredictedCost:
    """The cost of all questions of an arm, within its budget. Raises ReasonerError if a plan cannot be followed."""
    data = setup.tasks[arm.task]
    asked = [item.question for item in data.items[:FOLLOWED]]
    if not asked:
        # A shard may have no question.
        return PredictedCost()
    total = Subset.parse(data.source.subset).part_of(Budget.parse(arm.total)) if arm.total else None
    strategy = build("strategy", arm.strategy)
    both = await predict_cost(
        asked,
        strategy,
        made_up,
        mean,
        verifier=setup.verifier if strategy.uses_verifier else None,
        each=Budget.parse(arm.budget) if arm.budget else None,
        prices=setup.prices,
        seed=arm.seed,
    )
    return PredictedCost(*(_within(total, _scaled(cost, len(data.items) / len(asked), math.ceil)) for cost in both))


def _scaled(cost: Cost, factor: float, whole: Callable[[float], int]) -> Cost:
    """The counts of a cost times a factor, as whole numbers."""
    return Cost(**{count: whole(getattr(cost, count) * factor) for count in COUNTS})


def _within(total: Budget | None, cost: Cost) -> Cost:
    """A cost cut to a budget of all questions in tokens, generated tokens or samples."""
    if total is None:
        return cost
    spent = {"tokens": cost.tokens, "generated": cost.generated_tokens, "samples": cost.samples}
    shares = [limit / spent[unit] for unit in spent if (limit := getattr(total, unit)) is not None and spent[unit]]
    share = min([1.0, *shares])
    return cost if share == 1 else _scaled(cost, share, math.floor)


def layout(prediction: dict[str, Any]) -> "Iterator[RenderableType]":
    """The prediction for a person: a row for each arm, the sum, and what it rests on."""
    arms = prediction["arms"]
    rows = [(arm["name"], f"{arm['questions']:,}", *_numbers(arm)) for arm in arms]
    if len(arms) > 1:
        rows.append(("all", "", *_numbers(prediction)))
    yield table(("arm", "questions", "samples", "mean tokens", "longest"), rows)
    yield ""
    unknown = [("unknown", f"{arm['name']}: {arm['error']}") for arm in arms if arm["error"]]
    yield labelled([*unknown, *(("basis", line) for line in prediction["basis"])])


def _numbers(cost: dict[str, Any]) -> tuple[str, str, str]:
    if cost.get("error"):
        return "unknown", "unknown", "unknown"
    return f"{cost['mean']['samples']:,}", f"{cost['mean']['tokens']:,}", f"{cost['longest']['tokens']:,}"
