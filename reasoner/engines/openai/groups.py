"""Sequences of one prompt drawn by one request: collecting them, and dividing the usage among them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from reasoner.engine import SampleRequest
from reasoner.engines import ReplyParts
from reasoner.engines.openai.values import Reported
from reasoner.engines.openai.wire import Draft
from reasoner.errors import RequestLost
from reasoner.types import Completion, Prompt, SamplingParams, Usage

MAX_PER_REQUEST: Final = 128
"""Sequences per request: the largest `n` of OpenAI's own API."""
TURNS: Final = 2
"""Iterations of the event loop for which a group stays open: sequences of one operation arrive in the same one."""
SHARED = "the server reports one total for several sequences: it is divided by their lengths"
Result = Completion | RequestLost | None
"""The result of one sequence; None where it must be requested again."""
Draw = Callable[[list[SampleRequest]], Awaitable[list[Result]]]
_Key = tuple[asyncio.AbstractEventLoop, str, Prompt, SamplingParams]


@dataclass(slots=True, eq=False)
class _SharedRequest:
    requests: list[SampleRequest] = field(default_factory=list)
    task: "asyncio.Task[dict[int, Result]] | None" = None
    waiting: int = 0


@dataclass(slots=True, eq=False)
class SharedRequests:
    """Joins requests of the same question, prompt and parameters that arrive together, and draws each group once."""

    _open: dict[_Key, _SharedRequest] = field(default_factory=dict)

    async def join(self, request: SampleRequest, draw: Draw) -> Completion | None:
        """The sequence, drawn by `draw` with those that arrive with it; None where it must be requested again.

        When the last waiting task is cancelled, so is the request, and its connection closes.

        Raises:
            EngineUnavailable: the server refuses the request.
            RequestLost: it failed part-way.
        """
        key = (asyncio.get_running_loop(), request.question_id, request.prompt, request.params)
        group = self._open.get(key)
        if group is None:
            group = self._open[key] = _SharedRequest()
            group.task = asyncio.ensure_future(self._run(key, group, draw))
        assert group.task is not None
        group.requests.append(request)
        if len(group.requests) == MAX_PER_REQUEST:
            del self._open[key]
        group.waiting += 1
        try:
            results = await asyncio.shield(group.task)
        except asyncio.CancelledError:
            await self._leave(key, group, request)
            raise
        result = results[id(request)]
        if isinstance(result, RequestLost):
            raise result
        return result

    async def _run(self, key: _Key, group: _SharedRequest, draw: Draw) -> dict[int, Result]:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if self._open.get(key) is group:
            del self._open[key]
        requests = list(group.requests)
        return dict(zip(map(id, requests), await draw(requests), strict=True))

    async def _leave(self, key: _Key, group: _SharedRequest, request: SampleRequest) -> None:
        group.waiting -= 1
        if self._open.get(key) is group:
            group.requests = [other for other in group.requests if other is not request]
        if group.waiting == 0 and group.task is not None:
            if self._open.get(key) is group:
                del self._open[key]
            group.task.cancel()
            await asyncio.wait([group.task])
            if not group.task.cancelled():
                group.task.exception()


def shares(reported: Reported | None, drafts: Sequence[Draft]) -> tuple[list[Usage], bool]:
    """The usage of each sequence of one request, and whether each part of the generated tokens is exact.

    They add up to the server's counts; the first has the prompt, which was counted once. Where a server reports fewer
    tokens than it sent, those sent count; where it reports none, the bytes of the text are the bound.
    """
    reported = reported or Reported()
    request = drafts[0].request
    max_tokens = request.params.limit
    exact = [max(len(draft.token_ids), len(draft.sampled)) for draft in drafts]
    min_tokens = [min(max(tokens, draft.received), max_tokens) for tokens, draft in zip(exact, drafts, strict=True)]
    if reported.generated is None:
        generated = [tokens or min(draft.size + 1, max_tokens) for tokens, draft in zip(exact, drafts, strict=True)]
    else:
        weights = [draft.size + 1 for draft in drafts]
        more = divided(
            max(reported.generated - sum(min_tokens), 0), weights, [max_tokens - tokens for tokens in min_tokens]
        )
        generated = [tokens + extra for tokens, extra in zip(min_tokens, more, strict=True)]
    prompt = reported.prompt or request.rendered.tokens
    first = Usage(prompt, min(reported.cached or 0, prompt), generated[0])
    exactly = len(drafts) == 1 or (all(exact) and sum(exact) == reported.generated)
    return [first, *(Usage(0, 0, tokens) for tokens in generated[1:])], exactly


def with_thinking(
    reported: Reported | None, drafts: Sequence[Draft], parts: Sequence[ReplyParts], usages: Sequence[Usage]
) -> tuple[list[Usage], bool]:
    """The usage of each sequence with its thinking tokens, and whether the server counted those of any thinking.

    They come from token ids, else from the server's count, divided by length among several sequences. Without both it
    is a lower bound: a token for each chunk of thinking that was sent, and all but one for each byte of the final part.
    """
    counted = True
    tokens = []
    for draft, part, usage in zip(drafts, parts, usages, strict=True):
        generated = usage.generated_tokens
        if part.tokens is not None:
            tokens.append(min(part.tokens, generated))
        elif part.unclosed:
            tokens.append(generated)
        elif not part.thinking:
            tokens.append(0)
        else:
            counted = False
            least = generated - len(part.final.encode("utf-8", "surrogatepass")) - 1
            tokens.append(min(max(least, len(draft.thinking), 1), generated))
    total = reported.thinking if reported else None
    if total is not None and any(part.tokens is None for part in parts):
        counted = True
        weights = [1 + len(part.thinking.encode("utf-8", "surrogatepass")) for part in parts]
        most = [usage.generated_tokens for usage in usages]
        tokens = divided(min(total, sum(most)), weights, most)
    return [replace(usage, thinking_tokens=part) for usage, part in zip(usages, tokens, strict=True)], counted


def divided(total: int, weights: Sequence[int], max_tokens: Sequence[int]) -> list[int]:
    """A total in whole parts, proportional to positive weights; a part exceeds its maximum only if all are full."""
    parts, left, weight = list[int](), total, sum(weights)
    for own, limit in zip(weights, max_tokens, strict=True):
        parts.append(min(-(-left * own // weight), limit))
        left, weight = left - parts[-1], weight - own
    for index, limit in enumerate(max_tokens):
        more = min(left, limit - parts[index])
        parts[index], left = parts[index] + more, left - more
    parts[0] += left
    return parts
