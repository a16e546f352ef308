"""How likely texts are to come next: the tree of their token ids, and a request for each place where it goes on."""

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, EngineError, PromptTooLong, UsageError
from reasoner.past import Remembering, Weighing
from reasoner.plan import NOT_WEIGHED, Weigh, Weight
from reasoner.protocols import Engine, Rendered, SampleRequest
from reasoner.trace import Weighed
from reasoner.types import CANCELLED, Completion, SamplingParams, TokenIds, Usage
from reasoner.work import Books, Worker

MOST: Final = 128
"""Tokens that one request may watch."""
ONE_TOKEN = SamplingParams(temperature=0.0, max_tokens=1)
WAY_OUT = "use vLLM in this program, as by --engine vllm"
Told = dict[tuple[TokenIds, int], float]
"""What was told of each token: its log-probability after the ids that lead to it."""


class Branching(NamedTuple):
    """A place in the tree: the ids that lead there, and those that texts go on with."""

    path: TokenIds
    watch: TokenIds


def branchings(spelled: Iterable[TokenIds], *, most: int = MOST) -> tuple[Branching, ...]:
    """All places where a text goes on, each once; one where more than `most` tokens follow is several."""
    following: dict[TokenIds, dict[int, None]] = {}
    for ids in spelled:
        for place, token in enumerate(ids):
            following.setdefault(ids[:place], {})[token] = None
    return tuple(
        Branching(path, watch[first : first + most])
        for path, watch in ((path, tuple(tokens)) for path, tokens in following.items())
        for first in range(0, len(watch), most)
    )


def weight(ids: TokenIds, told: Mapping[tuple[TokenIds, int], float]) -> Weight:
    """The chain rule: what was told of each token after those before it, added up."""
    return Weight(math.fsum(told[ids[:place], token] for place, token in enumerate(ids)), len(ids))


async def weighed(worker: Worker, op: int, asked: Weigh) -> Weighing:
    """How likely each text is; None where it does not fit the context window.

    Raises:
        BudgetExhausted: the ledger refused a part of it, or the deadline passed.
        UsageError: the engine cannot tell, or the prompt itself fills the context window.
    """
    rendered = await worker.render(asked.prompt)
    digest = asked.prompt.digest
    worker.recorder.head(asked.prompt, digest, rendered)
    if known := worker.past.weighing(op, (digest, asked.texts)):
        return known
    if isinstance(worker.engine, Remembering):
        return await _again(worker, op, asked, worker.engine)
    return await _Scale(worker, op, asked, rendered).weights()


async def _again(worker: Worker, op: int, asked: Weigh, engine: Remembering) -> Weighing:
    """A recorded weighing, booked as it was; raises what it raised."""
    event: Weighed = await engine.weighed(worker.question.id, asked.prompt.digest, asked.texts)
    reservation, _ = await worker.admission.admit(lambda _: event.cost, most=1)
    worker.admission.settle(reservation, event.cost)
    worker.recorder.weighed(op, asked, event.weights, event.error, event.cost)
    if event.error.startswith(NOT_WEIGHED):
        raise BudgetExhausted("tokens", needed=0, free=0, limit=0)
    if event.error:
        raise EngineError(event.error)
    return Weighing(event.weights, event.cost.taking(0))


@dataclass(slots=True)
class _Scale:
    """One weighing under way, and what it cost so far."""

    worker: Worker
    op: int
    asked: Weigh
    rendered: Rendered
    _cost: Cost = field(default_factory=Cost)

    async def weights(self) -> Weighing:
        spelled = [await self._spelled(text) for text in self.asked.texts]
        fitting = [ids for ids in spelled if ids is not None]
        weights: tuple[Weight | None, ...] = ()
        error, began = CANCELLED, time.monotonic()
        try:
            told = await self._ask_all(branchings(fitting))
            weights = tuple(None if ids is None else weight(ids, told) for ids in spelled)
            error = ""
        except BudgetExhausted as refusal:
            error = f"{NOT_WEIGHED}: {refusal}"
            raise
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"[:500]
            raise
        finally:
            cost = self._cost.taking(time.monotonic() - began)
            self.worker.recorder.weighed(self.op, self.asked, weights, error, cost)
        return Weighing(weights, cost.taking(0))

    async def _spelled(self, text: str) -> TokenIds | None:
        """The ids of a text; None where it does not fit after the prompt."""
        engine, before = self.worker.engine, self.rendered
        ids = await self.worker.encode(text)
        if not ids or before.token_ids is None:
            raise UsageError(
                f"{engine.name} has no token ids for {text[:40]!r} after this prompt, so it cannot say how likely the "
                f"text is: {WAY_OUT}"
            )
        context = engine.model.context
        if context and before.tokens >= context:
            raise PromptTooLong(before.tokens, context)
        return ids if not context or before.tokens + len(ids) <= context else None

    async def _ask_all(self, places: Iterable[Branching]) -> Told:
        """What is told at all places at once. The first failure gives up the rest: a part of it is of no use."""
        try:
            async with asyncio.TaskGroup() as group:
                asking = [group.create_task(self._ask(place)) for place in places]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        told: Told = {}
        for task in asking:
            told |= task.result()
        return told

    async def _ask(self, place: Branching) -> Told:
        worker, tokens = self.worker, self.rendered.tokens + len(place.path)
        prompt = self.asked.prompt.extended("", place.path)
        rendered = Rendered((self.rendered.token_ids or ()) + place.path, tokens)

        def ask(_: int) -> SampleRequest:
            return SampleRequest(
                worker.question.id, prompt, rendered, ONE_TOKEN, 0, 0, worker.priority, watch=place.watch
            )

        def price(_: int) -> Cost:
            return worker.cost(Usage(tokens, 0, 1), drawn=False)

        books = Books(lambda _, cost: self._book(cost), lambda _, __, cost: self._book(cost), lambda: None, drawn=False)
        completion = await worker.request(ask, prompt.digest, price, books, most=1)
        return dict(zip(((place.path, token) for token in place.watch), _row(worker.engine, completion), strict=True))

    def _book(self, cost: Cost) -> None:
        self._cost += cost


def _row(engine: Engine, completion: Completion) -> tuple[float, ...]:
    if completion.logprobs is None or not completion.logprobs.watched:
        raise UsageError(f"{engine.name} tells no log-probabilities of chosen tokens: {WAY_OUT}")
    return completion.logprobs.watched[0]
