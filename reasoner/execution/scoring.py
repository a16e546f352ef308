"""Ratings of candidates by the run's verifier, and log-likelihoods of texts by its engine."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

from reasoner.budget import Cost, Reservation
from reasoner.engine import Rendered
from reasoner.errors import (
    BudgetExhausted,
    LedgerViolation,
    PromptTooLong,
    ReasonerError,
    TraceError,
    UsageError,
    VerifierError,
)
from reasoner.execution.executor import Inquiry, OperationExecutor
from reasoner.registry import spec_of
from reasoner.strategy import NOT_MEASURED, LogLikelihood, TextLikelihood
from reasoner.system.foreign import described, is_cancellation, where
from reasoner.trace.events import LikelihoodsMeasured, PairCompared, Scored
from reasoner.types import CANCELLED, NOT_RATED, ONE_TOKEN, Completion, Prompt, Rating, TokenIds
from reasoner.verifier import CostMeter, PairVerifier, Verifier


async def rate(
    executor: OperationExecutor,
    op: int,
    verifier: Verifier,
    candidate: Completion,
    *,
    at: int,
    other: Completion | None = None,
    reserve: int = 0,
) -> Rating:
    """Rate a candidate, or how much better it is than an `other`, from the virtual time `at` on.

    What the verifier raises becomes an error.

    Raises:
        BudgetExhausted: the ledger refused it, or the deadline passed.
        UsageError: the verifier compares no pairs.
    """
    question, engine, name = executor.question, executor.engine, (candidate.prompt.digest, candidate.index)
    bound_of: Callable[[], Awaitable[Cost]] = partial(verifier.bound, question, candidate, engine)
    run: Callable[[CostMeter], Awaitable[Rating]] = partial(verifier.score, question, candidate, engine)
    event: Scored | PairCompared | None
    if other is None:
        event = executor.recorded(op, Scored, *name)
    elif isinstance(verifier, PairVerifier):
        bound_of = partial(verifier.bound_pair, question, candidate, other, engine)
        run = partial(verifier.compare_pair, question, candidate, other, engine)
        event = executor.recorded(op, PairCompared, *name, (other.prompt.digest, other.index))
    else:
        raise UsageError(f"the verifier {spec_of(verifier)} compares no pairs: use one that does, such as judge")
    if event:
        return event.rating

    record = partial(executor.recorder.scored, op, candidate, other)
    try:
        bound, reservation = await _reserved(executor, candidate, bound_of, at=at, reserve=reserve)
    except BudgetExhausted as refusal:
        record(Rating(None, Cost(), error=f"{NOT_RATED}: {refusal}"), Cost(), refusal)
        raise
    except (LedgerViolation, TraceError):
        raise
    except BaseException as failure:
        if is_cancellation(failure):
            raise
        rating = Rating(None, Cost(), error=_failure(failure))
        record(rating, Cost())
        return rating
    return await _rate(executor, run, bound, reservation, record, at)


async def _reserved(
    executor: OperationExecutor,
    candidate: Completion,
    bound_of: Callable[[], Awaitable[Cost]],
    *,
    at: int,
    reserve: int,
) -> tuple[Cost, Reservation]:
    """The bound of a rating, and its reservation with `reserve` tokens beside it.

    Raises:
        BudgetExhausted: the ledger refused it.
    """
    worst = bound = _checked(await bound_of(), at)
    if reserve:
        grown = await executor.render(candidate.prompt.then(candidate))
        worst += executor.reserved_cost(grown.tokens, reserve, at=bound.sequential_tokens)
    try:
        reservation, _ = await executor.admission.admit(lambda _: worst, max_tokens=1)
    except BudgetExhausted:
        # While it waited, what it needs may have been made for another candidate.
        if _checked(await bound_of(), at).tokens >= bound.tokens:
            raise
        return await _reserved(executor, candidate, bound_of, at=at, reserve=reserve)
    return bound, reservation


async def _rate(
    executor: OperationExecutor,
    run: Callable[[CostMeter], Awaitable[Rating]],
    bound: Cost,
    reservation: Reservation,
    record: Callable[[Rating, Cost, BudgetExhausted | None], None],
    at: int,
) -> Rating:
    """Run, book and record one rating; one that does not complete is booked at its meter, or else at its bound."""
    began = time.monotonic()
    deadline = executor.admission.deadline()
    cost_meter, cost, refusal = CostMeter(), bound, None
    rating = Rating(None, cost, error=CANCELLED)
    try:
        async with deadline:
            rating = await run(cost_meter)
        rating = replace(rating, cost=_checked(rating.cost, at))
        cost = rating.cost.taking(time.monotonic() - began)
    except TraceError:
        raise
    except BaseException as failure:
        metered, cancelled = cost_meter.cost, is_cancellation(failure)
        spent = bound if metered is None or metered.fault() else metered.until(at + metered.sequential_tokens)
        cost = spent.taking(time.monotonic() - began)
        if cancelled or deadline.expired():
            cost = cost.until(0)
        rating = Rating(None, cost, error=CANCELLED)
        if cancelled:
            raise
        if deadline.expired():
            refusal = executor.admission.too_late()
            rating = Rating(None, cost, error=f"{NOT_RATED}: {refusal}")
            raise refusal from None
        rating = Rating(None, cost, error=_failure(failure))
    finally:
        try:
            executor.admission.settle(reservation, cost)
        finally:
            record(rating, cost, refusal)
    return rating


def _checked(cost: Cost, at: int) -> Cost:
    """The cost that a verifier reports, of a rating that starts at `at`."""
    if fault := cost.fault():
        raise VerifierError(f"the verifier counted wrongly: {fault}")
    return cost.until(at + cost.sequential_tokens)


def _failure(failure: BaseException) -> str:
    """The failure of a verifier in one line, with its location in foreign code."""
    return described(failure) + ("" if isinstance(failure, ReasonerError) else where(failure))


MAX_WATCHED: Final = 128
"""Tokens that one request may watch."""
INSTEAD: Final = "use vLLM in this program, as by --engine vllm"
Logprobs = dict[tuple[TokenIds, int], float]
"""The log-probability of each token after the token ids that lead to it."""


class BranchNode(NamedTuple):
    """A node of the tree: the token ids that lead to it, and those that texts continue with."""

    path: TokenIds
    watch: TokenIds


class LikelihoodReply(NamedTuple):
    """The log-likelihood of each text, None where it did not fit, and what computing it cost."""

    likelihoods: tuple[TextLikelihood | None, ...]
    cost: Cost


def branch_nodes(texts: Iterable[TokenIds], *, max_watched: int = MAX_WATCHED) -> tuple[BranchNode, ...]:
    """All nodes where a text continues, each once; a node with more than `max_watched` next tokens is split."""
    following: dict[TokenIds, dict[int, None]] = {}
    for ids in texts:
        for position, token in enumerate(ids):
            following.setdefault(ids[:position], {})[token] = None
    return tuple(
        BranchNode(path, watch[first : first + max_watched])
        for path, watch in ((path, tuple(tokens)) for path, tokens in following.items())
        for first in range(0, len(watch), max_watched)
    )


def joint_logprob(ids: TokenIds, logprobs: Mapping[tuple[TokenIds, int], float]) -> TextLikelihood:
    """The chain rule: the sum of the log-probability of each token after those before it."""
    return TextLikelihood(math.fsum(logprobs[ids[:position], token] for position, token in enumerate(ids)), len(ids))


async def measure_likelihoods(
    executor: OperationExecutor, op: int, operation: LogLikelihood, *, at: int
) -> LikelihoodReply:
    """The log-likelihood of each text; None where it does not fit the context window. It takes no virtual time.

    Raises:
        BudgetExhausted: the ledger refused a part of it, or the deadline passed.
        UsageError: the engine cannot compute it, or the prompt itself fills the context window.
    """
    rendered, digest = await executor.render(operation.prompt), operation.prompt.digest
    executor.recorder.head(operation.prompt, digest, rendered)
    values: dict[str, Any] = {"prompt": digest, "texts": operation.texts, "likelihoods": ()}
    name = digest, operation.texts
    inquiry = Inquiry(executor, op, LikelihoodsMeasured, name, "likelihood", NOT_MEASURED, values, at)
    event = inquiry.recorded()
    if event is None:
        encoded = [await _encoded(executor, rendered, text) for text in operation.texts]

        async def ask() -> None:
            nodes = branch_nodes(ids for ids in encoded if ids is not None)
            logprobs = await _ask_all(inquiry, operation.prompt, rendered, nodes)
            values["likelihoods"] = tuple(None if ids is None else joint_logprob(ids, logprobs) for ids in encoded)

        event = await inquiry.outcome(ask)
    return LikelihoodReply(event.likelihoods, event.cost.taking(0))


async def _encoded(executor: OperationExecutor, prompt: Rendered, text: str) -> TokenIds | None:
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


async def _ask_all(inquiry: Inquiry[Any], prompt: Prompt, head: Rendered, nodes: Iterable[BranchNode]) -> Logprobs:
    """The log-probabilities at all nodes. The first failure cancels the others, as all are needed."""

    async def ask(node: BranchNode) -> Logprobs:
        rendered = Rendered((head.token_ids or ()) + node.path, head.tokens + len(node.path))
        completion = await inquiry.request(prompt.extended("", node.path), rendered, ONE_TOKEN, watch=node.watch)
        if completion.logprobs is None or not completion.logprobs.watched:
            raise UsageError(f"{inquiry.executor.engine.name} reports no log-probabilities of chosen tokens: {INSTEAD}")
        return {(node.path, token): row for token, row in zip(node.watch, completion.logprobs.watched[0], strict=True)}

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(node)) for node in nodes]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return {token: logprob for task in tasks for token, logprob in task.result().items()}
