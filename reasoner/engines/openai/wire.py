"""A sequence assembled from the replies of a server with OpenAI's routes, streamed or whole."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from reasoner.answers.tool_calls import ToolCall, call_text
from reasoner.engine import (
    FinishReason,
    Logprobs,
    RequestLost,
    SampleRequest,
    TextPiece,
    TokenIds,
    Usage,
)
from reasoner.engines import ReplyParts
from reasoner.engines.openai.rendering import Renderer
from reasoner.engines.openai.requests import by_text, closed, may_think
from reasoner.engines.openai.values import ReportedUsage, SentChoice, SentReply
from reasoner.models.thinking import ThinkingProfile, ThinkingSplit, split
from reasoner.system.printing import valid_unicode
from reasoner.types import Completion

ODD = "the server's counts contradict each other or what it sends: the larger ones are booked"
_FINISHES: dict[str, FinishReason] = {
    "stop": "stop",
    "tool_calls": "stop",
    "length": "length",
}


class MalformedReply(ValueError):
    """The server's reply does not have the form of its route."""


@dataclass(slots=True, eq=False)
class Draft:
    """What has arrived of one sequence so far.

    `profile` says how the model thinks.
    """

    request: SampleRequest
    profile: ThinkingProfile | None = None
    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    token_ids: list[int] = field(default_factory=list)
    sampled: list[float] = field(default_factory=list)
    top: list[tuple[float, ...]] = field(default_factory=list)
    watched: list[tuple[float, ...]] = field(default_factory=list)
    finish: str = ""
    stop: str | int | None = None
    names_stop: bool = False
    reported: ReportedUsage | None = None
    unreported: int = 0
    pieces: int = 0
    """Events with text."""
    received: int = 0
    """A lower bound on the tokens that arrived: one for each event with text."""
    events: int = 0
    _passed: tuple[int, int] = (0, 0)
    """Pieces of the thinking and of the text that were passed on."""

    def add(self, data: bytes) -> None:
        """Add one event of a stream.

        Raises:
            Malformed: it is not an event of a reply, or a value in it is out of range.
            RequestLost: it reports an error, or the sequence is far longer than allowed.
        """
        try:
            event = SentReply.read(data)
            if event.error:
                raise ServerFailure(data)
            self.events += 1
            self._bound(self.events, 2)
            if event.choices:
                self.take(event.choices[0])
            if event.usage and (reported := event.reported):
                self.report(reported)
            if progress := self.request.progress:
                progress.reached(self.received)
        except ValueError as error:
            raise MalformedReply(str(error)) from error

    def take(self, choice: SentChoice) -> None:
        """Add a piece of the sequence, or all of it.

        Raises:
            ValueError: its log-probabilities are incomplete.
            RequestLost: the sequence is far longer than allowed.
        """
        part, logprobs, ids = (
            choice.delta or choice.message,
            choice.logprobs,
            choice.token_ids,
        )
        piece, thought, calls = (
            (part.final, part.thinking, part.tool_calls) if part else ("", "", None)
        )
        piece = piece or choice.text or ""
        for number, sent in enumerate(calls or ()):
            # A call of a tool, or a piece of it, which a server takes out of the text
            call = self.calls.setdefault(
                number if sent.index is None else sent.index,
                {"name": "", "arguments": ""},
            )
            if sent.function:
                call["name"] += sent.function.name or ""
                call["arguments"] += sent.function.arguments or ""
        rows = logprobs.rows() if logprobs else []
        if self.request.watch and logprobs:
            self.watched += logprobs.watched(self.request.watch)
        if piece:
            self.text.append(piece)
        if thought:
            self.thinking.append(thought)
        self.pieces += bool(piece or thought or calls)
        if ids or rows:
            self.token_ids += ids or ()
            self._bound(max(len(self.token_ids), len(self.sampled) + len(rows)), 1)
            self._add_logprobs(rows)
        before = self.received
        self.received = max(self.pieces, len(self.token_ids), len(self.sampled))
        self.unreported += self.received - before
        if choice.finish_reason:
            stop = choice.stop_reason
            self.finish, self.stop = (
                choice.finish_reason,
                stop if type(stop) in (str, int) else None,
            )
            self.names_stop = "stop_reason" in choice.model_fields_set

    def _add_logprobs(self, rows: list[tuple[float, list[float]]]) -> None:
        self.sampled += [own for own, _ in rows]
        if top_k := self.request.params.logprobs:
            self.top += [
                tuple(sorted(others, reverse=True)[:top_k]) for _, others in rows
            ]

    def _bound(self, number: int, each: int) -> None:
        max_tokens = self.request.params.limit
        # Events, ids or log-probabilities beyond `max_tokens` that are tolerated
        if number > each * max_tokens + 64:
            raise RequestLost(f"the server did not stop at max_tokens={max_tokens}")

    def report(self, reported: ReportedUsage) -> None:
        """Add the server's counts: of several, the largest."""
        self.unreported = 0
        if before := self.reported:
            known = [
                [count for count in pair if count is not None]
                for pair in zip(reported, before, strict=True)
            ]
            reported = ReportedUsage(*(max(counts, default=None) for counts in known))
        self.reported = reported

    @property
    def usage(self) -> Usage:
        """The server's counts and what arrived since; before any, the prompt at its bound and one token per chunk."""
        reported, max_tokens, prompt = (
            self.reported,
            self.request.params.limit,
            self.request.rendered.tokens,
        )
        generated = min(self.received, max_tokens)
        if reported is None:
            return Usage(prompt, 0, generated)
        generated = max(reported.generated or 0, generated)
        if self.unreported:
            generated = max(
                generated, min((reported.generated or 0) + self.unreported, max_tokens)
            )
        prompt = reported.prompt or prompt
        return Usage(prompt, min(reported.cached or 0, prompt), generated)

    def pass_on(self) -> None:
        """Pass on what arrived and surely belongs to its part; the rest is left to the end."""
        on_text = self.request.on_text
        if on_text is None:
            return
        ended = closed(self.request.prompt, self.profile)
        if ended and self.thinking:
            return
        thoughts, texts = self._passed
        thought, text = "".join(self.thinking[thoughts:]), "".join(self.text[texts:])
        if thought and not _is_cut(thought):
            self._passed = len(self.thinking), texts
            on_text(TextPiece(valid_unicode(thought), thinking=True))
        marked = self.profile is not None or may_think("".join(self.text[:4]).lstrip())
        if text and not _is_cut(text) and (ended or self.thinking or not marked):
            self._passed = len(self.thinking), len(self.text)
            on_text(TextPiece(valid_unicode(text)))

    @property
    def size(self) -> int:
        """Bytes of all text: an upper bound on the tokens, except one that is not shown."""
        return sum(
            len(piece.encode("utf-8", "surrogatepass"))
            for piece in (*self.text, *self.thinking)
        )

    def with_thinking(self, usage: Usage, parts: ReplyParts) -> Usage:
        """The draft's usage with the thinking tokens: those of the token ids, else the server's count.

        Without both it is a lower bound: a token for each chunk of thinking that was sent, and all but one for each
        byte of the final part.
        """
        counted = self.reported.thinking if self.reported else None
        if parts.tokens is not None:
            thinking = parts.tokens
        elif counted is not None:
            thinking = counted
        elif parts.unclosed:
            thinking = usage.generated_tokens
        elif parts.thinking:
            least = (
                usage.generated_tokens
                - len(parts.final.encode("utf-8", "surrogatepass"))
                - 1
            )
            thinking = max(least, len(self.thinking), 1)
        else:
            thinking = 0
        thinking = min(thinking, usage.generated_tokens)
        return replace(usage, thinking_tokens=thinking) if thinking else usage

    def remarks(self, parts: ReplyParts, usage: Usage) -> Iterator[str]:
        """Notes on what the server cannot do or count, as the finished sequence shows."""
        reported = self.reported
        if (
            parts.tokens is None
            and parts.thinking
            and not parts.unclosed
            and (reported or ReportedUsage()).thinking is None
        ):
            yield "the server does not count thinking tokens: a lower bound is used"
        if not self.aligned(usage):
            yield "the server reports log-probabilities of a part of the thinking: such replies have none"
        if (
            self.request.rendered.token_ids is not None
            and self.text
            and not self.token_ids
        ):
            yield "the server returns no token ids: continuations are sent as text and are not token-exact"
        if self.finish == "stop" and self.request.params.stop and not self.names_stop:
            yield "the server does not report what stopped a sequence: a stop string looks like the model's own end"
        if reported is None:
            yield "the server reports no usage: prompts count at a bound and each chunk as one generated token"
            return
        if reported.cached is None:
            yield "the server reports no cached tokens: all prompt tokens count as computed"
        max_tokens, generated = self.request.params.limit, reported.generated or 0
        prompt = reported.prompt or self.request.rendered.tokens
        counted = (
            min(self.received, max_tokens) <= generated <= max_tokens
            and (reported.cached or 0) <= prompt
        )
        if not counted or prompt > self.request.rendered.tokens:
            yield ODD

    @property
    def continuation(self) -> TokenIds:
        """The token ids without the one that ended the sequence."""
        ended = self.finish == "stop" and not isinstance(self.stop, str)
        return tuple(self.token_ids[:-1] if ended else self.token_ids)

    @property
    def thinking_ids(self) -> ThinkingSplit:
        """How many of the token ids are thinking, and whether it continues."""
        assert self.profile is not None
        return split(
            tuple(self.token_ids),
            self.profile,
            opened=self.request.rendered.in_thinking,
        )

    def parts(self) -> ReplyParts:
        """Thinking and final part: by the server's own fields, else by the markers in the text."""
        prompt, thinking, text = (
            self.request.prompt,
            valid_unicode("".join(self.thinking)),
            self._reply,
        )
        if thinking and not text and closed(prompt, self.profile):
            # A server that reads the reply alone takes it for thinking, though the prompt had ended that.
            return ReplyParts("", thinking, tokens=0)
        by_ids = self.profile and self.profile.end and self.token_ids
        if thinking and by_ids:
            where = self.thinking_ids
            return ReplyParts(thinking, text, where.unclosed, where.thinking)
        if thinking:
            return ReplyParts(thinking, text, unclosed=not text)
        opened = self.request.rendered.in_thinking
        if not opened and (prompt.text or prompt.thinking):
            return ReplyParts("", text, tokens=0)
        cut = self.finish == "length" and not closed(prompt, self.profile)
        parts = by_text(text, self.profile, opened=opened, cut=cut)
        if by_ids:
            where = self.thinking_ids
            # A model can spell a marker in other tokens, and a call ends thinking too.
            return (
                parts._replace(tokens=where.thinking)
                if parts.unclosed == where.unclosed
                else parts
            )
        return parts

    @property
    def _reply(self) -> str:
        """The text of the reply, with the calls that the server took out of it."""
        calls = (
            call_text(ToolCall(**self.calls[index]) for index in sorted(self.calls))
            if self.calls
            else ""
        )
        return valid_unicode("".join((*self.text, calls)))

    def aligned(self, usage: Usage) -> bool:
        """Whether the log-probabilities are those of all generated tokens, or of the final part alone."""
        rows, thinking = len(self.sampled), usage.thinking_tokens
        return (
            not thinking
            or rows == usage.generated_tokens
            or rows <= usage.generated_tokens - thinking
        )

    def _logprobs(self, usage: Usage) -> Logprobs | None:
        if self.request.watch:
            return Logprobs(tuple(self.sampled), watched=tuple(self.watched))
        if self.request.params.logprobs is None or not self.aligned(usage):
            return None
        return Logprobs(tuple(self.sampled), tuple(self.top))

    def completion(self, usage: Usage, parts: ReplyParts) -> Completion:
        """The finished sequence, with its usage and its parts.

        Raises:
            RequestLost: the reply ended before the sequence did.
        """
        if not self.finish:
            raise RequestLost(
                "the stream ended before the sequence did: the server sent no finish reason"
            )
        request, params = self.request, self.request.params
        stop = self.stop if self.finish == "stop" else None
        if isinstance(stop, int) and stop not in params.stop_token_ids:
            stop = None  # one of the model's own end-of-sequence tokens: some models have several
        return Completion(
            prompt=request.prompt,
            text=parts.final,
            token_ids=tuple(self.token_ids),
            finish_reason=_FINISHES.get(self.finish, "abort"),
            stop=valid_unicode(stop) if isinstance(stop, str) else stop,
            usage=usage,
            logprobs=self._logprobs(usage),
            index=request.index,
            seed=request.seed,
            thinking=parts.thinking,
            unclosed=parts.unclosed,
        )


def _is_cut(text: str) -> bool:
    """Whether a text ends inside a pair of surrogates: the second half may follow."""
    return "\ud800" <= text[-1:] <= "\udbff"


async def read_parts(draft: Draft, renderer: Renderer) -> ReplyParts:
    """The parts of a reply; the server counts the thinking tokens that ids do not show."""
    parts, ids = draft.parts(), draft.continuation
    counted = draft.reported and draft.reported.thinking is not None
    if counted or parts.tokens is not None:
        return parts
    if parts.thinking and not parts.unclosed and ids:
        final_ids = await renderer.encode(parts.final)
        return (
            parts
            if final_ids is None
            else parts._replace(tokens=max(len(ids) - len(final_ids), 1))
        )
    return parts


class ServerFailure(RequestLost):
    """The server reports an error instead of the rest of a reply; `body` is the report."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        super().__init__("the server gave up part-way")


def parse_reply(
    body: bytes, request: SampleRequest, profile: ThinkingProfile | None = None
) -> Draft:
    """The sequence of a reply that is not streamed; without a count of its tokens, the bytes of its text are a bound.

    Raises:
        Malformed: it is not a reply of a sampling route, or holds no sequence.
        RequestLost: it reports an error, or the sequence is far longer than allowed.
    """
    draft = Draft(request, profile)
    try:
        reply = SentReply.read(body)
        if reply.error:
            raise ServerFailure(body)
        if not reply.choices:
            raise MalformedReply("no sequence")
        draft.take(reply.choices[0])
    except ValueError as error:
        raise MalformedReply(str(error)) from error
    reported = reply.reported
    if reported:
        draft.report(reported)
    if (reported is None or reported.generated is None) and not (
        draft.token_ids or draft.sampled
    ):
        draft.received = draft.size + 1
    return draft
