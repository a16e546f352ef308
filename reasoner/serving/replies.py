"""Replies of chats in OpenAI's form, made of solutions: whole, and as chunks of a stream."""

import secrets
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, ClassVar, Final, Literal, cast

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
from reasoner.types import Completion, TokenIds, Vote, VoteState

Document = dict[str, Any]
NOT_SURE: Final = "not sure"
"""The reply where the strategy abstains."""
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
_COUNTS: Final = attrgetter(*COUNTED)
LOST: Final = "lost: the sequence was drawn again after its text was streamed, so the text is not whole: ask again"

NO_TOKENS: Final = "there are no logprobs: the reply is not the text of one sequence with log-probabilities"


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
class ReplyText:
    """The reply of a solution: its text, its thinking, why it ended, the tools that it calls, and its tokens."""

    content: str
    thinking: str
    finish_reason: Literal["stop", "length", "tool_calls"]
    calls: tuple[ToolCall, ...] = ()
    tokens: Tokens = ()

    @property
    def logprobs(self) -> list[Document]:
        """The log-probabilities of the tokens in OpenAI's form."""
        return [
            {
                "token": text,
                "bytes": list(text.encode("utf-8", "replace")),
                "logprob": logprob,
                "top_logprobs": [],
            }
            for text, logprob in self.tokens
        ]

    @classmethod
    def of(cls, result: Result) -> "ReplyText":
        """The text of the winning completion; without an answer, that of the best there is.

        Thinking needs the solution's events. Where the job offers tools, the calls in the text are read.

        Raises:
            ApiError: the question failed before it had any text.
        """
        solution = result.solution
        if solution.error and not solution.text:
            raise api_error(solution.error)
        if solution.abstained:
            return cls(NOT_SURE, "", "stop")
        winner = _winner(solution)
        thinking = winner.prompt.thinking + winner.thinking if winner else ""
        cut = winner is not None and winner.finish_reason == "length"
        ended = solution.ended_by == "budget" and solution.answer is None
        answer = solution.answer.text if solution.answer else ""
        content, thinking = (
            valid_unicode(solution.text or answer),
            valid_unicode(thinking),
        )
        if (
            result.job.question.prompt.tools
            and not cut
            and (read := read_calls(content))
            and read.calls
        ):
            return cls(read.text, thinking, "tool_calls", read.calls)
        return cls(
            content,
            thinking,
            "length" if cut or ended else "stop",
            tokens=result.tokens,
        )


def _winner(solution: Solution) -> Completion | None:
    """The completion that has the solution's text: the first complete one, else the first."""
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


class ChatReply:
    """The reply to a request of /v1/chat/completions: `whole`, or as chunks that the server sends one by one.

    Of a stream, `begin` is first; then `progress` receives the events of each choice, or `text` its text as it comes;
    `end` is last, or `fail`. `id` is random. `asked` is what is chosen by.
    """

    reads: ClassVar[type[ChatRequest]] = ChatRequest
    last: ClassVar[bytes] = b"data: [DONE]\n\n"

    def __init__(self, asked: ChatRequest, prices: Prices | None = None) -> None:
        self.asked = asked
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self._prices = prices
        self._started: set[int] = set()
        self._progress: dict[int, ReplyProgress] = {}
        self._sent: dict[tuple[int, bool], list[str]] = {}
        """What was streamed of each choice: of its thinking, and of its content."""

    def whole(self, results: Sequence[Result]) -> Document:
        """The reply with all its choices, and the usage of all. Of several choices, each has its vendor object.

        Raises:
            ApiError: a question failed before it had any text.
        """
        choices = []
        for index, result in enumerate(results):
            text = ReplyText.of(result)
            message: Document = {
                "role": "assistant",
                "content": text.content,
                "refusal": None,
            }
            message |= _thinking(text.thinking)
            if text.calls:
                message |= {
                    "content": text.content or None,
                    "tool_calls": self._calls(index, text),
                }
            choice = {
                "index": index,
                "message": message,
                "logprobs": None,
                "finish_reason": text.finish_reason,
            }
            if text.tokens:
                choice["logprobs"] = {"content": text.logprobs, "refusal": None}
            choices.append(choice | {"reasoner": vendor_object(result, self._prices)})
        vendor = choices[0]["reasoner"]
        if len(choices) == 1:
            del choices[0]["reasoner"]
        return self._frame("chat.completion", choices) | {
            "usage": _usage_of(results),
            "reasoner": vendor,
        }

    def begin(self, choices: int) -> Iterable[Document]:
        """A first chunk of each choice, without text."""
        return [self._chunk(index, {"content": ""}) for index in range(choices)]

    def progress(self, index: int, event: Event) -> Iterable[Document]:
        """A line about what happened, as thinking, with the vendor object so far; nothing if there is no news."""
        progress = self._progress.setdefault(index, ReplyProgress())
        if line := progress.line(event):
            yield self._chunk(index, _thinking(f"{line}\n")) | {
                "reasoner": progress.report
            }

    def text(self, index: int, piece: TextPiece) -> Iterable[Document]:
        """The next text of a choice, or of its thinking."""
        text = valid_unicode(piece.text)
        self._sent.setdefault((index, piece.thinking), []).append(text)
        return self._pieces(index, text, thinking=piece.thinking)

    def end(self, results: Sequence[Result]) -> Iterable[Document]:
        """What was not streamed yet of each choice, how it ended, and the usage of all.

        Raises:
            ApiError: a question failed before it had any text.
        """
        chunks: list[Document] = []
        for index, result in enumerate(results):
            text, vendor = ReplyText.of(result), vendor_object(result, self._prices)
            thought, spoken = (
                "".join(self._sent.get((index, thinking), ()))
                for thinking in (True, False)
            )
            # Thinking that follows lines of progress would read as if it were one of them.
            if index not in self._progress:
                chunks += self._pieces(
                    index, _rest(text.thinking, thought), thinking=True
                )
            rest = self._pieces(index, _rest(text.content, spoken), thinking=False)
            if rest and text.tokens:
                rest[0]["choices"][0]["logprobs"] = {
                    "content": text.logprobs,
                    "refusal": None,
                }
            chunks += rest
            if text.calls:
                calls = [
                    {"index": number, **call}
                    for number, call in enumerate(self._calls(index, text))
                ]
                chunks.append(self._chunk(index, {"tool_calls": calls}))
            if not text.content.startswith(spoken):
                vendor["notes"].append(LOST)
            chunks.append(
                self._chunk(index, {}, text.finish_reason) | {"reasoner": vendor}
            )
        if self.asked.include_usage:
            chunks.append(
                self._frame("chat.completion.chunk", []) | {"usage": _usage_of(results)}
            )
        return chunks

    def fail(self, error: ApiError) -> Iterable[Document]:
        """What is sent in place of the rest of a reply that failed."""
        return (error.document(),)

    def _frame(self, kind: str, choices: list[Document]) -> Document:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.asked.model,
            "choices": choices,
        }

    def _chunk(
        self, index: int, delta: Document, finish_reason: str | None = None
    ) -> Document:
        # The first chunk of a choice names its role.
        if index not in self._started:
            self._started.add(index)
            delta = {"role": "assistant", **delta}
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        chunk = self._frame("chat.completion.chunk", [choice])
        # As in OpenAI's service: null in every chunk but the last.
        return {**chunk, "usage": None} if self.asked.include_usage else chunk

    def _pieces(self, index: int, text: str, *, thinking: bool) -> list[Document]:
        """The chunks of a text."""
        return (
            [self._chunk(index, _thinking(text) if thinking else {"content": text})]
            if text
            else []
        )

    def _calls(self, index: int, text: ReplyText) -> list[Document]:
        return [
            {
                "id": f"call_{self.id}_{index}_{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(text.calls)
        ]


def _rest(text: str, sent: str) -> str:
    """What of a text was not streamed yet; nothing if something else was."""
    return text[len(sent) :] if text.startswith(sent) else ""


def _thinking(text: str) -> dict[str, str]:
    """Thinking under both names that clients read; nothing without it."""
    return {"reasoning": text, "reasoning_content": text} if text else {}


def _usage_of(results: Sequence[Result]) -> Document:
    return usage(sum((result.solution.cost for result in results), Cost()))


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
    notes += [NO_TOKENS] if job.logprobs and not result.tokens else []
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
        "cost": dict(zip(COUNTED, _COUNTS(cost), strict=True))
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
