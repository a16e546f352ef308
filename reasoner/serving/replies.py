"""Replies in OpenAI's forms, made of solutions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from reasoner.answers.tool_calls import ToolCall, read_calls
from reasoner.budget import Cost, Prices
from reasoner.serving.calls import call_objects
from reasoner.serving.choice import Job, Offer
from reasoner.serving.errors import api_error, valid_text
from reasoner.serving.specs import public_spec
from reasoner.solution import Solution
from reasoner.types import Completion, Vote

Result = tuple[Job, Solution]
"""A job and how it ended."""
NOT_SURE: Final = "not sure"
"""The reply where the strategy abstains."""
MAX_ANSWER: Final = 500
"""Characters of an answer in the list of votes, and of a reason."""


@dataclass(frozen=True, slots=True)
class Text:
    """The reply of a solution: its text, its thinking, why it ended, and the tools that it calls."""

    content: str
    thinking: str
    finish_reason: Literal["stop", "length", "tool_calls"]
    calls: tuple[ToolCall, ...] = ()

    @classmethod
    def of(cls, job: Job, solution: Solution) -> "Text":
        """The text of the winning completion; without an answer, that of the best there is.

        Thinking needs the solution's events. Where the job offers tools, the calls in the text are read.

        Raises:
            ApiError: the question failed before it had any text.
        """
        if solution.error and not solution.text:
            raise api_error(solution.error)
        if solution.abstained:
            return cls(NOT_SURE, "", "stop")
        winner = _winner(solution)
        thinking = winner.prompt.thinking + winner.thinking if winner else ""
        cut = winner is not None and winner.finish_reason == "length"
        ended = solution.ended_by == "budget" and solution.answer is None
        answer = solution.answer.text if solution.answer else ""
        content, thinking = valid_text(solution.text or answer), valid_text(thinking)
        if job.question.prompt.tools and not cut and (read := read_calls(content)) and read.calls:
            return cls(read.text, thinking, "tool_calls", read.calls)
        return cls(content, thinking, "length" if cut or ended else "stop")

    def message(self, *, id: str) -> dict[str, Any]:
        """The reply as a message of a chat; `id` is that of the reply."""
        message = {"role": "assistant", "content": self.content, "refusal": None, **thinking_fields(self.thinking)}
        if not self.calls:
            return message
        return {**message, "content": self.content or None, "tool_calls": call_objects(self.calls, prefix=id)}


def _winner(solution: Solution) -> Completion | None:
    """The completion whose text is the solution's: the first that is complete, else the first."""
    same = [reply.completion for reply in solution.samples if reply.text == solution.text]
    return min(same, key=lambda completion: completion.truncated, default=None)


def chat_completion(
    results: Sequence[Result],
    *,
    id: str,
    created: int,
    prices: Prices | None = None,
    traces: Sequence[str | None] = (),
) -> dict[str, Any]:
    """A reply of /v1/chat/completions. `traces` are the ids of the traces of the jobs, if they are kept.

    The vendor object of the first choice is the reply's field `reasoner`; of several choices each has its own.

    Raises:
        ApiError: a question failed before it had any text.
    """

    def message(index: int, text: Text) -> dict[str, Any]:
        return {"message": text.message(id=f"{id}_{index}")}

    return _whole("chat.completion", results, message, id=id, created=created, prices=prices, traces=traces)


def text_completion(
    results: Sequence[Result],
    *,
    id: str,
    created: int,
    prices: Prices | None = None,
    traces: Sequence[str | None] = (),
) -> dict[str, Any]:
    """A reply of /v1/completions, with the fields and errors of `chat_completion`."""

    def content(_index: int, text: Text) -> dict[str, Any]:
        return {"text": text.content}

    return _whole("text_completion", results, content, id=id, created=created, prices=prices, traces=traces)


def _whole(
    kind: str,
    results: Sequence[Result],
    part: Callable[[int, Text], dict[str, Any]],
    *,
    id: str,
    created: int,
    prices: Prices | None,
    traces: Sequence[str | None],
) -> dict[str, Any]:
    """A reply with all its choices, which hold the `part` of their text, and with the usage of all."""
    texts = [Text.of(job, solution) for job, solution in results]
    vendors = [
        vendor_object(job, solution, prices=prices, trace=trace_of(traces, index))
        for index, (job, solution) in enumerate(results)
    ]
    choices = [
        {"index": index, **part(index, text), "logprobs": None, "finish_reason": text.finish_reason}
        | ({"reasoner": vendors[index]} if len(results) > 1 else {})
        for index, text in enumerate(texts)
    ]
    return {
        "id": id,
        "object": kind,
        "created": created,
        "model": results[0][0].model,
        "choices": choices,
        "usage": usage([solution.cost for _, solution in results]),
        "reasoner": vendors[0],
    }


def trace_of(traces: Sequence[str | None], index: int) -> str | None:
    """The id of the trace of a job; None if it is not kept."""
    return traces[index] if index < len(traces) else None


def thinking_fields(thinking: str) -> dict[str, str]:
    """Thinking under both names that clients read; nothing without it."""
    return {"reasoning": thinking, "reasoning_content": thinking} if thinking else {}


def usage(costs: Sequence[Cost]) -> dict[str, Any]:
    """The tokens of all requests to all models, samples that were not chosen and cancelled ones included."""
    cost = sum(costs, Cost())
    prompt = cost.prompt_tokens + cost.cached_tokens
    completion = cost.generated_tokens + cost.verifier_tokens + cost.cancelled_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cost.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": cost.thinking_tokens},
    }


def vendor_object(
    job: Job, solution: Solution, *, prices: Prices | None = None, trace: str | None = None
) -> dict[str, Any]:
    """How an answer was reached: the field `reasoner` of a reply."""
    votes, cost = solution.vote_state, solution.cost
    notes = [*job.notes, *solution.notes, solution.unrated, solution.cut.line()]
    priced = {"usd": prices.usd(cost)} if prices else {}
    return {
        "strategy": public_spec(job.strategy),
        "verifier": job.rated_by or None,
        "answer": bounded(solution.answer.text) if solution.answer else None,
        "votes": vote_rows(votes.votes),
        "samples": votes.samples,
        "confidence": solution.confidence,
        "ended_by": solution.ended_by,
        "reason": bounded(api_error(solution.error).message if solution.error else solution.reason),
        "cost": {
            "tokens": cost.tokens,
            "prompt_tokens": cost.prompt_tokens,
            "cached_tokens": cost.cached_tokens,
            "generated_tokens": cost.generated_tokens,
            "verifier_tokens": cost.verifier_tokens,
            "cancelled_tokens": cost.cancelled_tokens,
            "thinking_tokens": cost.thinking_tokens,
            "requests": cost.requests,
            "samples": cost.samples,
            "seconds": cost.seconds,
            **priced,
        },
        "saved": saved(solution),
        "notes": list(dict.fromkeys(bounded(note) for note in notes if note)),
        "trace": trace,
    }


def saved(solution: Solution) -> int | None:
    """How many samples of the full vote were not drawn, as it was decided without them; None without such a vote."""
    whole = solution.vote_state.max_samples
    if not whole or solution.ended_by in ("budget", "error"):
        return None
    return max(0, whole - solution.cost.samples)


def vote_rows(votes: Sequence[Vote]) -> list[dict[str, Any]]:
    """Votes as they are in the vendor object."""
    return [{"answer": bounded(vote.answer.text), "count": vote.count, "weight": vote.weight} for vote in votes]


def bounded(text: str) -> str:
    """A text that a model may have written, at most `MAX_ANSWER` characters of it."""
    text = valid_text(text)
    return text if len(text) <= MAX_ANSWER else text[: MAX_ANSWER - 1] + "…"


def model_list(offer: Offer, *, created: int) -> dict[str, Any]:
    """The reply of /v1/models: the model, and one entry for each alias."""
    return {
        "object": "list",
        "data": [model_entry(name, text, created=created) for name, text in offer.models.items()],
    }


def model_entry(name: str, description: str, *, created: int) -> dict[str, Any]:
    """One model of /v1/models."""
    return {"id": name, "object": "model", "created": created, "owned_by": "reasoner", "description": description}
