"""Ratings of candidates by the run's verifier, and log-likelihoods of texts by its engine."""

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reasoner.budget import NO_COST, Cost
from reasoner.engine import RenderedPrompt
from reasoner.errors import (
    BudgetExhausted,
    PromptTooLong,
    TraceError,
    UsageError,
    VerifierError,
)
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.work import Inquiry, Job, failed, perform
from reasoner.strategy import NOT_MEASURED, LogLikelihood, TextLikelihood
from reasoner.system.foreign import is_cancellation
from reasoner.trace.events import LikelihoodsMeasured, Scored
from reasoner.trace.recorder import Why
from reasoner.types import NOT_RATED, ONE_TOKEN, Completion, Prompt, Rating, TokenIds
from reasoner.verifier import CostMeter, Verifier


async def rate(
    executor: OperationExecutor,
    op: int,
    verifier: Verifier,
    candidate: Completion,
    *,
    at: int,
    reserve: int = 0,
) -> Rating:
    """Rate a candidate from the virtual time `at` on.

    What the verifier raises becomes an error.

    Raises:
        BudgetExhausted: the ledger refused it, or the deadline passed.
    """
    name = candidate.prompt.digest, candidate.index
    values: dict[str, Any] = {
        "prompt": name[0],
        "index": name[1],
        "value": None,
        "parts": (),
        "steps": (),
    }
    inquiry = Inquiry(executor, op, Scored, name, "verdict", NOT_RATED, values, at)

    async def ask() -> None:
        rating = await _RatingJob(
            1, executor, at, inquiry, verifier, candidate, reserve
        ).rating()
        values.update(
            {field: getattr(rating, field) for field in ("value", "parts", "steps")}
        )
        inquiry.error = rating.error

    return (inquiry.recorded() or await inquiry.outcome(ask)).rating


@dataclass(slots=True, eq=False)
class _RatingJob(Job[Rating]):
    """One rating by a verifier, with `reserve` tokens reserved beside it.

    One that does not complete is booked at its meter, or else at its bound.
    """

    verifier: Verifier
    candidate: Completion
    reserve: int
    bound: Cost = NO_COST
    worst: Cost = NO_COST
    meter: CostMeter = field(default_factory=CostMeter)

    async def rating(self) -> Rating:
        """The rating. Raises as `perform`."""
        self.worst = self.bound = bound = await self.bound_now()
        if self.reserve:
            grown = await self.executor.render(
                self.candidate.prompt.then(self.candidate)
            )
            self.worst += self.executor.reserved_cost(
                grown.tokens, self.reserve, at=bound.sequential_tokens
            )
        try:
            return await perform(self)
        except BudgetExhausted as refusal:
            # While it waited, what it needs may have been made for another candidate.
            if (
                refusal.unit == "seconds"
                or (await self.bound_now()).tokens >= bound.tokens
            ):
                raise
            return await self.rating()

    async def bound_now(self) -> Cost:
        """The most that it costs now."""
        question, engine, verifier = (
            self.executor.question,
            self.executor.engine,
            self.verifier,
        )
        bound = await verifier.bound(question, self.candidate, engine)
        return _checked(bound, self.at)

    def price(self, _tokens: int) -> Cost:
        """The bound, with what is reserved beside it."""
        return self.worst

    async def run(self, _granted: int) -> Rating:
        """The verifier's rating; what it raises becomes an error."""
        question, engine, verifier, meter = (
            self.executor.question,
            self.executor.engine,
            self.verifier,
            self.meter,
        )
        try:
            rating = await verifier.score(question, self.candidate, engine, meter)
            return replace(rating, cost=_checked(rating.cost, self.at))
        except BaseException as failure:
            if isinstance(failure, TraceError) or is_cancellation(failure):
                raise
            return Rating(None, self.spent("lost"), error=failed(failure))

    def cost(self, rating: Rating) -> Cost:
        """What the verifier says."""
        return rating.cost

    def spent(self, why: Why) -> Cost:
        """What the meter says. Nobody waited for the end of one that was cancelled."""
        metered = self.meter.cost
        spent = (
            self.bound
            if metered is None or metered.fault()
            else _checked(metered, self.at)
        )
        return spent if why == "lost" else spent.until(0)


def _checked(cost: Cost, at: int) -> Cost:
    """The cost that a verifier reports, of a rating that starts at `at`."""
    if fault := cost.fault():
        raise VerifierError(f"the verifier counted wrongly: {fault}")
    return cost.until(at + cost.sequential_tokens)


INSTEAD: Final = "use vLLM in this program, as by --engine vllm"
Logprobs = dict[tuple[TokenIds, int], float]
"""The log-probability of each token after the token ids that lead to it."""


BranchNode = tuple[TokenIds, TokenIds]
"""A node of the tree of texts: the token ids that lead to it, and those that texts continue with."""


def branch_nodes(
    texts: Iterable[TokenIds],
    *,
    # Tokens that one request may watch
    max_watched: int = 128,
) -> tuple[BranchNode, ...]:
    """All nodes where a text continues, each once; a node with more than `max_watched` next tokens is split."""
    following: dict[TokenIds, dict[int, None]] = {}
    for ids in texts:
        for position, token in enumerate(ids):
            following.setdefault(ids[:position], {})[token] = None
    return tuple(
        (path, watch[first : first + max_watched])
        for path, watch in ((path, tuple(tokens)) for path, tokens in following.items())
        for first in range(0, len(watch), max_watched)
    )


def joint_logprob(
    ids: TokenIds, logprobs: Mapping[tuple[TokenIds, int], float]
) -> TextLikelihood:
    """The chain rule: the sum of the log-probability of each token after those before it."""
    return TextLikelihood(
        math.fsum(
            logprobs[ids[:position], token] for position, token in enumerate(ids)
        ),
        len(ids),
    )


async def measure_likelihoods(
    executor: OperationExecutor, op: int, operation: LogLikelihood, *, at: int
) -> tuple[tuple[TextLikelihood | None, ...], Cost]:
    """The log-likelihood of each text, None where it does not fit the context window, and what computing all cost.

    It takes no virtual time.

    Raises:
        BudgetExhausted: the ledger refused a part of it, or the deadline passed.
        UsageError: the engine cannot compute it, or the prompt itself fills the context window.
    """
    rendered, digest = await executor.render(operation.prompt), operation.prompt.digest
    executor.recorder.head(operation.prompt, digest, rendered)
    values: dict[str, Any] = {
        "prompt": digest,
        "texts": operation.texts,
        "likelihoods": (),
    }
    name = digest, operation.texts
    inquiry = Inquiry(
        executor, op, LikelihoodsMeasured, name, "likelihood", NOT_MEASURED, values, at
    )
    event = inquiry.recorded()
    if event is None:
        encoded = [await _encoded(executor, rendered, text) for text in operation.texts]

        async def ask() -> None:
            nodes = branch_nodes(ids for ids in encoded if ids is not None)
            logprobs = await _ask_all(inquiry, operation.prompt, rendered, nodes)
            values["likelihoods"] = tuple(
                None if ids is None else joint_logprob(ids, logprobs) for ids in encoded
            )

        event = await inquiry.outcome(ask)
    return event.likelihoods, event.cost.taking(0)


async def _encoded(
    executor: OperationExecutor, prompt: RenderedPrompt, text: str
) -> TokenIds | None:
    """The token ids of a text; None where it does not fit after the prompt."""
    ids = await executor.encode(text)
    if not ids or prompt.token_ids is None:
        raise UsageError(
            f"{executor.engine.name} has no token ids for {text[:40]!r} after this prompt, so it cannot say how likely "
            f"the text is: {INSTEAD}"
        )
    context = executor.model.context
    if context and prompt.tokens >= context:
        raise PromptTooLong(prompt.tokens, context)
    return ids if not context or prompt.tokens + len(ids) <= context else None


async def _ask_all(
    inquiry: Inquiry[Any],
    prompt: Prompt,
    head: RenderedPrompt,
    nodes: Iterable[BranchNode],
) -> Logprobs:
    """The log-probabilities at all nodes. The first failure cancels the others, as all are needed."""

    async def ask(path: TokenIds, watch: TokenIds) -> Logprobs:
        rendered = RenderedPrompt(
            (head.token_ids or ()) + path, head.tokens + len(path)
        )
        completion = await inquiry.request(
            prompt.extended("", path), rendered, ONE_TOKEN, watch=watch
        )
        if completion.logprobs is None or not completion.logprobs.watched:
            raise UsageError(
                f"{inquiry.executor.engine.name} reports no log-probabilities of chosen tokens: {INSTEAD}"
            )
        rows = completion.logprobs.watched[0]
        return {(path, token): row for token, row in zip(watch, rows, strict=True)}

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(*node)) for node in nodes]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return {
        token: logprob for task in tasks for token, logprob in task.result().items()
    }
