"""Strategies end to end on real vLLM, rated by the head that comes along, within a budget."""

import pytest

from reasoner import Budget, solve_many_sync
from reasoner.engines.vllm import VllmEngine
from reasoner.registry import build
from reasoner.strategy import Strategy
from reasoner.testing.support import traced_cost
from reasoner.trace.events import Dropped, Event, Sampled, Scored
from reasoner_evals.tasks import arithmetic
from reasoner_verifiers import Prm

TOKENS = 700
SMALL = {
    "beam_search": "n=4,width=2,step_tokens=12,max_steps=6",
    "best_of_n": "n=4",
    "budget_forcing": "max_thinking=60,answer_tokens=20,waits=1",
    "gen_select": "n=4,repeats=2",
    "mcts": "simulations=6,k=2,step_tokens=12,max_steps=5",
    "refine": "rounds=1",
    "tree_of_thoughts": "b=2,k=2,n_eval=1,step_tokens=12,max_steps=4",
}
"""One of each way to use an engine; laws and golden runs hold what the others do."""


@pytest.mark.parametrize("name", sorted(SMALL))
def test_it_answers_within_its_budget_and_the_books_are_the_engine_s(
    name: str, engine: VllmEngine, prm: Prm
) -> None:
    chains = [] if name == "budget_forcing" else ["max_tokens=60"]
    strategy: Strategy = build(
        "strategy", f"{name}:{','.join([*filter(None, [SMALL[name]]), *chains])}"
    )
    items = arithmetic.Arithmetic("development").load().items[:2]
    events: list[Event] = []
    solutions = solve_many_sync(
        [item.question for item in items],
        strategy,
        engine,
        verifier=prm if strategy.uses_verifier else None,
        each=Budget(tokens=TOKENS),
        trace=events.append,
    )
    assert [solution.error for solution in solutions] == [None] * len(items)
    assert all(solution.cost.tokens <= TOKENS for solution in solutions)
    assert any(solution.answer for solution in solutions)
    total = sum(
        (solution.cost.taking(0) for solution in solutions[1:]),
        solutions[0].cost.taking(0),
    )
    assert traced_cost(events).taking(0) == total
    drawn = [event for event in events if isinstance(event, Sampled)]
    assert all(len(event.token_ids) == event.usage.generated_tokens for event in drawn)
    if strategy.uses_verifier:
        assert any(
            event.value is not None for event in events if isinstance(event, Scored)
        )
    assert all(
        event.why == "cancelled" for event in events if isinstance(event, Dropped)
    )
