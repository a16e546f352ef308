"""Answering questions: the only place where plans meet engines, verifiers and the ledger."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from reasoner.admission import Admission, KvGate, new_lines
from reasoner.budget import Budget, Cost, Ledger, Prices
from reasoner.catalog import spec_of
from reasoner.comparisons import Comparisons
from reasoner.controller.allocation import Allocation
from reasoner.drive import Drive, cancel_all
from reasoner.equivalence import Equivalence, SlowSpace
from reasoner.errors import UsageError
from reasoner.past import NOTHING, Past
from reasoner.protocols import Comparer, Engine, Recorded, StopRule, Strategy, Verifier, claim
from reasoner.recorder import Recorder, RunFacts
from reasoner.solution import Solution
from reasoner.trace import Sink
from reasoner.turns import Turns
from reasoner.types import Question
from reasoner.work import Worker, keep_floors

NO_COST = Cost()
KV_SHARE = 0.9
"""The part of the KV cache that may be in flight; beyond it the engine preempts and computes again."""


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
) -> list[Solution]:
    """Answer many questions at once through one engine; solutions come in the order of the questions.

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
) -> AsyncGenerator[tuple[int, Solution], None]:
    """Like `solve_many`, but yields each solution as soon as it is there, with its question's place in the input."""
    asked = list(questions)
    _check(asked, strategy, verifier)
    await claim(engine, verifier)
    await engine.start()
    limits = _limits(engine, budget, each)
    if isinstance(engine, Recorded):
        budget, each, allocation = None, None, None
    if verifier is not None:
        await verifier.start(engine)
    run = Ledger(budget, prices=prices)
    if spent != NO_COST:
        run.settle(run.reserve(spent), spent)
    known = [past.get(question.id, NOTHING) if past else NOTHING for question in asked]
    ledgers = [_ledger(run, each, one) for one in known]
    _check_flops(engine, budget, each)
    gate = KvGate(int(engine.capacity * KV_SHARE)) if engine.capacity else None
    lines = new_lines()
    started = time.monotonic()
    facts = RunFacts(
        strategy=spec_of(strategy),
        verifier=spec_of(verifier) if verifier else "",
        engine=engine.name,
        model=engine.model,
        notes=engine.notes,
        budget=limits,
        seed=seed,
    )
    comparing = comparer or Equivalence()
    # Starting the processes takes seconds, which the first samples take too.
    slow = comparer is None and any(isinstance(question.space, SlowSpace) for question in asked)
    warming = asyncio.ensure_future(comparing.warm()) if slow and isinstance(comparing, Equivalence) else None
    finished: asyncio.Queue[asyncio.Task[Solution]] = asyncio.Queue()
    places: dict[asyncio.Task[Solution], int] = {}
    drives = []
    turns = _turns(allocation, run, len(asked))
    for place, (question, ledger, before) in enumerate(zip(asked, ledgers, known, strict=True)):
        recorder = Recorder(question, trace, started, before)
        comparisons = Comparisons(question, comparing, recorder, before)
        worker = Worker(question, engine, Admission(ledger, lines), gate, recorder, comparisons, seed, place, before)
        turn = turns.turn(place, ledger) if turns else None
        drives.append(Drive(strategy, verifier, stop, worker, facts, turn))
    if turns:
        await keep_floors(run, [drive.worker for drive in drives if not drive.worker.past.attempts])
    for place, drive in enumerate(drives):
        task = asyncio.ensure_future(drive.solve())
        task.add_done_callback(finished.put_nowait)
        places[task] = place
    try:
        while places:
            task = await finished.get()
            yield places.pop(task), task.result()
    finally:
        await cancel_all([*places, *([warming] if warming else [])])
        if comparer is None:
            await comparing.close()


def _check(asked: Sequence[Question], strategy: Strategy, verifier: Verifier | None) -> None:
    if len({question.id for question in asked}) < len(asked):
        raise UsageError("two questions have the same id, which names seeds and trace records: give each its own")
    if strategy.uses_verifier and verifier is None:
        raise UsageError("this strategy asks for scores and there is no verifier: give one, such as certainty")


def _check_flops(engine: Engine, *bounds: Budget | None) -> None:
    bounded = any(bound and bound.flops is not None for bound in bounds)
    if bounded and engine.model.flops(prompt=1, cached=0, generated=1) is None:
        raise UsageError(f"a flops budget needs the geometry of {engine.model.name}, which the engine does not know")


def _ledger(run: Ledger, each: Budget | None, past: Past) -> Ledger:
    """A question's ledger, in which what it cost before is booked."""
    ledger = run.child(each, elapsed=past.seconds)
    if past.attempts:
        ledger.settle(ledger.reserve(past.spent), past.spent)
    return ledger


def _turns(allocation: Allocation | None, run: Ledger, questions: int) -> Turns | None:
    """How the questions take turns; None where there is nothing to divide and no price to keep to."""
    if allocation is None and (not str(run.budget) or questions < 2):
        return None
    return Turns(allocation or Allocation(), run, questions)


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
