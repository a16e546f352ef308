"""One request, from its jobs to their solutions: its turn, its ledger, the session, what is counted."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final, Literal, Self, TypeVar

from reasoner.budget import Ledger
from reasoner.engine import (
    Engine,
    RenderedPrompt,
    TextPiece,
    TokenIds,
    TokenTextEngine,
    continuation,
)
from reasoner.errors import EngineDied
from reasoner.execution.launching import cancel_all
from reasoner.execution.session import Session
from reasoner.registry import entries, name_of
from reasoner.serving.choose import Job, Offer
from reasoner.serving.config import ServerLimits
from reasoner.serving.errors import ApiError, Report, api_error
from reasoner.serving.metrics import Metrics, Outcome
from reasoner.serving.page import RecentTraces
from reasoner.serving.replies import Result, Tokens, sampled_tokens, saved
from reasoner.solution import Solution
from reasoner.trace.events import Event
from reasoner.types import Prompt, SamplingParams

T = TypeVar("T")
RETRY_SECONDS: Final = 5
"""The value of `Retry-After` for a client that is refused."""
ANYONE: Final = "anyone"
"""The name of the client of a server without keys."""
_name_of = lru_cache(maxsize=256)(name_of)
REFUSES: Final = {
    "starting": "is starting",
    "draining": "is stopping",
    "failed": "has lost its engine",
}
Follow = Callable[[int, Event | TextPiece], None]
"""Receives what happens in a request with the index of its job: its events, or its text if it passes through."""


class Turns:
    """Who is answered next: `concurrent` requests at once, `queue` more wait in the order in which they came."""

    def __init__(self, concurrent: int, queue: int) -> None:
        self.queue = queue
        self.running = 0
        self.queued = 0
        """How many requests wait."""
        self._free = asyncio.Semaphore(concurrent)

    async def __aenter__(self) -> None:
        """Wait for a turn, which the block then holds.

        Raises:
            ApiError: 429 at once, where the queue is full.
        """
        if self._free.locked() and self.queued >= self.queue:
            raise ApiError(
                429,
                f"the queue is full, with {self.queued} waiting: try again in {RETRY_SECONDS} s",
                type="rate_limit_error",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self.queued += 1
        try:
            await self._free.acquire()
        finally:
            self.queued -= 1
        self.running += 1

    async def __aexit__(self, *_failure: object) -> None:
        self.running -= 1
        self._free.release()


class Service:
    """Answers the requests of many clients with one session, within the limits of the server.

        async with Service(engine, offer, limits, report=report) as service:
            results = await service.answer(choose(request, service.offer), client)

    Entering it starts the engine and the verifiers; leaving it cuts off what is in flight and closes them.
    """

    def __init__(
        self, engine: Engine, offer: Offer, limits: ServerLimits, *, report: Report
    ) -> None:
        self._offer = replace(offer, ceiling=limits.max_budget)
        self.state: Literal["starting", "ready", "draining", "failed"] = "starting"
        self.limits = limits
        self.traces = RecentTraces()
        self.report = report
        self.turns = Turns(limits.max_concurrent, limits.queue)
        self.ledger = Ledger(prices=offer.prices)
        self.metrics = Metrics(entries("strategy"))
        self._engine = engine
        self._session = Session(
            engine, verifiers=tuple(offer.verifiers.values()), prices=offer.prices
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stack = AsyncExitStack()
        self.metrics.gauge(
            "reasoner_in_flight",
            "Requests that are answered now.",
            lambda: self.turns.running,
        )
        self.metrics.gauge(
            "reasoner_queued",
            "Requests that wait for their turn.",
            lambda: self.turns.queued,
        )

    async def __aenter__(self) -> Self:
        """Start the engine and the verifiers. Raises as `Session.__aenter__`."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._engine.close)
            await stack.enter_async_context(self._session)
            stack.push_async_callback(cancel_all, self._tasks)
            self._stack = stack.pop_all()
        self._offer = replace(self._offer, model=self._engine.model)
        if self.state == "starting":
            self.state = "ready"
        return self

    async def __aexit__(self, *_failure: object) -> None:
        """Cut off what is in flight, and close what was started."""
        self.drain()
        await self._stack.aclose()

    @property
    def offer(self) -> Offer:
        """What requests may choose.

        Raises:
            ApiError: 503, the server is not ready.
        """
        if self.state != "ready":
            problem = f"the server {REFUSES[self.state]}: try again later"
            raise ApiError(
                503,
                problem,
                type="server_error",
                code=self.state,
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        return self._offer

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

    async def prompt_tokens(self, job: Job) -> int:
        """The tokens of a job's prompt; an upper bound where the engine does not know them."""
        return (await self._engine.render(job.question.prompt)).tokens

    async def tokenized(self, job: Job) -> RenderedPrompt:
        """The prompt of a job as the model reads it. Raises ApiError: 404, the engine takes no token ids."""
        self._check_ids(404)
        params: SamplingParams = job.strategy.params  # type: ignore[attr-defined] # it passes through
        return await self._engine.render(job.question.prompt.at_level(params.thinking))

    async def encoded(self, text: str, *, whole: bool) -> TokenIds:
        """The ids of a text, as a `whole` prompt or after other text. Raises ApiError: as `tokenized`."""
        self._check_ids(404)
        ids = (
            (await self._engine.render(Prompt(raw=text))).token_ids
            if whole and text
            else await self._engine.encode(text)
        )
        return ids or ()

    def _check_ids(self, status: int) -> None:
        if continuation(self._engine) != "exact":
            problem = f"the engine {self._engine.name} takes no token ids"
            raise ApiError(status, problem, code="unsupported_parameter")

    async def answer(
        self, jobs: Sequence[Job], client: str, follow: Follow | None = None
    ) -> list[Result]:
        """The jobs of one request with their solutions and events, which `follow` receives as they happen.

        Before it first waits, it has its turn, is in the queue, or was refused. Cancelling it aborts all of it.

        Raises:
            ApiError: it is refused by a limit, does not fit the model, or failed before there was any text.
        """
        if jobs[0].logprobs and not isinstance(self._engine, TokenTextEngine):
            problem = f"logprobs is not supported: the engine {self._engine.name} does not know the texts of its tokens"
            raise ApiError(400, problem, code="unsupported_parameter", param="logprobs")
        if jobs[0].by_ids:
            self._check_ids(400)
        started, ledger = time.monotonic(), self.ledger.child()
        outcome: Outcome = "cancelled"
        results: list[Result] = []
        try:
            async with self.turns:
                solved = [
                    self._solve(
                        job, ledger, client, partial(follow, index) if follow else None
                    )
                    for index, job in enumerate(jobs)
                ]
                results = await _together(solved)
            outcome = _outcome(results[0].solution)
        except Exception as failure:
            error = api_error(failure, self.report)
            outcome = "refused" if error.status < 500 else "error"
            raise error from failure
        finally:
            self.metrics.spend(ledger.settled)
            spared = sum(saved(result.solution) or 0 for result in results)
            self.metrics.end(
                _name_of(type(jobs[0].strategy)),
                outcome,
                time.monotonic() - started,
                saved=spared,
            )
        return results

    async def _solve(
        self,
        job: Job,
        ledger: Ledger,
        client: str,
        follow: Callable[[Event | TextPiece], None] | None,
    ) -> Result:
        on_text = follow if job.streams else None
        sink = None if job.streams or job.passes_through else follow
        solution = await job.solve(self._session, sink, ledger=ledger, on_text=on_text)
        if solution.error:
            if isinstance(solution.error, EngineDied):
                self.state = "failed"
            if not solution.text:
                raise solution.error
            self.report("-", solution.error)
        prompt = job.question.prompt
        texts = [
            part for turn in prompt.messages for part in (turn.content, turn.extra)
        ]
        trace = self.traces.keep(
            client, solution.events, prompt=sum(map(len, texts), len(prompt.tools))
        )
        return Result(job, solution, trace, await self._tokens(job, solution))

    async def _tokens(self, job: Job, solution: Solution) -> Tokens:
        """The tokens of a reply with their log-probabilities, where its job asks for them."""
        if not (job.logprobs and isinstance(self._engine, TokenTextEngine)):
            return ()
        ids, logprobs = sampled_tokens(solution)
        return tuple(zip(await self._engine.token_texts(ids), logprobs, strict=True))


async def _together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all; where any fails, the others are cancelled."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await cancel_all(tasks)


def _outcome(solution: Solution) -> Outcome:
    if solution.error:
        return "error"
    if solution.abstained:
        return "not_sure"
    return (
        "budget" if solution.ended_by == "budget" and not solution.text else "answered"
    )
