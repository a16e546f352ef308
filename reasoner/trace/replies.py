"""The completions of a question, read from the events of its trace."""

from collections.abc import Sequence

from reasoner.solution import Reply
from reasoner.trace.events import Event, Sampled, Scored, completions_in


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

    return tuple(Reply(completion, event.answer, score(event)) for event, completion in completions_in(events))
