"""Answering questions: the only place where plans meet engines, verifiers and the ledger."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from reasoner.budget import NO_COST, Budget, Cost, Ledger, Prices
from reasoner.catalog import spec_of
from reasoner.controller.allocation import Allocation
from reasoner.equivalence import Equivalence
from reasoner.errors import UsageError
from reasoner.opening import CONCURRENCY, Desk, check_ids, opened
from reasoner.past import Past, Recorded
from reasoner.protocols import Comparer, Engine, StopRule, Strategy, Verifier, claim
from reasoner.recorder import RunFacts
from reasoner.solution import Solution
from reasoner.trace import Sink
from reasoner.types import Question


async def solve(
    question: Question,
    strategy: Strategy,
    engine: Engine,
    *,
    verifier: Verifier | None = None,
    budget: Budget | None = None,
    prices: Prices | None = None,
    stop: StopRule | None = None,
    comparer: Comparer | None = None,
    trace: Sink | None = None,
    seed: int = 0,
) -> Solution:
    """Answer one question within a budget. What fails on the way is in `Solution.error`, beside the best answer so far.

    Mathematical answers are compared in processes of their own, which start with the run and end with it; give a
    `comparer` to keep them from one run to the next. Engine, verifier and a given comparer are left open.

    Raises:
        EngineUnavailable: the engine, or what the verifier runs on, cannot be started.
        UsageError: the budget cannot be counted with this engine, or without prices; the strategy needs a verifier.
    """
    [solution] = await solve_many(
        [question],
        strategy,
        engine,
        verifier=verifier,
        each=budget,
        prices=prices,
        stop=stop,
        comparer=comparer,
        trace=trace,
        seed=seed,
    )
    return solution


async def solve_many(
    questions: Iterable[Question],
    strategy: Strategy,
    engine: Engine,
    *,
    verifier: Verifier | None = None,
    budget: Budget | None = None,
    each: Budget | None = None,
    allocation: Allocation | None = None,
    prices: Prices | None = None,
    stop: StopRule | None = None,
    comparer: Comparer | None = None,
    trace: Sink | None = None,
    seed: int = 0,
    past: Mapping[str, Past] | None = None,
    spent: Cost = NO_COST,
    concurrency: int = CONCURRENCY,
) -> list[Solution]:
    """Answer many questions at once through one engine; solutions come in the order of the questions.

    Up to `concurrency` questions are open at once, and the next one is opened when one ends; the seconds of a budget
    for `each` begin then. Results do not depend on it.
    `budget` bounds all of them together, `each` every single one. A `budget` is divided by the `allocation`, which may
    also be given without one, for its price: every question draws once, and then those draw on whose next samples are
    worth most. `spent` of the budget is gone already. One question's failure leaves the others alone.
    `past`, by question id, is what an interrupted run with the same settings had got: what is there is neither drawn
    nor rated nor written to the trace again, and what it cost counts. Raises as `solve`.
    """
    stream = solve_each(
        questions,
        strategy,
        engine,
        verifier=verifier,
        budget=budget,
        each=each,
        allocation=allocation,
        prices=prices,
        stop=stop,
        comparer=comparer,
        trace=trace,
        seed=seed,
        past=past,
        spent=spent,
        concurrency=concurrency,
    )
    async with aclosing(stream):
        found = {place: solution async for place, solution in stream}
    return [found[place] for place in sorted(found)]


async def solve_each(
    questions: Iterable[Question],
    strategy: Strategy,
    engine: Engine,
    *,
    verifier: Verifier | None = None,
    budget: Budget | None = None,
    each: Budget | None = None,
    allocation: Allocation | None = None,
    prices: Prices | None = None,
    stop: StopRule | None = None,
    comparer: Comparer | None = None,
    trace: Sink | None = None,
    seed: int = 0,
    past: Mapping[str, Past] | None = None,
    spent: Cost = NO_COST,
    concurrency: int = CONCURRENCY,
) -> AsyncGenerator[tuple[int, Solution], None]:
    """Like `solve_many`, but yields each solution as soon as it is there, with its question's place in the input.

    Questions that share no budget are taken from the input as they are opened, so the input may be endless.
    """
    if strategy.uses_verifier and verifier is None:
        raise UsageError("this strategy asks for scores and there is no verifier: give one, such as certainty")
    if isinstance(questions, Collection):
        check_ids(questions)
    await claim(engine, verifier)
    await engine.start()
    limits = _limits(engine, budget, each)
    if isinstance(engine, Recorded):
        budget, each, allocation, past = None, None, None, engine.past
    if verifier is not None:
        await verifier.start(engine)
    _check_flops(engine, budget, each)
    facts = RunFacts(
        strategy=spec_of(strategy),
        verifier=spec_of(verifier) if verifier else "",
        engine=engine.name,
        model=engine.model,
        notes=engine.notes,
        budget=limits,
        seed=seed,
    )
    past = past or {}
    if shared := allocation is not None or bool(budget and str(budget)):
        questions = all_of_them = list(questions)
        check_ids(all_of_them)
        spent = sum((past[one.id].spent for one in all_of_them if one.id in past), spent)
    run = Ledger(budget, prices=prices, spent=spent)
    comparing = comparer or Equivalence()
    desk = Desk(strategy, verifier, stop, engine, comparing, trace, seed, facts, each, run, past)
    if shared:
        desk.share(allocation, all_of_them)
    stream = opened(questions, desk, concurrency)
    try:
        async with aclosing(stream):
            async for place, solution in stream:
                yield place, solution
    finally:
        if comparer is None:
            await comparing.close()


def _check_flops(engine: Engine, *bounds: Budget | None) -> None:
    bounded = any(bound and bound.flops is not None for bound in bounds)
    if bounded and engine.model.flops(prompt=1, cached=0, generated=1) is None:
        raise UsageError(f"a flops budget needs the geometry of {engine.model.name}, which the engine does not know")


def _limits(engine: Engine, budget: Budget | None, each: Budget | None) -> str:
    """The budgets in words. A replay has those of the recorded run, which it keeps by doing the same."""
    limits = "; ".join(f"{name} {bound}" for name, bound in (("all", budget), ("each", each)) if bound)
    if not isinstance(engine, Recorded):
        return limits
    if limits not in {"", engine.budget}:
        raise UsageError(
            f"a replay keeps to the recorded budget ({engine.budget or 'none'}), not to {limits}: leave it out"
        )
    return engine.budget


def solve_sync(question: Question, strategy: Strategy, engine: Engine, **options: Any) -> Solution:
    """`solve` for code that is not asynchronous; takes the same keywords.

    Raises:
        UsageError: an event loop is running, as in a notebook; and as `solve`.
    """
    _check_no_loop("solve")
    return asyncio.run(solve(question, strategy, engine, **options))


def solve_many_sync(
    questions: Iterable[Question], strategy: Strategy, engine: Engine, **options: Any
) -> list[Solution]:
    """`solve_many` for code that is not asynchronous; takes the same keywords. Raises as `solve_sync`."""
    _check_no_loop("solve_many")
    return asyncio.run(solve_many(questions, strategy, engine, **options))


def _check_no_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        f"{name}_sync cannot be called where an event loop is running, as in a notebook: use `await {name}(...)`"
    )
