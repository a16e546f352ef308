"""Answers questions: the entry points of a run."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import aclosing
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from reasoner.answers.equivalence import Comparer, Equivalence
from reasoner.budget import NO_COST, Budget, Cost, Ledger, Prices
from reasoner.engine import Engine
from reasoner.errors import UsageError
from reasoner.execution.allocation import Allocation
from reasoner.execution.opening import CONCURRENCY, RunContext, check_ids, open_questions
from reasoner.registry import spec_of
from reasoner.solution import Solution
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import Sink
from reasoner.trace.history import QuestionHistory, RecordedEngine
from reasoner.trace.recorder import RunFacts
from reasoner.types import Question
from reasoner.verifier import Verifier, claim_memory

P = ParamSpec("P")
T = TypeVar("T")


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
    """Answer one question within a budget. After a failure, `Solution.error` is set and the answer is the best so far.

    Mathematical answers are compared in separate processes, which start and end with the run; pass a `comparer` to
    keep them between runs. Engine, verifier and a given comparer are not closed.

    Raises:
        EngineUnavailable: the engine, or what the verifier runs on, cannot be started.
        UsageError: the budget cannot be counted with this engine or without prices, or the strategy needs a verifier.
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
    history: Mapping[str, QuestionHistory] | None = None,
    spent: Cost = NO_COST,
    concurrency: int = CONCURRENCY,
) -> AsyncGenerator[tuple[int, Solution], None]:
    """Answer many questions at once with one engine; yields (index of the question, solution) as each one ends.

    Up to `concurrency` questions are open at once, and the next one opens when one ends; the seconds of a budget for
    `each` begin then. Results do not depend on it. One question's failure does not affect the others. Questions that
    share no budget are taken from the input when they are opened, so the input may be infinite.

    `budget` bounds all of them together, `each` every single one; `spent` of the budget is used already. The
    `allocation` divides the budget: every question gets one sample, then those whose next samples gain most. It can
    also be given without a budget, for its price. `history`, by question id, is the history of an interrupted run with
    the same settings: what is in it is not generated, rated or written to the trace again, and its cost counts.

    Raises:
        EngineUnavailable: the engine, or what the verifier runs on, cannot be started.
        UsageError: two questions have the same id, the budget cannot be counted with this engine or without prices, or
            the strategy needs a verifier.
    """
    if strategy.uses_verifier and verifier is None:
        raise UsageError("this strategy asks for scores and there is no verifier: give one, such as certainty")
    if isinstance(questions, Collection):
        check_ids(questions)
    await claim_memory(engine, verifier)
    await engine.start()
    limits = _limits(engine, budget, each)
    if isinstance(engine, RecordedEngine):
        budget, each, allocation, history = None, None, None, engine.history
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
    history = history or {}
    if shared := allocation is not None or bool(budget and str(budget)):
        questions = all_questions = list(questions)
        check_ids(all_questions)
        spent = sum((history[question.id].spent for question in all_questions if question.id in history), spent)
    run = Ledger(budget, prices=prices, spent=spent)
    comparing = comparer or Equivalence()
    context = RunContext(strategy, verifier, stop, engine, comparing, trace, seed, facts, each, run, history)
    if shared:
        context.share(allocation, all_questions)
    stream = open_questions(questions, context, concurrency)
    try:
        async with aclosing(stream):
            async for index, solution in stream:
                yield index, solution
    finally:
        if comparer is None:
            await comparing.close()


def _check_flops(engine: Engine, *bounds: Budget | None) -> None:
    bounded = any(bound and bound.flops is not None for bound in bounds)
    if bounded and engine.model.flops(prompt=1, cached=0, generated=1) is None:
        raise UsageError(f"a flops budget needs the geometry of {engine.model.name}, which the engine does not know")


def _limits(engine: Engine, budget: Budget | None, each: Budget | None) -> str:
    """The budgets as text. A replay has those of the recorded run, which it keeps by doing the same."""
    limits = "; ".join(f"{name} {bound}" for name, bound in (("all", budget), ("each", each)) if bound)
    if not isinstance(engine, RecordedEngine):
        return limits
    if limits not in {"", engine.budget}:
        raise UsageError(f"a replay uses the recorded budget ({engine.budget or 'none'}), not {limits}: leave it out")
    return engine.budget


def _collected(
    stream: Callable[P, AsyncGenerator[tuple[int, Solution], None]],
) -> Callable[P, Coroutine[Any, Any, list[Solution]]]:
    @wraps(stream)
    async def collect(*args: P.args, **kwargs: P.kwargs) -> list[Solution]:
        async with aclosing(stream(*args, **kwargs)) as solutions:
            by_index = {index: solution async for index, solution in solutions}
        return [by_index[index] for index in sorted(by_index)]

    collect.__name__ = collect.__qualname__ = "solve_many"
    collect.__doc__ = "Like `solve_each`, but returns all solutions at the end, in the order of the questions."
    return collect


def _synchronous(name: str, run: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """`run`, which is called `name`, for synchronous code, with the same arguments."""

    @wraps(run)
    def run_sync(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(run(*args, **kwargs))
        raise UsageError(
            f"{name}_sync cannot be called while an event loop is running, as in a notebook: use `await {name}(...)`"
        )

    return run_sync


solve_many = _collected(solve_each)
"""Like `solve_each`, but returns all solutions at the end, in the order of the questions."""
solve_sync = _synchronous("solve", solve)
"""`solve` for synchronous code. Raises also `UsageError`: an event loop is running, as in a notebook."""
solve_many_sync = _synchronous("solve_many", solve_many)
"""`solve_many` for synchronous code. Raises as `solve_sync`."""
