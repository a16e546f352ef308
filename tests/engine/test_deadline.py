"""A deadline on real vLLM: running chains end before it, and are probed."""

from reasoner import Budget, Question, SamplingParams, solve_sync
from reasoner.engines.vllm import VllmEngine
from reasoner.testing.support import traced_cost
from reasoner.trace.events import AnswerExtracted, Event, Sampled
from reasoner_strategies import SelfConsistency

END_OF_TURN = 2
"""The token that ends a reply of the embedded model."""


def test_shortly_before_a_deadline_running_chains_end_and_are_probed(
    engine: VllmEngine,
) -> None:
    events: list[Event] = []
    endless = SelfConsistency(
        2, SamplingParams(max_tokens=1800, logit_bias=((END_OF_TURN, -100.0),))
    )
    question = Question.of("What is 7 + 8?", space="number", id="timed")
    solution = solve_sync(
        question, endless, engine, trace=events.append, budget=Budget(seconds=8)
    )
    drawn = [event for event in events if isinstance(event, Sampled)]
    assert [event.finish_reason for event in drawn] == ["abort"] * 2
    assert (
        solution.cost.cancelled_tokens
        >= sum(event.usage.generated_tokens for event in drawn)
        > 0
    )
    assert sum(isinstance(event, AnswerExtracted) for event in events) == 2
    assert traced_cost(events).taking(0) == solution.cost.taking(0)
    assert solution.ended_by == "budget"
