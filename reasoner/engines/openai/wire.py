"""A sequence gathered from what a server with OpenAI's routes sends, streamed or whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoner.confidence import Cut
from reasoner.engines.openai import values
from reasoner.engines.openai.values import Told
from reasoner.errors import RequestLost
from reasoner.protocols import SampleRequest
from reasoner.types import Completion, FinishReason, Logprobs, Usage

NO_USAGE = "the server reports no usage: prompts are counted at a bound and generated tokens by the chunk"
FEWER = "the server counts fewer generated tokens than it sends chunks: each chunk counts as one token at least"
SHRINKS = "the server's usage shrinks in the course of a reply: the largest counts are taken"
TOO_MANY = "the server counts more generated tokens than max_tokens allows: they are booked as it counts them"
TOO_LONG = "the server counts more prompt tokens than the prompt can have: they are booked as it counts them"
MORE_CACHED = "the server counts more cached tokens than prompt tokens: all prompt tokens are taken as cached"
NO_CACHED = "the server reports no cached tokens: all prompt tokens count as computed"
NO_IDS = "the server returns no token ids: what continues a reply goes as text and is not token-exact"
NO_STOP = "the server does not say what stopped a sequence: a stop string reads as the model's own end"
SLACK = 64
"""Events, ids or log-probabilities beyond `max_tokens` that are borne with."""
_FINISHES: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class Malformed(ValueError):
    """What a server sent is not what its route returns."""


@dataclass(slots=True, eq=False)
class Draft:
    """What has arrived of one sequence."""

    request: SampleRequest
    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    sampled: list[float] = field(default_factory=list)
    top: list[tuple[float, ...]] = field(default_factory=list)
    watched: list[tuple[float, ...]] = field(default_factory=list)
    finish: str = ""
    stop: str | int | None = None
    names_stop: bool = False
    told: Told | None = None
    untold: int = 0
    heard: int = 0
    """Tokens that arrived at least: one for each piece with something in it."""
    shrank: bool = False
    events: int = 0
    cut: bool = False
    """Whether the sequence fell below its request's floor, and is over."""
    _watch: Cut | None = None

    def __post_init__(self) -> None:
        if self.request.floor:
            self._watch = self.request.floor.watch()

    def add(self, data: bytes) -> None:
        """Take in one event of a stream.

        Raises:
            Malformed: it is not an event of a reply, or a value in it is out of range.
            RequestLost: it is an error report, or is one of far more than the sequence may have.
        """
        try:
            event = values.parsed(data)
            if event.get("error"):
                raise GaveUp(data)
            self.events += 1
            self._bound(self.events, 2)
            for choice in values.listed(event.get("choices"))[:1]:
                self.take(choice)
            if told := values.usage(event.get("usage")):
                self._tell(told)
        except ValueError as error:
            raise Malformed(str(error)) from error

    def take(self, choice: Any) -> None:
        """Take in a piece of the sequence, or all of it.

        Raises:
            ValueError: it is malformed.
            RequestLost: there is far more of it than the sequence may have.
        """
        choice = values.mapping(choice)
        part = values.mapping(choice.get("delta") or choice.get("message"))
        piece = values.text(choice.get("text")) or values.text(part.get("content"))
        # Some servers send what a model thinks under both names.
        thought = values.text(part.get("reasoning")) or values.text(part.get("reasoning_content"))
        ids = [values.count(one) for one in values.listed(choice.get("token_ids"))]
        logprobs = choice.get("logprobs")
        rows = values.rows(logprobs) if logprobs else []
        if self.request.watch and logprobs:
            self.watched += values.watched(logprobs, self.request.watch)
        if piece:
            self.text.append(piece)
        if thought:
            self.thinking.append(thought)
        self.token_ids += ids
        arrived = max(bool(piece or thought), len(ids), len(rows))
        self.heard += arrived
        self.untold += arrived
        self._bound(max(len(self.token_ids), len(self.sampled) + len(rows)), 1)
        finish = values.text(choice.get("finish_reason"))
        self._rate(rows, ends=bool(finish))
        if finish:
            stop = choice.get("stop_reason")
            self.finish, self.stop = finish, stop if type(stop) in (str, int) else None
            self.names_stop = "stop_reason" in choice

    def _rate(self, rows: list[values.Row], *, ends: bool) -> None:
        if not rows:
            return
        kept = self.request.params.logprobs or 0
        self.sampled += [row.own for row in rows]
        best = [tuple(sorted(row.others, reverse=True)[:kept]) for row in rows] if kept else []
        self.top += best
        if self._watch and not ends:
            self.cut = any(self._watch(row) for row in best if row)

    def _bound(self, number: int, each: int) -> None:
        most = self.request.params.max_tokens
        if number > each * most + SLACK:
            raise RequestLost(f"the server did not stop at max_tokens={most}")

    def _tell(self, told: Told) -> None:
        before = self.told or Told()
        prompt, generated = max(told.prompt or 0, before.prompt or 0), _larger(told.generated, before.generated)
        self.shrank |= prompt > (told.prompt or 0) or (generated or 0) > (told.generated or 0)
        self.told = Told(prompt, generated, before.cached if told.cached is None else told.cached)
        self.untold = 0

    @property
    def usage(self) -> Usage:
        """The server's counts and what arrived since; before any, the prompt at its bound and one token a chunk."""
        told = self.told or Told()
        most = self.request.params.max_tokens
        generated = max(told.generated or 0, min(self.heard, most))
        if self.untold:
            generated = max(generated, min((told.generated or 0) + self.untold, most))
        prompt = told.prompt or self.request.rendered.tokens
        return Usage(prompt, min(told.cached or 0, prompt), generated)

    @property
    def size(self) -> int:
        """Bytes of all that was written, which is as many tokens at most, but for one that is not shown."""
        return sum(len(piece.encode("utf-8", "surrogatepass")) for piece in (*self.text, *self.thinking))

    def remarks(self) -> Iterator[str]:
        """What the finished sequence shows that the server cannot do."""
        if self.request.rendered.token_ids is not None and self.text and not self.token_ids:
            yield NO_IDS
        if self.shrank:
            yield SHRINKS
        if self.finish == "stop" and self.request.params.stop and not self.names_stop:
            yield NO_STOP

    def _logprobs(self) -> Logprobs | None:
        if self.request.watch:
            return Logprobs(tuple(self.sampled), watched=tuple(self.watched))
        return None if self.request.params.logprobs is None else Logprobs(tuple(self.sampled), tuple(self.top))

    def completion(self, usage: Usage, seed: int) -> Completion:
        """The finished sequence.

        Raises:
            RequestLost: the reply ended before the sequence did.
        """
        if not (self.finish or self.cut):
            raise RequestLost("the stream ended before the sequence did: the server sent no finish reason")
        request, params = self.request, self.request.params
        stop = self.stop if self.finish == "stop" else None
        if isinstance(stop, int) and stop not in params.stop_token_ids:
            stop = None  # one of the model's own end-of-sequence tokens: some models have several
        return Completion(
            prompt=request.prompt,
            text=values.mended("".join(self.text)),
            token_ids=tuple(self.token_ids),
            finish_reason=_FINISHES.get(self.finish, "abort"),
            stop=values.mended(stop) if isinstance(stop, str) else stop,
            usage=usage,
            logprobs=self._logprobs(),
            index=request.index,
            seed=seed,
            thinking=values.mended("".join(self.thinking)),
        )


class GaveUp(RequestLost):
    """The server reports an error in place of the rest of a reply; `body` is what it sent."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        super().__init__("the server gave up part-way")


def whole(body: bytes, requests: Sequence[SampleRequest]) -> tuple[Told | None, list[Draft]]:
    """What was counted, and the sequences of a reply that is not streamed: the first of those that were asked for.

    Raises:
        Malformed: it is not a reply of a sampling route, or holds no sequence.
        RequestLost: it is an error report, or there is far more of a sequence than there may be.
    """
    try:
        reply = values.parsed(body)
        if reply.get("error"):
            raise GaveUp(body)
        choices = [values.mapping(choice) for choice in values.listed(reply.get("choices"))]
        places = [choice.get("index") for choice in choices]
        if set(places) == set(range(len(choices))):
            choices = [choices[places.index(place)] for place in range(len(choices))]
        drafts = [Draft(request) for request, _ in zip(requests, choices, strict=False)]
        for draft, choice in zip(drafts, choices, strict=False):
            draft.take(choice)
        told = values.usage(reply.get("usage"))
    except (ValueError, TypeError) as error:
        raise Malformed(str(error)) from error
    if not drafts:
        raise Malformed("no sequence")
    return told, drafts


def counting(request: SampleRequest, told: Told | None, heard: int, sequences: int = 1) -> Iterator[str]:
    """What the server's counts of so many sequences, of which so much arrived, show that cannot be or is not told."""
    if told is None:
        yield NO_USAGE
        return
    most, prompt = sequences * request.params.max_tokens, request.rendered.tokens
    if told.cached is None:
        yield NO_CACHED
    elif told.cached > (told.prompt or prompt):
        yield MORE_CACHED
    if (told.generated or 0) < min(heard, most):
        yield FEWER
    if (told.generated or 0) > most:
        yield TOO_MANY
    if (told.prompt or 0) > prompt:
        yield TOO_LONG


def _larger(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else max(one, other)
