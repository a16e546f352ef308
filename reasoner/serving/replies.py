"""What a reply says of its solution besides its text: progress, usage, votes and cost."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, cast

from reasoner.budget import Cost, Prices
from reasoner.registry import spec_of
from reasoner.serving.choose import Job
from reasoner.serving.errors import api_error
from reasoner.solution import Solution
from reasoner.specs import OwnerOnly, marks_of
from reasoner.system.printing import clipped, counted, printable, valid_unicode
from reasoner.system.values import value
from reasoner.trace.events import Event, Proposed, Sampled, Scored, Work
from reasoner.trace.replies import completions_in
from reasoner.types import Completion, TokenIds, Vote, VoteState

Document = dict[str, Any]
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


def winner_of(solution: Solution) -> Completion | None:
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
    winner = winner_of(solution)
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
