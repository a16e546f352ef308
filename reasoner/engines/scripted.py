"""An engine with scripted replies: for tests, documentation, and work on strategies without a model."""

import asyncio
import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

from reasoner.engine import Rendered, SampleRequest
from reasoner.engines import FreeEngine
from reasoner.models.info import ModelInfo
from reasoner.types import Completion, FinishReason, Logprobs, Prompt, TokenIds, Usage

_WORD = re.compile(r"\s*\S+\s*$|\s*\S+|\s+")
END = -1
"""The token id that ends a reply."""
MODEL = ModelInfo("scripted", context=1 << 20, parameters=1000, layers=2, heads=2, kv_heads=1, head_dim=8)


async def _at_once(_: SampleRequest) -> None:
    await asyncio.sleep(0)


@dataclass(slots=True)
class ScriptedEngine(FreeEngine):
    """Replies with `script(request)`, one token per word, cut at `max_tokens` or the first stop string.

    `certainty` is the probability of every token of a reply, or of each in turn. `pause` is awaited before each reply,
    so that a test can decide what finishes first. `block_size` above 0 simulates a prefix cache of whole blocks.
    """

    script: Callable[[SampleRequest], str]
    certainty: Callable[[SampleRequest], float | Sequence[float]] = lambda _: 1.0
    pause: Callable[[SampleRequest], Awaitable[None]] = _at_once
    block_size: int = 0
    model: ModelInfo = MODEL
    capacity: int | None = None
    name: str = field(default="scripted", init=False)
    notes: tuple[str, ...] = field(default=(), init=False)
    usage: list[Usage] = field(default_factory=list, init=False)
    _ids: dict[str, int] = field(default_factory=dict, init=False)
    _words: dict[int, str] = field(default_factory=dict, init=False)
    _blocks: set[TokenIds] = field(default_factory=set, init=False)

    async def render(self, prompt: Prompt) -> Rendered:
        """The words of the prompt, then what was generated."""
        head = prompt.raw or " ".join(f"{message.role} {message.content}" for message in prompt.messages)
        ids = self._encode(head) + prompt.token_ids
        return Rendered(ids, len(ids))

    def _encode(self, text: str) -> TokenIds:
        ids = []
        for word in _WORD.findall(text):
            if word not in self._ids:
                # A hash, not a counter: ids are part of prompts, and so of seeds, and must not depend on the order.
                digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4)
                self._ids[word] = int.from_bytes(digest.digest(), "big") >> 1
                self._words[self._ids[word]] = word
            ids.append(self._ids[word])
        return tuple(ids)

    async def encode(self, text: str) -> TokenIds | None:
        """One id per word."""
        return self._encode(text)

    async def sample(self, request: SampleRequest) -> Completion:
        """The scripted reply to one request."""
        prompt_tokens, cached = request.rendered.tokens, self._cached(request)
        request.meter.usage = Usage(prompt_tokens, cached, 0)
        try:
            await self.pause(request)
        except BaseException:
            if request.meter.usage:
                self.usage.append(request.meter.usage)
            raise
        text, stop = _until_stop(self.script(request), request.params.stop)
        ids = self._encode(text)
        finish: FinishReason = "stop"
        if stop is None:
            ids = (*ids, END)
        if len(ids) > request.params.limit:
            ids, stop, finish = ids[: request.params.limit], None, "length"
            text = "".join(self._words[i] for i in ids)
        logprobs = self._logprobs(request, ids)
        if request.floor and logprobs and (end := request.floor.tokens(logprobs.top)) < len(ids):
            ids, stop, finish = ids[:end], None, "abort"
            text = "".join(self._words[i] for i in ids)
            logprobs = Logprobs(logprobs.sampled[:end], logprobs.top[:end])
        usage = Usage(prompt_tokens, cached, len(ids))
        self.usage.append(usage)
        return Completion(request.prompt, text, ids, finish, stop, usage, logprobs, request.index, request.seed)

    def _cached(self, request: SampleRequest) -> int:
        ids = request.rendered.token_ids
        if not self.block_size or ids is None:
            return 0
        hits = 0
        for end in range(self.block_size, len(ids), self.block_size):
            if ids[:end] in self._blocks:
                hits = end
            self._blocks.add(ids[:end])
        return hits

    def _logprobs(self, request: SampleRequest, ids: TokenIds) -> Logprobs | None:
        top_k, tokens = request.params.logprobs, len(ids)
        if top_k is None and not request.watch:
            return None
        certainty = self.certainty(request)
        chances = [certainty] if isinstance(certainty, int | float) else certainty
        sampled = tuple(math.log(max(chance, 1e-9)) for chance in islice(cycle(chances), tokens))
        others = [math.log(max(1 - math.exp(own), 1e-9)) for own in sampled]
        top: tuple[tuple[float, ...], ...] = ()
        watched: tuple[tuple[float, ...], ...] = ()
        if top_k:
            share = math.log(max(top_k - 1, 1))
            top = tuple((own, *((rest - share,) * (top_k - 1))) for own, rest in zip(sampled, others, strict=True))
        if request.watch:
            share = math.log(max(len(set(request.watch)) - 1, 1))
            watched = tuple(
                tuple(own if watched_id == token else rest - share for watched_id in request.watch)
                for token, own, rest in zip(ids, sampled, others, strict=True)
            )
        return Logprobs(sampled, top, watched)


def _until_stop(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    matches = [(start, stop) for stop in stops if (start := text.find(stop)) >= 0]
    if not matches:
        return text, None
    start, stop = min(matches)
    return text[:start], stop
