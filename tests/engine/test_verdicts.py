"""The model's verdicts on answers and its probes, on real vLLM: every token in the ledger, replayed as they were."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from reasoner import Budget, Question, SamplingParams, Solution, solve, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.engines.vllm import VllmEngine
from reasoner.trace.events import AnswerExtracted, AnswersCompared, Event, Sampled
from reasoner.types import Completion, Usage
from reasoner_strategies import SelfConsistency
from tests.helpers import course, told, write_trace

FRUIT = Question.of("Name a fruit that grows on trees.", space="text:equal=model", id="fruit")
UNREAD = Question.of("Name a fruit that grows on trees.", space="number", id="unread")
VOTE = SelfConsistency(n=8, params=SamplingParams(temperature=1.0, max_tokens=64))

END_OF_TURN = 2
"""The token that ends a reply of the embedded model."""


class Counted:
    """An engine that keeps the usage of all its sequences."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine, self.usage = engine, list[Usage]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def sample(self, request: SampleRequest) -> Completion:
        completion = await self._engine.sample(request)
        self.usage.append(completion.usage)
        return completion

    @property
    def computed(self) -> int:
        return sum(usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens for usage in self.usage)


def run(question: Question, engine: Counted, events: list[Event]) -> Solution:
    plain: Any = engine
    return solve_sync(question, VOTE, plain, trace=events.append)


@pytest.mark.parametrize("question", [FRUIT, UNREAD], ids=lambda question: question.id)
def test_every_token_of_a_verdict_is_in_the_ledger_and_a_replay_repeats_it(
    question: Question, engine: VllmEngine, tmp_path: Path
) -> None:
    counted, events = Counted(engine), list[Event]()
    solution = run(question, counted, events)
    assert solution.error is None
    verdicts = [event for event in events if isinstance(event, AnswersCompared | AnswerExtracted)]
    assert verdicts
    assert {event.error for event in verdicts if isinstance(event, AnswerExtracted)} <= {""}
    assert solution.cost.tokens == counted.computed
    assert solution.cost.verifier_tokens == sum(event.cost.verifier_tokens for event in verdicts)
    assert all(event.cost.tokens > 0 for event in verdicts)
    # The chain is in the cache, but for its last block and the forced text.
    assert all(
        event.cost.cached_tokens > 0 and event.cost.prompt_tokens < 48
        for event in verdicts
        if isinstance(event, AnswerExtracted)
    )
    assert solution.cost.requests == len(counted.usage)
    assert told(events).taking(0) == solution.cost.taking(0)

    async def again() -> Solution:
        replay = ReplayEngine(str(write_trace(tmp_path / "t.jsonl", events)))
        await replay.start()
        return await solve(question, VOTE, replay)

    repeated = asyncio.run(again())
    assert repeated.error is None
    assert course(repeated) == course(solution)


def test_shortly_before_a_deadline_running_chains_end_and_are_probed(engine: VllmEngine) -> None:
    events: list[Event] = []
    endless = SelfConsistency(2, SamplingParams(max_tokens=1800, logit_bias=((END_OF_TURN, -100.0),)))
    question, counted = Question.of("What is 7 + 8?", space="number", id="timed"), Counted(engine)
    plain: Any = counted
    solution = solve_sync(question, endless, plain, trace=events.append, budget=Budget(seconds=8))
    drawn = [event for event in events if isinstance(event, Sampled)]
    assert [event.finish_reason for event in drawn] == ["abort"] * 2
    assert solution.cost.cancelled_tokens >= sum(event.usage.generated_tokens for event in drawn) > 0
    assert sum(isinstance(event, AnswerExtracted) for event in events) == 2
    assert told(events).taking(0) == solution.cost.taking(0)
    assert solution.ended_by == "budget"
