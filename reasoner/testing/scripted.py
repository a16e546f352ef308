"""An engine with scripted replies: the double of a model in tests and benches."""

import asyncio
import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import ClassVar

from reasoner.engine import (
    Continuation,
    FreeEngine,
    RenderedPrompt,
    SampleRequest,
    TextPiece,
)
from reasoner.models.info import ModelInfo
from reasoner.models.thinking import (
    ThinkingProfile,
    ThinkingSplit,
    split,
    still_thinking,
)
from reasoner.types import (
    NO_THINKING,
    Completion,
    FinishReason,
    Logprobs,
    Prompt,
    TokenIds,
    Usage,
)

_WORD = re.compile(r"\s*\S+\s*$|\s*\S+|\s+")
END = -1
"""The token id that ends a reply."""
MODEL = ModelInfo(
    "scripted",
    context=1 << 20,
    parameters=1000,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=8,
)
OPEN, CLOSE = "<think>", "</think>"


def _id(word: str) -> int:
    # A hash, not a counter: ids are part of prompts, and so of seeds, and must not depend on the order.
    return (
        int.from_bytes(
            hashlib.blake2b(
                word.encode("utf-8", "surrogatepass"), digest_size=4
            ).digest(),
            "big",
        )
        >> 1
    )


THINKER = replace(
    MODEL,
    name="scripted thinker",
    thinking=ThinkingProfile(
        "on_request",
        start=(_id(OPEN),),
        end=(_id(CLOSE),),
        start_text=OPEN,
        end_text=CLOSE,
        closing=f"\n{CLOSE}\n\n",
        skip=f"{OPEN}{CLOSE}",
    ),
)
"""A scripted model that thinks before it answers, unless it is asked not to."""
_MARKERS = {_id(OPEN), _id(CLOSE)}


async def _at_once(_: SampleRequest) -> None:
    await asyncio.sleep(0)


async def until_its_turn(request: SampleRequest, tokens: int) -> None:
    """Let the sequence end when the runner's clock says so, as engines do that know its length."""
    if request.progress:
        await request.progress.until(tokens)


@dataclass(slots=True)
class ScriptedEngine(FreeEngine):
    """Replies with `script(request)`, one token per word, cut at `max_tokens` or the first stop string.

    `certainty` is the probability of every token of a reply, or of each in turn. `pause` is awaited before each reply,
    so that a test can decide what finishes first, and `growing` after it, with the length of the reply. `block_size`
    above 0 simulates a prefix cache of whole blocks. With a `model` that thinks, such as `THINKER`, the prompt opens
    its thinking, and a reply begins with `thoughts(request)`. `continues` says how it answers probes; by default
    there is no model to ask.
    """

    limits_thinking: ClassVar[bool] = True

    script: Callable[[SampleRequest], str]
    certainty: Callable[[SampleRequest], float | Sequence[float]] = lambda _: 1.0
    pause: Callable[[SampleRequest], Awaitable[None]] = _at_once
    growing: Callable[[SampleRequest, int], Awaitable[None]] = until_its_turn
    block_size: int = 0
    thoughts: Callable[[SampleRequest], str] = lambda _: "hm, let me think"
    model: ModelInfo = MODEL
    capacity: int | None = None
    continues: Continuation | None = None
    name: str = field(default="scripted", init=False)
    notes: tuple[str, ...] = field(default=(), init=False)
    usage: list[Usage] = field(default_factory=list, init=False)
    _ids: dict[str, int] = field(default_factory=dict, init=False)
    _words: dict[int, str] = field(default_factory=dict, init=False)
    _blocks: set[TokenIds] = field(default_factory=set, init=False)

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The words of the prompt, its thinking opened or skipped in a chat, then what was generated."""
        head = prompt.raw or " ".join(
            f"{message.role} {message.content}" for message in prompt.messages
        )
        ids, profile, opened = self._encode(head), self.model.thinking, False
        if profile and prompt.messages:
            opened = prompt.thinking_level != NO_THINKING
            ids += profile.start if opened else self._encode(profile.skip)
        ids += prompt.token_ids
        return RenderedPrompt(
            ids, len(ids), still_thinking(prompt, profile, opened=opened)
        )

    def _encode(self, text: str) -> TokenIds:
        ids = []
        for word in self._words_of(text):
            if word not in self._ids:
                self._ids[word] = _id(word)
                self._words[self._ids[word]] = word
            ids.append(self._ids[word])
        return tuple(ids)

    def _words_of(self, text: str) -> list[str]:
        if self.model.thinking is None:
            return _WORD.findall(text)
        pieces = re.split(f"({OPEN}|{CLOSE})", text)
        return [
            word
            for piece in pieces
            for word in ([piece] if piece in (OPEN, CLOSE) else _WORD.findall(piece))
        ]

    async def encode(self, text: str) -> TokenIds | None:
        """One id per word."""
        return self._encode(text)

    async def token_texts(self, ids: TokenIds) -> tuple[str, ...]:
        """The word of each token."""
        return tuple(self._text((token,)) for token in ids)

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
        ids, script, stop = self._generated(request)
        whole = len(ids)
        finish: FinishReason = "stop"
        if len(ids) > request.params.limit:
            ids, stop, finish = ids[: request.params.limit], None, "length"
        logprobs = self._logprobs(request, ids)
        try:
            await self.growing(request, len(ids))
        except BaseException:
            self.usage.append(
                Usage(
                    prompt_tokens,
                    cached,
                    request.progress.tokens if request.progress else 0,
                )
            )
            request.meter.usage = self.usage[-1]
            raise
        profile, opened = self.model.thinking, request.rendered.in_thinking
        parts = (
            split(ids, profile, opened=opened)
            if profile
            else ThinkingSplit(0, unclosed=False)
        )
        usage = Usage(prompt_tokens, cached, len(ids), parts.thinking)
        self.usage.append(usage)
        shown = ids[:-1] if isinstance(stop, int) else ids
        thinking = self._text(shown[: parts.thinking])
        # An engine derived from this one may encode in its own way; only what was cut is decoded.
        text = (
            script
            if len(ids) == whole and not isinstance(stop, int)
            else self._text(shown[parts.thinking :])
        )
        if request.on_text:
            for whole_part, is_thinking in ((thinking, True), (text, False)):
                for word in _WORD.findall(whole_part):
                    request.on_text(TextPiece(word, is_thinking))
                    await asyncio.sleep(0)
        return Completion(
            request.prompt,
            text,
            ids,
            finish,
            stop,
            usage,
            logprobs,
            request.index,
            request.seed,
            thinking=thinking,
            unclosed=parts.unclosed,
        )

    def _generated(
        self, request: SampleRequest
    ) -> tuple[TokenIds, str, str | int | None]:
        """The whole reply: the thinking that is due, then the script; the text of the script; and what stopped it."""
        profile, params = self.model.thinking, request.params
        thought, text, stop = "", "", None
        ids: TokenIds = ()
        if profile and request.rendered.in_thinking:
            thought, stop = _until_stop(
                self.thoughts(request), params.stop if params.stop_in_thinking else ()
            )
            ids, level = self._encode(thought), request.prompt.thinking_level
            if isinstance(level, int) and len(ids) > level:
                ids, stop = ids[:level] + self._encode(profile.closing), None
            elif stop is None:
                ids += profile.end
                stop = (
                    profile.end_text
                    if params.stop_in_thinking and profile.end_text in params.stop
                    else None
                )
            earlier = request.prompt.token_ids
            ids = ids[len(earlier) :] if earlier == ids[: len(earlier)] else ids
        if stop is None:
            text, stop = _until_stop(self.script(request), params.stop)
            ids += (
                self._encode(text) if stop is not None else (*self._encode(text), END)
            )
        for at, token in enumerate(ids):
            if token in params.stop_token_ids:
                return ids[: at + 1], text, token
        return ids, text, stop

    def _text(self, ids: TokenIds) -> str:
        """The text of token ids without markers and the end of the reply."""
        return "".join(
            self._words.get(token, "") for token in ids if token not in _MARKERS
        )

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
        sampled = tuple(
            math.log(max(chance, 1e-9)) for chance in islice(cycle(chances), tokens)
        )
        others = [math.log(max(1 - math.exp(own), 1e-9)) for own in sampled]
        top: tuple[tuple[float, ...], ...] = ()
        watched: tuple[tuple[float, ...], ...] = ()
        if top_k:
            share = math.log(max(top_k - 1, 1))
            top = tuple(
                (own, *((rest - share,) * (top_k - 1)))
                for own, rest in zip(sampled, others, strict=True)
            )
        if request.watch:
            share = math.log(max(len(set(request.watch)) - 1, 1))
            watched = tuple(
                tuple(
                    own if watched_id == token else rest - share
                    for watched_id in request.watch
                )
                for token, own, rest in zip(ids, sampled, others, strict=True)
            )
        return Logprobs(sampled, top, watched)


def _until_stop(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    matches = [(start, stop) for stop in stops if (start := text.find(stop)) >= 0]
    if not matches:
        return text, None
    start, stop = min(matches)
    return text[:start], stop
