"""A sequence assembled from the replies of a server with OpenAI's routes, streamed or whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasoner.engine import SampleRequest
from reasoner.engines.openai import values
from reasoner.engines.openai.values import Reported
from reasoner.errors import RequestLost
from reasoner.stopping.confidence import Cut
from reasoner.types import Completion, FinishReason, Logprobs, Usage

NO_USAGE = "the server reports no usage: prompts count at a bound and each chunk as one generated token"
FEWER = "the server counts fewer generated tokens than it sends chunks: each chunk counts as at least one token"
SHRINKS = "the server's usage shrinks during a reply: the largest counts are used"
TOO_MANY = "the server counts more generated tokens than max_tokens allows: they are booked as it counts them"
TOO_LONG = "the server counts more prompt tokens than the prompt can have: they are booked as it counts them"
MORE_CACHED = "the server counts more cached tokens than prompt tokens: all prompt tokens count as cached"
NO_CACHED = "the server reports no cached tokens: all prompt tokens count as computed"
NO_IDS = "the server returns no token ids: continuations are sent as text and are not token-exact"
NO_STOP = "the server does not report what stopped a sequence: a stop string looks like the model's own end"
SLACK = 64
"""Events, ids or log-probabilities beyond `max_tokens` that are tolerated."""
_FINISHES: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class Malformed(ValueError):
    """The server's reply does not have the form of its route."""


@dataclass(slots=True, eq=False)
class Draft:
    """What has arrived of one sequence so far."""

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
    reported: Reported | None = None
    unreported: int = 0
    heard: int = 0
    """A lower bound on the tokens that arrived: one for each piece that is not empty."""
    shrank: bool = False
    events: int = 0
    cut: bool = False
    """Whether the sequence was cut because it fell below its request's floor."""
    _watch: Cut | None = None

    def __post_init__(self) -> None:
        if self.request.floor:
            self._watch = self.request.floor.watch()

    def add(self, data: bytes) -> None:
        """Add one event of a stream.

        Raises:
            Malformed: it is not an event of a reply, or a value in it is out of range.
            RequestLost: it reports an error, or the sequence is far longer than allowed.
        """
        try:
            event = values.parsed(data)
            if event.get("error"):
                raise GaveUp(data)
            self.events += 1
            self._bound(self.events, 2)
            for choice in values.listed(event.get("choices"))[:1]:
                self.take(choice)
            if reported := values.usage(event.get("usage")):
                self._report(reported)
        except ValueError as error:
            raise Malformed(str(error)) from error

    def take(self, choice: Any) -> None:
        """Add a piece of the sequence, or all of it.

        Raises:
            ValueError: it is malformed.
            RequestLost: the sequence is far longer than allowed.
        """
        choice = values.mapping(choice)
        part = values.mapping(choice.get("delta") or choice.get("message"))
        piece = values.text(choice.get("text")) or values.text(part.get("content"))
        # Some servers send the model's thinking under both names.
        thought = values.text(part.get("reasoning")) or values.text(part.get("reasoning_content"))
        ids = [values.count(token) for token in values.listed(choice.get("token_ids"))]
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
        self.unreported += arrived
        self._bound(max(len(self.token_ids), len(self.sampled) + len(rows)), 1)
        finish = values.text(choice.get("finish_reason"))
        self._add_logprobs(rows, ends=bool(finish))
        if finish:
            stop = choice.get("stop_reason")
            self.finish, self.stop = finish, stop if type(stop) in (str, int) else None
            self.names_stop = "stop_reason" in choice

    def _add_logprobs(self, rows: list[values.Row], *, ends: bool) -> None:
        if not rows:
            return
        top_k = self.request.params.logprobs or 0
        self.sampled += [row.own for row in rows]
        best = [tuple(sorted(row.others, reverse=True)[:top_k]) for row in rows] if top_k else []
        self.top += best
        if self._watch and not ends:
            self.cut = any(self._watch(row) for row in best if row)

    def _bound(self, number: int, each: int) -> None:
        max_tokens = self.request.params.limit
        if number > each * max_tokens + SLACK:
            raise RequestLost(f"the server did not stop at max_tokens={max_tokens}")

    def _report(self, reported: Reported) -> None:
        before = self.reported or Reported()
        prompt, counts = max(reported.prompt or 0, before.prompt or 0), (reported.generated, before.generated)
        generated = max((count for count in counts if count is not None), default=None)
        self.shrank |= prompt > (reported.prompt or 0) or (generated or 0) > (reported.generated or 0)
        self.reported = Reported(prompt, generated, before.cached if reported.cached is None else reported.cached)
        self.unreported = 0

    @property
    def usage(self) -> Usage:
        """The server's counts and what arrived since; before any, the prompt at its bound and one token per chunk."""
        reported = self.reported or Reported()
        max_tokens = self.request.params.limit
        generated = max(reported.generated or 0, min(self.heard, max_tokens))
        if self.unreported:
            generated = max(generated, min((reported.generated or 0) + self.unreported, max_tokens))
        prompt = reported.prompt or self.request.rendered.tokens
        return Usage(prompt, min(reported.cached or 0, prompt), generated)

    @property
    def size(self) -> int:
        """Bytes of all text: an upper bound on the tokens, except one that is not shown."""
        return sum(len(piece.encode("utf-8", "surrogatepass")) for piece in (*self.text, *self.thinking))

    def remarks(self) -> Iterator[str]:
        """Notes on what the server cannot do, as the finished sequence shows."""
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
    """The server reports an error instead of the rest of a reply; `body` is the report."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        super().__init__("the server gave up part-way")


def parse_reply(body: bytes, requests: Sequence[SampleRequest]) -> tuple[Reported | None, list[Draft]]:
    """The server's counts and the sequences of a reply that is not streamed; there may be fewer than requested.

    Raises:
        Malformed: it is not a reply of a sampling route, or holds no sequence.
        RequestLost: it reports an error, or a sequence is far longer than allowed.
    """
    try:
        reply = values.parsed(body)
        if reply.get("error"):
            raise GaveUp(body)
        choices = [values.mapping(choice) for choice in values.listed(reply.get("choices"))]
        if {choice.get("index") for choice in choices} == set(range(len(choices))):
            choices.sort(key=lambda choice: choice["index"])
        drafts = [Draft(request) for request, _ in zip(requests, choices, strict=False)]
        for draft, choice in zip(drafts, choices, strict=False):
            draft.take(choice)
        reported = values.usage(reply.get("usage"))
    except (ValueError, TypeError) as error:
        raise Malformed(str(error)) from error
    if not drafts:
        raise Malformed("no sequence")
    return reported, drafts


def counting(request: SampleRequest, reported: Reported | None, heard: int, sequences: int = 1) -> Iterator[str]:
    """Notes on counts that are missing or impossible, for `sequences` of which at least `heard` tokens arrived."""
    if reported is None:
        yield NO_USAGE
        return
    max_tokens, prompt = sequences * request.params.limit, request.rendered.tokens
    if reported.cached is None:
        yield NO_CACHED
    elif reported.cached > (reported.prompt or prompt):
        yield MORE_CACHED
    if (reported.generated or 0) < min(heard, max_tokens):
        yield FEWER
    if (reported.generated or 0) > max_tokens:
        yield TOO_MANY
    if (reported.prompt or 0) > prompt:
        yield TOO_LONG
