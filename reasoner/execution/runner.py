"""Answers questions: the entry points of a run."""

# So that `help` shows `Sink | None`, and not the sixteen types that it stands for.
from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Collection,
    Iterable,
    Mapping,
)
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

from reasoner.answers.equivalence import Equivalence
from reasoner.answers.questions import Question
from reasoner.budget import NO_COST, Budget, Cost, Ledger, Prices
from reasoner.engine import Engine
from reasoner.errors import UsageError, require
from reasoner.execution.bars import counted_solutions, followed
from reasoner.execution.gate import EngineLimits
from reasoner.execution.inputs import (
    as_budget,
    as_instance,
    as_limits,
    as_question,
    as_questions,
    as_sink,
    plugins,
)
from reasoner.execution.launching import cancel_all
from reasoner.execution.scheduler import Allocation
from reasoner.execution.session import CONCURRENCY, RunContext
from reasoner.registry import DEFAULT_ENGINE, DEFAULT_STRATEGY
from reasoner.solution import Solution, Solutions
from reasoner.strategy import StopRule, Strategy
from reasoner.system.machine import rarely_collected
from reasoner.system.values import arguments_of
from reasoner.trace.events import Event, Proposed, Sink, tee
from reasoner.trace.history import QuestionHistory, RecordedEngine
from reasoner.types import Proposal
from reasoner.verifier import Verifier, claim_memory


async def solve_each(
    questions: Iterable[Question | str] | AsyncIterable[Question | str],
    strategy: Strategy | str = DEFAULT_STRATEGY,
    engine: Engine | str = DEFAULT_ENGINE,
    *,
    verifier: Verifier | str | None = None,
    budget: Budget | str | None = None,
    each: Budget | str | None = None,
    allocation: Allocation | None = None,
    prices: Prices | str | None = None,
    stop: StopRule | str | None = None,
    comparer: Equivalence | None = None,
    trace: Sink | None = None,
    seed: int = 0,
    history: Mapping[str, QuestionHistory] | None = None,
    spent: Cost | None = None,
    concurrency: int = CONCURRENCY,
    length: int | None = None,
    progress: bool = False,
) -> AsyncGenerator[tuple[int, Solution], None]:
    """Answer many questions at once with one engine; yields (index of the question, solution) as each one ends.

    Up to `concurrency` questions are open at once, fewer where these fill the engine, and the next one opens when there
    is room; the seconds of a budget for `each` begin then. Results do not depend on it. One question's failure does not
    affect the others. An iterator is read in blocks as there is room, so it may be long; one that waits should be
    asynchronous. Its error is raised when the questions that came before it have ended.

    Text stands for an object: a question, a spec such as "self_consistency:n=8" for the strategy, the engine, the
    verifier and the stop rule, "tokens=2000,seconds=30" for a budget. Without an engine, vLLM serves the embedded
    model; without a verifier, a strategy that uses scores gets the model's own certainty. What is built here is closed
    at the end; an engine or a verifier that is passed in stays open, so make it once to use it often.

    `budget` bounds all of them together, `each` every single one; `spent` of the budget is used already. The
    `allocation` divides the budget: every question gets one sample, then those that gain most by more. What gains
    less than its price, by default 0, is not spent. It can also be given without a budget, for its price. An iterator's
    budget is divided among the questions that are open: `length` is how many it yields, if that is known, and then each
    finds its equal share and what earlier ones left. Without it, the first questions may spend all. `trace` receives
    each event as it happens: for progress, or a `TraceWriter` for a file. `history`, by question id, is the history of
    an interrupted run with the same settings: what is in it is not generated, rated or written to the trace again, and
    its cost counts. `progress` draws a bar over the questions, which needs tqdm.

    While the run lasts, Python searches rarely for cycles of objects; at its end as before.
    Mathematical answers are compared in separate processes, which start and end with the run; pass a `comparer` to
    keep them between runs.

    Raises:
        EngineUnavailable: the engine, or what the verifier runs on, cannot be started.
        UsageError: an argument has a wrong type or text, two questions have the same id, the budget cannot be counted
            with this engine or without prices, or a thinking level is given for a model that does not think.
    """
    asked = as_questions(questions)
    budget, each, sink = (
        as_budget(budget, "budget"),
        as_budget(each, "each"),
        as_sink(trace),
    )
    prices = as_limits(
        prices, Prices, "prices", "Prices or text, as in 'prompt=0.15,generated=0.60'"
    )
    for name, number, least in (
        ("seed", seed, 0),
        ("concurrency", concurrency, 1),
        ("length", length, 0),
    ):
        require(number, name, at_least=least, whole=True)
    as_instance(
        allocation,
        Allocation,
        "allocation",
        "an Allocation, as in Allocation(price=0.002)",
    )
    as_instance(history, Mapping, "history", "a mapping of question ids to histories")  # type: ignore[type-abstract]
    as_instance(spent, Cost, "spent", "a Cost")
    async with AsyncExitStack() as stack:
        stack.enter_context(rarely_collected())
        plan, policy, rater, rule = await stack.enter_async_context(
            plugins(strategy, engine, verifier, stop)
        )
        await claim_memory(policy, rater)
        await policy.start()
        stated, past = _stated(policy, budget, each), history or {}
        if isinstance(policy, RecordedEngine):
            budget, each, allocation, past = None, None, None, policy.history
        if rater is not None:
            await rater.start(policy)
        shared = allocation is not None or bool(budget and str(budget))
        if isinstance(asked, Collection):
            length, past = (
                len(asked),
                {
                    question.id: past[question.id]
                    for question in asked
                    if question.id in past
                },
            )
            # Where they share a budget, all are open in the end, as any may get another sample.
            concurrency = max(concurrency, length) if shared else concurrency
        if comparer is None:
            comparer = Equivalence()
            stack.push_async_callback(comparer.close)
        context = RunContext(
            strategy=plan,
            engine=policy,
            verifier=rater,
            stop=rule,
            comparer=comparer,
            trace=sink,
            seed=seed,
            budget=each,
            ledger=Ledger(
                budget,
                prices=prices,
                spent=sum(
                    (earlier.spent for earlier in past.values()), spent or NO_COST
                ),
            ),
            stated=stated,
            limits=EngineLimits(),
            history=past,
            window=concurrency,
        )
        if shared and (allocation is not None or length is None or length > 1):
            context.share(allocation, length)
        follow = stack.enter_context(counted_solutions(drawn=progress, length=length))
        async with aclosing(context.solutions(asked)) as solutions:
            async for index, solution in solutions:
                follow(solution)
                yield index, solution


def _stated(engine: Engine, budget: Budget | None, each: Budget | None) -> str:
    """The budgets as text. A replay has those of the recorded run, which it keeps by doing the same."""
    limits = "; ".join(
        f"{name} {bound}"
        for name, bound in (("all", budget), ("each", each))
        if bound and str(bound)
    )
    if not isinstance(engine, RecordedEngine):
        return limits
    if limits not in {"", engine.budget}:
        raise UsageError(
            f"a replay uses the recorded budget ({engine.budget or 'none'}), not {limits}: leave it out"
        )
    return engine.budget


async def solve(
    question: Question | str,
    strategy: Strategy | str = DEFAULT_STRATEGY,
    engine: Engine | str = DEFAULT_ENGINE,
    *,
    verifier: Verifier | str | None = None,
    budget: Budget | str | None = None,
    prices: Prices | str | None = None,
    stop: StopRule | str | None = None,
    comparer: Equivalence | None = None,
    trace: Sink | None = None,
    seed: int = 0,
    history: Mapping[str, QuestionHistory] | None = None,
    progress: Callable[[Proposal], object] | bool | None = None,
) -> Solution:
    """Answer one question within a budget. After a failure, `Solution.error` is set; the answer is the best so far.

        print(await solve("What is 3 + 4?", "self_consistency:n=8", budget="tokens=2000"))

    The arguments are as in `solve_each`. `progress` is called with each proposal, as soon as there is one; True draws
    a bar, which needs tqdm. The solution keeps its events, so it has `samples` and shows its search.

    Raises:
        EngineUnavailable: the engine, or what the verifier runs on, cannot be started.
        UsageError: an argument has a wrong type or text, or the budget cannot be counted with this engine or without
            prices.
    """
    asked, limit, sink = (
        as_question(question),
        as_budget(budget, "budget"),
        as_sink(trace),
    )
    events: list[Event] = []

    with followed(progress) as follow:

        def keep(event: Event) -> None:
            events.append(event)
            if follow and isinstance(event, Proposed):
                follow(Proposal(event.answer, event.vote_state, event.cost))

        solutions = solve_each(
            [asked],
            strategy,
            engine,
            verifier=verifier,
            each=limit,
            prices=prices,
            stop=stop,
            comparer=comparer,
            trace=tee(sink, keep) if sink else keep,
            seed=seed,
            history=history,
        )
        async with aclosing(solutions):
            _, solution = await anext(solutions)
        return replace(solution, events=tuple(events))


async def proposals(
    question: Question | str,
    strategy: Strategy | str = DEFAULT_STRATEGY,
    engine: Engine | str = DEFAULT_ENGINE,
    **options: Any,
) -> AsyncGenerator[Proposal, None]:
    """The answers to one question as they improve, each as soon as it is there; the last one is the answer.

        async for proposal in proposals("What is 3 + 4?", "self_consistency:n=64"):
            if proposal.cost.tokens > 2000:
                break

    The options are those of `solve`. Leaving the loop early needs `aclosing` to cancel the work at once.

    Raises:
        ReasonerError: as `solve`, or what ended the question where `Solution.error` would be set.
    """
    queue = asyncio.Queue[Proposal | None]()
    task = asyncio.ensure_future(
        solve(question, strategy, engine, progress=queue.put_nowait, **options)
    )
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (proposal := await queue.get()) is not None:
            yield proposal
        if error := (await task).error:
            raise error
    finally:
        await cancel_all([task])


@arguments_of(solve_each)
async def solve_many(*args: Any, **options: Any) -> Solutions:
    """Like `solve_each`, but returns all solutions at the end, in the order of the questions."""
    async with aclosing(solve_each(*args, **options)) as solutions:
        by_index = {index: solution async for index, solution in solutions}
    return Solutions(by_index[index] for index in sorted(by_index))


@arguments_of(solve)
def solve_sync(*args: Any, **options: Any) -> Solution:
    """`solve` for synchronous code. Raises also UsageError: an event loop is running, as in a notebook."""
    _refuse_running_loop("solve")
    return asyncio.run(solve(*args, **options))


@arguments_of(solve_each)
def solve_many_sync(*args: Any, **options: Any) -> Solutions:
    """`solve_many` for synchronous code. Raises also UsageError: an event loop is running, as in a notebook."""
    _refuse_running_loop("solve_many")
    return asyncio.run(solve_many(*args, **options))


def _refuse_running_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        f"{name}_sync cannot be called while an event loop is running, as in a notebook: use `await {name}(...)`"
    )
