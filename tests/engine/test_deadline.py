"""A deadline on real vLLM: it cancels running chains, and what they have cost is booked."""

from reasoner import Budget, Question, SamplingParams, solve_sync
from reasoner.engines.vllm import VllmEngine
from reasoner.testing.support import traced_cost
from reasoner.trace.events import Dropped, Event, Sampled
from reasoner_strategies import SelfConsistency

END_OF_TURN = 2
"""The token that ends a reply of the embedded model."""


def test_a_deadline_cancels_running_chains_and_books_what_they_have_cost(
    engine: VllmEngine,
) -> None:
    events: list[Event] = []
    endless = SelfConsistency(
        2, SamplingParams(max_tokens=1800, logit_bias=((END_OF_TURN, -100.0),))
    )
    question = Question.of("What is 7 + 8?", space="number", id="timed")
    solution = solve_sync(
        question, endless, engine, trace=events.append, budget=Budget(seconds=5)
    )
    assert [event.why for event in events if isinstance(event, Dropped)] == [
        "deadline"
    ] * 2
    assert not [event for event in events if isinstance(event, Sampled)]
    assert solution.cost.samples == 2
    assert solution.cost.cancelled_tokens == solution.cost.generated_tokens + sum(
        event.usage.generated_tokens
        for event in events
        if isinstance(event, Dropped) and event.usage
    )
    assert traced_cost(events).taking(0) == solution.cost.taking(0)
    assert solution.ended_by == "budget"
