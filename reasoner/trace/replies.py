"""The completions of a question, read from the events of its trace."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reasoner.errors import TraceError
from reasoner.trace.events import AnswerExtracted, Event, Prefilled, Prompted, Sampled, Scored
from reasoner.types import Answer, Completion, Prompt


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion of a question, the answer read from it, and its last score; None where there is none.

    `score` is a verifier's rating, 0 to 1. Only complete replies have an answer.
    """

    completion: Completion
    answer: Answer | None
    score: float | None

    @property
    def text(self) -> str:
        """All that was generated since the question: earlier steps of the same chain, then this completion."""
        return self.completion.chain


def replies_in(events: Sequence[Event]) -> tuple[Reply, ...]:
    """Each completion with the answer and the last score that the events have for it.

    Raises:
        TraceError: the events begin after the prompt of a completion.
    """
    scores: dict[tuple[str, str, int], float] = {}
    for event in events:
        if isinstance(event, Scored) and event.against is None and event.value is not None:
            scores[event.question_id, event.prompt, event.index] = event.value

    def score(event: Sampled) -> float | None:
        return scores.get((event.question_id, event.prompt, event.index))

    completions = completions_in(with_extracted(events))
    return tuple(Reply(completion, event.answer, score(event)) for event, completion in completions)


def with_extracted(events: Sequence[Event]) -> Sequence[Event]:
    """The same events; a sequence whose answer the model extracted has that answer."""
    extracted = {
        (event.question_id, event.prompt, event.index): event.answer
        for event in events
        if isinstance(event, AnswerExtracted) and event.answer
    }
    if not extracted:
        return events

    def answered(event: Event) -> Event:
        if not isinstance(event, Sampled) or event.answer:
            return event
        answer = extracted.get((event.question_id, event.prompt, event.index))
        return event.model_copy(update={"answer": answer}) if answer else event

    return [*map(answered, events)]


def completions_in(events: Iterable[Event]) -> Iterator[tuple[Sampled, Completion]]:
    """Each generated sequence with its completion, whose prompt is rebuilt from the events before it.

    Raises:
        TraceError: a sequence comes before its prompt.
    """
    prompts: dict[tuple[str, str], Prompt] = {}
    for event in events:
        if isinstance(event, Prompted):
            level = event.thinking_level
            prompts[event.question_id, event.prompt] = Prompt(event.messages, event.raw, thinking_level=level)
        if isinstance(event, Prefilled) and (parent := prompts.get((event.question_id, event.prompt))):
            prompts[event.question_id, event.child] = parent.extended(
                event.text, event.token_ids or (), thinking=event.thinking
            )
        if not isinstance(event, Sampled):
            continue
        prompt = prompts.get((event.question_id, event.prompt))
        if prompt is None:
            raise TraceError(f"the trace holds sample {event.index} of {event.question_id} without its prompt")
        completion = event.completion(prompt)
        prompts[event.question_id, event.child] = prompt.then(completion)
        yield event, completion
