"""Very many samples: launched as there is room, the same ones in the same order as if all were started at once."""

import asyncio
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from reasoner import Answer, Budget, Question, SamplingParams, Solution, solve
from reasoner.engine import RenderedPrompt, SampleRequest
from reasoner.errors import PlanError, UsageError
from reasoner.execution.launching import MAX_IN_FLIGHT
from reasoner.strategy import (
    MAX_SAMPLES,
    Handle,
    Plan,
    Sample,
    Score,
    Start,
    cancel,
    count_votes,
    next_finished,
    propose,
    sample,
    start,
)
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import (
    Judge,
    books,
    meter_of,
    number_question,
    says,
    turns,
    varied,
)
from reasoner.types import Completion, Prompt
from reasoner.voting import Tally
from reasoner_strategies import BestOfN, SelfConsistency
from tests.execution.one_question import PARAMS, PROMPT, QUESTION, REPLY, TOKENS, Run

SHORT = SamplingParams(max_tokens=40)


def counting(made: list[str]) -> Callable[..., Any]:
    """A task factory that writes down what was made."""

    def factory(
        loop: asyncio.AbstractEventLoop, work: Any, **options: Any
    ) -> asyncio.Task[Any]:
        made.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **options)

    return factory


def solved(
    strategy: Any, engine: ScriptedEngine, **options: Any
) -> tuple[Solution, int]:
    """The solution, and how many tasks it took."""
    made: list[str] = []

    async def test() -> Solution:
        asyncio.get_running_loop().set_task_factory(counting(made))
        return await solve(QUESTION, strategy, engine, **options)

    return asyncio.run(test()), len(made)


# As many as the budget pays for


@pytest.mark.parametrize("n", [1000, MAX_SAMPLES])
@pytest.mark.parametrize("strategy", [SelfConsistency, BestOfN])
def test_no_more_is_started_than_the_budget_pays_for(strategy: Any, n: int) -> None:
    engine, judge = ScriptedEngine(varied), Judge()
    solution, tasks = solved(
        strategy(n, params=SHORT), engine, budget=Budget(tokens=3000), verifier=judge
    )
    few, _ = solved(
        strategy(300, params=SHORT),
        ScriptedEngine(varied),
        budget=Budget(tokens=3000),
        verifier=judge,
    )
    assert (solution.error, solution.ended_by) == (None, "budget")
    assert tasks < 1500
    assert (solution.answer, solution.cost.taking(0)) == (
        few.answer,
        few.cost.taking(0),
    )
    assert solution.vote_state.votes == few.vote_state.votes
    assert books(solution.cost) == meter_of(engine)


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy",
    [
        SelfConsistency(MAX_SAMPLES),
        BestOfN(MAX_SAMPLES),
        SelfConsistency(MAX_SAMPLES, of=SelfConsistency(3)),
    ],
)
def test_memory_does_not_grow_with_what_is_asked_for(strategy: Any) -> None:
    engine = ScriptedEngine(says("7"))
    solved(strategy, engine, budget=Budget(tokens=100), verifier=Judge())
    tracemalloc.start()
    solution, _ = solved(strategy, engine, budget=Budget(tokens=1500), verifier=Judge())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert solution.answer is not None
    assert peak < 12e6


class Counted(ScriptedEngine):
    """An engine that counts what is in flight."""

    inside = max_samples = 0

    async def sample(self, request: SampleRequest) -> Completion:
        self.inside += 1
        self.max_samples = max(self.max_samples, self.inside)
        try:
            return await ScriptedEngine.sample(self, request)
        finally:
            self.inside -= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", [SelfConsistency(1100, SHORT), BestOfN(1100, params=SHORT)]
)
def test_without_a_budget_no_more_are_in_flight_than_an_engine_computes(
    strategy: Any,
) -> None:
    async def pause(request: SampleRequest) -> None:
        await turns(100)

    engine = Counted(says("7"), pause=pause)
    solution, _ = solved(strategy, engine, verifier=Judge(lambda _: 0.5))
    assert (solution.cost.samples, engine.max_samples) == (1100, MAX_IN_FLIGHT)


# The same as all at once


def test_a_refused_prompt_does_not_block_another() -> None:
    drawn: list[Completion] = []

    def plan(question: Question) -> Plan[Answer | None]:
        [first] = yield from sample(question.prompt, params=PARAMS)
        longer = question.prompt.then(first)
        yield from propose(None, (yield from count_votes(Tally(question.space))))
        drawn.extend((yield Sample((longer, question.prompt), 200, PARAMS)))
        return None

    # What is left is too little for a useful sample from the longer prompt.
    Run(plan, budget=Budget(tokens=2 * TOKENS + REPLY + 16))
    assert [one.prompt for one in drawn] == [PROMPT]


def test_where_no_sample_is_left_no_other_prompt_is_looked_at() -> None:
    class Rendering(ScriptedEngine):
        rendered = 0

        async def render(self, prompt: Prompt) -> RenderedPrompt:
            self.rendered += 1
            return await ScriptedEngine.render(self, prompt)

    drawn: list[Completion] = []

    def plan(question: Question) -> Plan[Answer | None]:
        drawn.extend(
            (
                yield Sample(
                    tuple(map(Prompt.chat, map(str, range(3 * MAX_IN_FLIGHT)))),
                    1,
                    PARAMS,
                )
            )
        )
        return None

    engine = Rendering(says("7"))
    run = Run(plan, engine, budget=Budget(samples=5))
    assert (len(drawn), run.solution.cost.samples, run.solution.ended_by) == (
        5,
        5,
        "budget",
    )
    assert engine.rendered <= MAX_IN_FLIGHT + 5


def test_samples_cancelled_before_their_launch_are_not_drawn() -> None:
    async def pause(request: SampleRequest) -> None:
        await turns(5)

    seen: list[int] = []

    def plan(question: Question) -> Plan[Answer | None]:
        first = yield from start(Sample((question.prompt,), params=PARAMS), times=300)
        for place in (150, 155, 299, 280):
            yield from cancel(Handle(first + place))
        for _ in range(296):
            finished = yield from next_finished()
            seen.append(finished.handle - first)
        with pytest.raises(PlanError, match="has started nothing"):
            yield from next_finished()
        return None

    run = Run(plan, ScriptedEngine(says("7"), pause=pause))
    assert run.error is None
    assert sorted(seen) == sorted(set(range(300)) - {150, 155, 299, 280})
    assert run.solution.cost.samples == 296


# Bounds


def test_only_samples_of_one_prompt_start_several_at_once() -> None:
    for op in (Sample((PROMPT, PROMPT)), Score(number_question(), ())):
        with pytest.raises(
            UsageError,
            match="times=2 is for samples of one prompt: start other operations one by one",
        ):
            Start(op, times=2)
