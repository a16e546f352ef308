"""Replies made of solutions, as blocks of thinking, text and calls of tools: whole, or sent as they come.

The forms of replies are tables over these: `chat`, `messages` and `responses`.
"""

import secrets
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Any, ClassVar, Final, Literal, NamedTuple, cast

from pydantic import BaseModel

from reasoner.answers.tool_calls import ToolCall, read_calls
from reasoner.budget import Cost, Prices
from reasoner.engine import TextPiece
from reasoner.registry import spec_of
from reasoner.serving.choose import Job
from reasoner.serving.errors import ApiError, api_error
from reasoner.serving.requests import ChatRequest
from reasoner.solution import Solution
from reasoner.specs import OwnerOnly, marks_of
from reasoner.system.printing import clipped, counted, printable, valid_unicode
from reasoner.system.values import value
from reasoner.trace.events import Event, Proposed, Sampled, Scored, Work
from reasoner.trace.replies import completions_in
from reasoner.types import Completion, Logprobs, TokenIds, Vote, VoteState

Document = dict[str, Any]
BlockKind = Literal["thinking", "text", "call"]
LOST: Final = "lost: the sequence was drawn again after its text was streamed, so the text is not whole: ask again"
MAX_ANSWER: Final = 500
"""Characters of an answer in the list of votes, and of a reason."""
MAX_SHOWN: Final = 32
"""Characters of an answer in a line of progress."""
MAX_VOTES: Final = 8
"""Answers in a chunk of progress; the last chunk has all of them."""
COUNTED: Final = (
    "tokens",
    "prompt_tokens",
    "cached_tokens",
    "generated_tokens",
    "verifier_tokens",
    "cancelled_tokens",
    "thinking_tokens",
    "sequential_tokens",
    "requests",
    "samples",
    "seconds",
)
"""What the vendor object says of a cost."""


Tokens = tuple[tuple[str, float], ...]
"""The texts of tokens with their log-probabilities."""


@value(frozen=True, slots=True)
class Result:
    """A choice of a reply: its job, how it ended with its events, and the id of its trace where that is kept.

    `tokens` are those of its text with their log-probabilities, where the job asks for them.
    """

    job: Job
    solution: Solution
    trace: str | None = None
    tokens: Tokens = ()


@value(frozen=True, slots=True)
class ReplyBlock:
    """A part of a reply: some thinking, some text with its tokens, or a call of the tool `name`.

    The text of a call is its arguments, a JSON object, and its `number` counts the calls from 0. A limit `cut` a text.
    """

    kind: BlockKind
    text: str = ""
    name: str = ""
    number: int = 0
    tokens: Tokens = ()
    cut: bool = False

    @property
    def key(self) -> tuple[BlockKind, int]:
        """What the pieces of a block have in common."""
        return self.kind, self.number


@value(frozen=True, slots=True)
class ReplyText:
    """The reply of a solution: its text, its thinking, why it ended, the tools that it calls, and its tokens."""

    content: str
    thinking: str
    finish_reason: Literal["stop", "length", "tool_calls"]
    calls: tuple[ToolCall, ...] = ()
    tokens: Tokens = ()

    @property
    def blocks(self) -> list[ReplyBlock]:
        """The reply as blocks. An empty text is one too, unless tools are called."""
        thought = [ReplyBlock("thinking", self.thinking)] if self.thinking else []
        spoken = ReplyBlock(
            "text",
            self.content,
            tokens=self.tokens,
            cut=self.finish_reason == "length",
        )
        calls = [
            ReplyBlock("call", call.arguments, call.name, number)
            for number, call in enumerate(self.calls)
        ]
        return [*thought, *([spoken] if self.content or not calls else []), *calls]

    @classmethod
    def of(cls, result: Result) -> "ReplyText":
        """The text of the winning completion; without an answer, the text of the best there is.

        Thinking needs the solution's events. Where the job offers tools, the calls in the text are read.

        Raises:
            ApiError: the question failed before it had any text.
        """
        solution = result.solution
        if solution.error and not solution.text:
            raise api_error(solution.error)
        if solution.abstained:
            # The reply where the strategy abstains
            return cls("not sure", "", "stop")
        winner = _winner(solution)
        thinking = valid_unicode(
            winner.prompt.thinking + winner.thinking if winner else ""
        )
        cut = winner is not None and winner.finish_reason == "length"
        content = valid_unicode(
            solution.text or (solution.answer.text if solution.answer else "")
        )
        if (
            result.job.question.prompt.tools
            and not (cut or result.job.by_ids)
            and (read := read_calls(content))
            and read.calls
        ):
            return cls(read.text, thinking, "tool_calls", read.calls)
        cut = cut or (solution.ended_by == "budget" and solution.answer is None)
        return cls(content, thinking, "length" if cut else "stop", tokens=result.tokens)


def _winner(solution: Solution) -> Completion | None:
    """The completion that has the text of the solution: the first complete one, else the first."""
    same = (
        completion
        for _, completion in completions_in(solution.events)
        if completion.chain == solution.text
    )
    first = next(same, None)
    return (
        next((each for each in same if not each.truncated), first)
        if first and first.truncated
        else first
    )


def sampled_tokens(solution: Solution) -> tuple[TokenIds, tuple[float, ...]]:
    """The tokens of the reply without its thinking, with their log-probabilities; none where it has several parts."""
    winner = _winner(solution)
    if winner is None or winner.logprobs is None or winner.prompt.text:
        return (), ()
    start, ids = winner.usage.thinking_tokens, winner.continuation
    return ids[start:], winner.logprobs.sampled[start : len(ids)]


def sampled_fields(result: Result) -> Document:
    """The token ids of a sequence, what stopped it and its log-probabilities, where a job asks for ids."""
    winner = _winner(result.solution) if result.job.by_ids else None
    if winner is None:
        return {}
    logprobs = winner.logprobs or Logprobs()
    rows = [
        {
            "token": f"token_id:{token}",
            "logprob": own,
            "top_logprobs": [{"token": "", "logprob": other} for other in others],
        }
        for token, own, others in zip_longest(
            winner.token_ids[: len(logprobs.sampled)],
            logprobs.sampled,
            logprobs.top,
            fillvalue=(),
        )
    ]
    return {
        "token_ids": winner.token_ids,
        "stop_reason": winner.stop,
        "logprobs": {"content": rows} if rows else None,
    }


def logprobs_of(tokens: Tokens) -> list[Document]:
    """The log-probabilities of tokens in OpenAI's form."""
    return [
        {
            "token": text,
            "bytes": list(text.encode("utf-8", "replace")),
            "logprob": logprob,
            "top_logprobs": [],
        }
        for text, logprob in tokens
    ]


@dataclass(slots=True)
class ReplyProgress:
    """The state of one job in a line, from the events of its trace."""

    samples: int = 0
    rated: int = 0
    tokens: int = 0
    vote_state: VoteState = VoteState()
    _shown: str = ""

    def line(self, event: Event) -> str:
        """A line such as `8 samples, leading 15 (43 %)`; empty where the event changes nothing of it."""
        if isinstance(event, Work):
            self.tokens += event.cost.tokens
        match event:
            case Sampled():
                self.samples += 1
            case Scored() if event.value is not None:
                self.rated += 1
            case Proposed():
                self.vote_state = event.vote_state
            case _:
                return ""
        parts = [counted(self.samples, "sample")]
        parts += [f"{self.rated:,} rated"] if self.rated else []
        if leader := self.vote_state.leader:
            parts.append(
                f"leading {printable(leader.text, limit=MAX_SHOWN)} ({100 * self.vote_state.share:.0f} %)"
            )
        line, before = ", ".join(parts), self._shown
        self._shown = line
        return line if line != before else ""

    @property
    def report(self) -> Document:
        """The vendor object as far as it is known: samples, the heaviest votes, the tokens computed."""
        votes = _vote_rows(self.vote_state.votes[:MAX_VOTES])
        return {
            "samples": self.samples,
            "votes": votes,
            "cost": {"tokens": self.tokens},
        }


class Step(NamedTuple):
    """What is sent next of the block at a `position` of the reply: that it begins, a further text, or that it ends.

    The block that ends has its whole text; the one that begins has none.
    """

    kind: Literal["begin", "text", "end"]
    block: ReplyBlock
    position: int


@dataclass(slots=True)
class BlockStream:
    """The blocks of one choice while they are streamed: a text comes in pieces, which make one block in a row."""

    progress: ReplyProgress = field(default_factory=ReplyProgress)
    _sent: defaultdict[tuple[BlockKind, int], list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _open: ReplyBlock | None = None
    """The last piece of the block that was begun and has not ended."""
    _position: int = -1

    def sent(self, kind: BlockKind, number: int = 0) -> str:
        """All text of a kind that was sent, or of a call; lines of progress are thinking."""
        return "".join(self._sent[kind, number])

    def add(self, piece: ReplyBlock) -> Iterator[Step]:
        """Send a further piece."""
        if not self._is_open(piece):
            yield from self._end()
            self._position += 1
            yield Step("begin", replace(piece, text="", tokens=()), self._position)
        self._open = piece
        if piece.text:
            self._sent[piece.key].append(piece.text)
            yield Step("text", piece, self._position)

    def rest(self, blocks: Iterable[ReplyBlock]) -> Iterator[Step]:
        """Send what was not sent yet of the whole reply. Where another text was sent, nothing is added to it."""
        for block in blocks:
            sent = self.sent(*block.key)
            rest = block.text[len(sent) :] if block.text.startswith(sent) else ""
            if rest or not sent or self._is_open(block):
                yield from self.add(replace(block, text=rest))
        yield from self._end()

    def _is_open(self, block: ReplyBlock) -> bool:
        return self._open is not None and self._open.key == block.key

    def _end(self) -> Iterator[Step]:
        if block := self._open:
            self._open = None
            yield Step(
                "end", replace(block, text=self.sent(*block.key)), self._position
            )


class Reply(ABC):
    """The reply to a request: `whole`, or as documents that the server sends one by one.

    Of a stream, `begin` is first; then `progress` receives the events of each choice, or `text` its text as it comes;
    `end` is last, or `fail`, and `last` closes it. `asked` is what is chosen by. `id` is random, after a `prefix`. Each
    form of replies `reads` its own requests.
    """

    reads: ClassVar[type[BaseModel]]
    prefix: ClassVar[str]
    last: ClassVar[bytes] = b""

    def __init__(self, request: Any, prices: Prices | None = None) -> None:
        self.asked: ChatRequest = request.chat
        self.id = f"{self.prefix}{secrets.token_hex(12)}"
        self.created = int(time.time())
        self._request = request
        self._prices = prices
        self._streams = defaultdict[int, BlockStream](BlockStream)

    @abstractmethod
    def whole(self, results: Sequence[Result]) -> Document:
        """The reply with all its choices, and the usage of all.

        Raises:
            ApiError: a question failed before it had any text.
        """

    @abstractmethod
    def begin(self, choices: int) -> Iterable[Document]:
        """What is sent before any text."""

    def progress(self, index: int, event: Event) -> Iterable[Document]:
        """A line about what happened, as thinking; nothing if there is no news."""
        line = self._streams[index].progress.line(event)
        return self._add(index, ReplyBlock("thinking", f"{line}\n" if line else ""))

    def text(self, index: int, piece: TextPiece) -> Iterable[Document]:
        """The next text of a choice, or of its thinking."""
        kind: BlockKind = "thinking" if piece.thinking else "text"
        return self._add(index, ReplyBlock(kind, valid_unicode(piece.text)))

    def _add(self, index: int, piece: ReplyBlock) -> Iterable[Document]:
        # Nothing does not begin a block.
        return self._said(index, self._streams[index].add(piece)) if piece.text else ()

    @abstractmethod
    def end(self, results: Sequence[Result]) -> Iterable[Document]:
        """What was not streamed yet of each choice, how it ended, and the usage of all. Raises as `whole`."""

    @abstractmethod
    def fail(self, error: ApiError) -> Iterable[Document]:
        """What is sent in place of the rest of a reply that failed."""

    @abstractmethod
    def _said(self, index: int, steps: Iterable[Step]) -> list[Document]:
        """The steps of a choice in this form."""

    def _noted(self, index: int, vendor: Document, content: str) -> Document:
        """The vendor object of a choice at the end of its stream; it says where another text was streamed."""
        if not content.startswith(self._streams[index].sent("text")):
            vendor["notes"].append(LOST)
        return vendor


def usage(cost: Cost) -> Document:
    """The tokens of all requests to all models, samples that were not chosen and cancelled ones included."""
    prompt = cost.prompt_tokens + cost.cached_tokens
    completion = cost.generated_tokens + cost.verifier_tokens + cost.cancelled_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cost.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": cost.thinking_tokens},
    }


def vendor_object(result: Result, prices: Prices | None = None) -> Document:
    """How an answer was reached: the field `reasoner` of a reply."""
    job, solution = result.job, result.solution
    votes, cost = solution.vote_state, solution.cost
    notes = [*job.notes, *solution.notes, solution.unrated, solution.cut.line()]
    notes += (
        [
            "there are no logprobs: the reply is not the text of one sequence with log-probabilities"
        ]
        if job.logprobs and not result.tokens
        else []
    )
    return {
        "strategy": public_spec(cast("Hashable", job.strategy)),
        "verifier": job.rated_by or None,
        "answer": _bounded(solution.answer.text) if solution.answer else None,
        "votes": _vote_rows(votes.votes),
        "samples": votes.samples,
        "confidence": solution.confidence,
        "ended_by": solution.ended_by,
        "reason": _bounded(
            api_error(solution.error).message if solution.error else solution.reason
        ),
        "cost": {name: getattr(cost, name) for name in COUNTED}
        | ({"usd": prices.usd(cost)} if prices else {}),
        "saved": saved(solution),
        "notes": list(dict.fromkeys(_bounded(note) for note in notes if note)),
        "trace": result.trace,
    }


@lru_cache(maxsize=256)
def public_spec(strategy: object) -> str:
    """The spec of a strategy with all options that say something, but those of the owner, which may name files."""
    return spec_of(
        strategy,
        lambda cls, option: not isinstance(marks_of(cls).get(option), OwnerOnly),
    )


def saved(solution: Solution) -> int | None:
    """How many samples of the full vote were not needed; None without such a vote."""
    whole = solution.vote_state.max_samples
    if not whole or solution.ended_by in ("budget", "error"):
        return None
    return max(0, whole - solution.cost.samples)


def _vote_rows(votes: Sequence[Vote]) -> list[Document]:
    return [
        {
            "answer": _bounded(vote.answer.text),
            "count": vote.count,
            "weight": vote.weight,
        }
        for vote in votes
    ]


def _bounded(text: str) -> str:
    """A text that a model may have written, at most `MAX_ANSWER` characters of it."""
    return clipped(valid_unicode(text), MAX_ANSWER)
