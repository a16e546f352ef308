"""One request, from its jobs to their solutions: its turn, its ledger, the session, what is counted."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal, Self, TypeVar

from reasoner.answers.equivalence import ComparisonMeter
from reasoner.budget import Ledger
from reasoner.engine import Engine, TextPiece
from reasoner.errors import EngineDied
from reasoner.execution.launching import cancel_all
from reasoner.execution.prediction import REPLY_TOKENS, MadeUpEngine, PredictedCost, left_out, predict
from reasoner.execution.session import Session
from reasoner.registry import entries, name_of
from reasoner.serving.choose import Job, Offer
from reasoner.serving.config import ServerLimits
from reasoner.serving.errors import ApiError, Report, api_error, opaque, silent
from reasoner.serving.limits import Client, Turns
from reasoner.serving.metrics import Metrics, Outcome
from reasoner.serving.replies import AnsweredRequest, bounded, saved
from reasoner.serving.requests import CompareRequest
from reasoner.serving.traces import RecentTraces
from reasoner.solution import Solution
from reasoner.trace.events import Event, Sink

T = TypeVar("T")
State = Literal["starting", "ready", "draining", "failed"]
Follow = Callable[[int, Event | TextPiece], None]
"""Receives what happens in a request with the index of its job: its events, or its text if it passes through."""
ESTIMATE_SECONDS: Final = 10.0
"""Seconds that an estimate may take."""
RETRY: Final = {"Retry-After": "5"}


class Service:
    """Answers the requests of many clients with one session, within the limits of the server.

        async with Service(engine, offer, limits) as service:
            answered = await service.answer(choose(request, service.offer), client)

    Entering it starts the engine and the verifiers; leaving it cuts off what is in flight and closes them.
    """

    def __init__(
        self,
        engine: Engine,
        offer: Offer,
        limits: ServerLimits,
        *,
        traces: RecentTraces | None = None,
        report: Report = silent,
    ) -> None:
        self._offer = replace(offer, ceiling=limits.max_budget)
        self._offer.check()
        self.state: State = "starting"
        self.limits = limits
        self.traces = RecentTraces(number=0) if traces is None else traces
        self.report = report
        self.turns = Turns(limits.max_concurrent, limits.queue)
        self.ledger = Ledger(prices=offer.prices)
        self.metrics = Metrics(entries("strategy"))
        self._engine = engine
        self._session = Session(engine, verifiers=tuple(offer.verifiers.values()), prices=offer.prices)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stack = AsyncExitStack()
        self.metrics.gauge("reasoner_in_flight", "Requests that are answered now.", lambda: self.turns.running)
        self.metrics.gauge("reasoner_queued", "Requests that wait for their turn.", lambda: self.turns.queued)
        self.metrics.gauge("reasoner_kv_use", "Expected part of the KV cache in use; 0 if unknown.", self._kv_use)

    async def __aenter__(self) -> Self:
        """Start the engine and the verifiers. Raises as `Session.__aenter__`."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._engine.close)
            await stack.enter_async_context(self._session)
            stack.push_async_callback(self._cut_off)
            self._stack = stack.pop_all()
        self._offer = self._offer.serving(self._engine.model)
        if self.state == "starting":
            self.state = "ready"
        return self

    async def __aexit__(self, *_failure: object) -> None:
        """Cut off what is in flight, and close what was started."""
        self.drain()
        await self._stack.aclose()

    async def _cut_off(self) -> None:
        await cancel_all(self._tasks)

    @property
    def offer(self) -> Offer:
        """What requests may choose.

        Raises:
            ApiError: 503, the server is not ready.
        """
        self.check()
        return self._offer

    def check(self) -> None:
        """Refuse requests while the server is not ready.

        Raises:
            ApiError: 503.
        """
        if self.state != "ready":
            what = {"starting": "is starting", "draining": "is stopping", "failed": "has lost its engine"}[self.state]
            raise ApiError(
                503, f"the server {what}: try again later", type="server_error", code=self.state, headers=RETRY
            )

    def drain(self) -> None:
        """Take no more requests; those that were taken continue."""
        self.state = "draining"

    def cancel(self) -> None:
        """Cut off all requests: their work is cancelled, and they end with an error."""
        self.drain()
        for task in self._tasks:
            task.cancel()

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """The work of a request as a task, which `cancel` cuts off."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def answer(
        self,
        jobs: Sequence[Job],
        client: Client,
        follow: Follow | None = None,
    ) -> AnsweredRequest:
        """The solutions of the jobs of one request, with their events, which `follow` receives as they happen.

        By the first time that it waits, it has its turn, waits for it, or was refused. Cancelling it aborts all of it.

        Raises:
            ApiError: it is refused by a limit, does not fit the model, or failed before there was any text.
        """
        began = time.monotonic()
        outcome: Outcome = "cancelled"
        try:
            async with self._turn(client) as ledger:
                traces = [self.traces.open(client.name) for _ in jobs]
                solved = [
                    partial(self._solve, job, ledger, trace, partial(follow, index) if follow else None)
                    for index, (job, trace) in enumerate(zip(jobs, traces, strict=True))
                ]
                solutions = await _together(solved)
            outcome = _outcome(solutions[0])
        except ApiError as error:
            outcome = "refused" if error.status < 500 else "error"
            raise
        finally:
            self.metrics.end(name_of(type(jobs[0].strategy)), outcome, time.monotonic() - began)
        self.metrics.save(sum(saved(each) or 0 for each in solutions))
        ids = [trace.id if trace.whole else None for trace in traces]
        return AnsweredRequest(list(zip(jobs, solutions, strict=True)), ids)

    async def estimate(self, jobs: Sequence[Job], client: Client) -> dict[str, Any]:
        """What the jobs of a request would cost; no model is run. Raises as `answer`."""
        mean, prices = max(1.0, self.metrics.mean_reply or REPLY_TOKENS), self._offer.prices
        async with self._turn(client):
            try:
                async with asyncio.timeout(ESTIMATE_SECONDS):
                    costs = [
                        await predict(
                            [job.question], job.strategy, partial(MadeUpEngine, self._engine), mean,
                            verifier=job.verifier, each=job.budget, prices=prices, stop=job.stop, seed=job.seed,
                            comparer=self._session.comparer,
                        )
                        for job in jobs
                    ]  # fmt: skip
            except TimeoutError:
                problem = f"this cannot be estimated within {ESTIMATE_SECONDS:.0f} s: ask for less at once"
                raise ApiError(400, problem) from None
        basis = [
            "the plan was followed with made-up replies, none of which came from the model or the cache",
            f"mean: replies of {mean:.0f} tokens on average; longest: every reply as long as limits allow",
            *left_out(jobs[0].verifier),
        ]
        total = PredictedCost.total(costs).document(prices)
        return {"object": "reasoner.estimate", "model": jobs[0].model, **total, "basis": basis}

    async def compare(self, asked: CompareRequest, client: Client) -> dict[str, Any]:
        """Whether two replies give the same answer, and the answers; no model is run. Raises as `answer`."""
        same: bool | None = None
        async with self._turn(client):
            space = asked.answer.space(asked.question)
            answers = [space.read(reply) for reply in asked.replies]
            both = [answer for answer in answers if answer]
            if len(both) == 2:
                [same] = await self._session.comparer.same_many(space, [(both[0], both[1])], ComparisonMeter())
        texts = [bounded(answer.text) if answer else None for answer in answers]
        return {"object": "reasoner.comparison", "same": same, "answers": texts, "kind": space.name}

    @asynccontextmanager
    async def _turn(self, client: Client) -> AsyncIterator[Ledger]:
        """The client's turn, with the ledger of its request; its cost is counted, however it ends.

        Raises:
            ApiError: the server is not ready, the queue is full, or the body of the context failed.
        """
        self.check()
        ledger = self.ledger.child()
        try:
            async with self.turns.turn(client):
                yield ledger
        except ApiError:
            raise
        except Exception as failure:
            error = api_error(failure)
            if error.status == 500:
                raise opaque(failure, self.report) from failure
            if error.status > 500:
                self.report("-", failure)
            raise error from failure
        finally:
            self.metrics.spend(ledger.settled)

    async def _solve(
        self, job: Job, ledger: Ledger, trace: Sink, follow: Callable[[Event | TextPiece], None] | None
    ) -> Solution:
        streams = job.streams(self._engine.model)
        sinks = [trace] if follow is None or streams or job.passes_through else [trace, follow]
        on_text = follow if streams else None
        solution = await job.solve(self._session, *sinks, ledger=ledger, on_text=on_text)
        if solution.error:
            if isinstance(solution.error, EngineDied):
                self.state = "failed"
            if not solution.text:
                raise solution.error
            self.report("-", solution.error)
        return solution

    def _kv_use(self) -> float:
        return self._session.kv_use or 0.0


async def _together(work: Sequence[Callable[[], Coroutine[Any, Any, Solution]]]) -> list[Solution]:
    """The results of all; where any fails, the others are cancelled."""
    if len(work) == 1:
        return [await work[0]()]
    tasks = [asyncio.ensure_future(each()) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await cancel_all(tasks)


def _outcome(solution: Solution) -> Outcome:
    if solution.error:
        return "error"
    if solution.abstained:
        return "not_sure"
    return "budget" if solution.ended_by == "budget" and not solution.text else "answered"
