"""The log-likelihood of texts: the tree of their token ids, and one request for each node where texts continue."""

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from reasoner.budget import Cost
from reasoner.engine import Rendered, SampleRequest
from reasoner.errors import BudgetExhausted, PromptTooLong, UsageError
from reasoner.execution.executor import Bookkeeping, OperationExecutor
from reasoner.strategy import NOT_MEASURED, LogLikelihood, TextLikelihood
from reasoner.trace.events import LikelihoodsMeasured
from reasoner.types import CANCELLED, ONE_TOKEN, TokenIds, Usage

MAX_WATCHED: Final = 128
"""Tokens that one request may watch."""
WAY_OUT = "use vLLM in this program, as by --engine vllm"
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


async def measure_likelihoods(executor: OperationExecutor, op: int, operation: LogLikelihood) -> LikelihoodReply:
    """The log-likelihood of each text; None where it does not fit the context window.

    Raises:
        BudgetExhausted: the ledger refused a part of it, or the deadline passed.
        UsageError: the engine cannot compute it, or the prompt itself fills the context window.
    """
    rendered = await executor.render(operation.prompt)
    digest = operation.prompt.digest
    executor.recorder.head(operation.prompt, digest, rendered)
    if event := executor.recorded(op, LikelihoodsMeasured, digest, operation.texts):
        return LikelihoodReply(event.likelihoods, event.cost.taking(0))
    return await _Measurement(executor, op, operation, rendered).result()


@dataclass(slots=True)
class _Measurement:
    """One operation in progress, and what it cost so far."""

    executor: OperationExecutor
    op: int
    operation: LogLikelihood
    rendered: Rendered
    _cost: Cost = field(default_factory=Cost)

    async def result(self) -> LikelihoodReply:
        texts = [await self._encoded(text) for text in self.operation.texts]
        fitting = [ids for ids in texts if ids is not None]
        likelihoods: tuple[TextLikelihood | None, ...] = ()
        error, began = CANCELLED, time.monotonic()
        try:
            logprobs = await self._ask_all(branch_nodes(fitting))
            likelihoods = tuple(None if ids is None else joint_logprob(ids, logprobs) for ids in texts)
            error = ""
        except BudgetExhausted as refusal:
            error = f"{NOT_MEASURED}: {refusal}"
            raise
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"[:500]
            raise
        finally:
            cost = self._cost.taking(time.monotonic() - began)
            self.executor.recorder.write(
                LikelihoodsMeasured,
                op=self.op,
                prompt=self.operation.prompt.digest,
                texts=self.operation.texts,
                likelihoods=likelihoods,
                error=error,
                cost=cost,
            )
        return LikelihoodReply(likelihoods, cost.taking(0))

    async def _encoded(self, text: str) -> TokenIds | None:
        """The token ids of a text; None where it does not fit after the prompt."""
        engine, prompt = self.executor.engine, self.rendered
        ids = await self.executor.encode(text)
        if not ids or prompt.token_ids is None:
            raise UsageError(
                f"{engine.name} has no token ids for {text[:40]!r} after this prompt, so it cannot say how likely the "
                f"text is: {WAY_OUT}"
            )
        context = engine.model.context
        if context and prompt.tokens >= context:
            raise PromptTooLong(prompt.tokens, context)
        return ids if not context or prompt.tokens + len(ids) <= context else None

    async def _ask_all(self, nodes: Iterable[BranchNode]) -> Logprobs:
        """The log-probabilities at all nodes. The first failure cancels the others, as all are needed."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask(node)) for node in nodes]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        logprobs: Logprobs = {}
        for task in tasks:
            logprobs |= task.result()
        return logprobs

    async def _ask(self, node: BranchNode) -> Logprobs:
        executor, tokens = self.executor, self.rendered.tokens + len(node.path)
        prompt = self.operation.prompt.extended("", node.path)
        rendered = Rendered((self.rendered.token_ids or ()) + node.path, tokens)

        def ask(_: int) -> SampleRequest:
            return SampleRequest(
                executor.question.id, prompt, rendered, ONE_TOKEN, 0, 0, executor.priority, watch=node.watch
            )

        def price(_: int) -> Cost:
            return executor.cost(Usage(tokens, 0, 1), counted_as="request")

        books = Bookkeeping(
            lambda _, cost: self._book(cost), lambda _, __, cost: self._book(cost), lambda: None, counted_as="request"
        )
        completion = await executor.request(ask, prompt.digest, price, books, max_tokens=1)
        if completion.logprobs is None or not completion.logprobs.watched:
            raise UsageError(f"{executor.engine.name} reports no log-probabilities of chosen tokens: {WAY_OUT}")
        row = completion.logprobs.watched[0]
        return {(node.path, token): logprob for token, logprob in zip(node.watch, row, strict=True)}

    def _book(self, cost: Cost) -> None:
        self._cost += cost
