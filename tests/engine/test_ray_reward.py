"""The head that comes along as a verifier on a Ray replica of its own, beside the same head without Ray."""

import asyncio

from reasoner import Cost, SamplingParams, solve_many
from reasoner.engine import reset_caches
from reasoner.engines.vllm import VllmEngine
from reasoner.trace.events import Event, Scored
from reasoner_evals.tasks import arithmetic
from reasoner_strategies import BestOfN
from reasoner_verifiers import Orm
from reasoner_verifiers.ray import RayVerifier
from tests.helpers import course, timeless

GREEDY = BestOfN(2, params=SamplingParams(temperature=0, max_tokens=48))


async def rated(engine: VllmEngine, verifier: Orm | RayVerifier) -> tuple[list[object], list[tuple[object, ...]]]:
    """The courses of some questions, and all ratings with their costs."""
    events: list[Event] = []
    await verifier.start(engine)
    await reset_caches(engine, verifier)
    # One after another: what is in the prefix cache does not depend on the order in which requests arrive.
    questions = [item.question for item in arithmetic.development()[:6]]
    solutions = await solve_many(questions, GREEDY, engine, verifier=verifier, concurrency=1, trace=events.append)
    assert [one.error for one in solutions if one.error] == []
    ratings = [event for event in events if isinstance(event, Scored)]
    spent = sum((event.cost for event in ratings), Cost())
    assert sum(one.cost.verifier_tokens for one in solutions) == spent.verifier_tokens > 0
    return [course(one) for one in solutions], [
        (event.question_id, event.index, event.value, event.error, timeless(event.cost)) for event in ratings
    ]


def test_the_shipped_head_on_a_replica_rates_and_costs_what_it_does_beside_the_policy(
    engine: VllmEngine, orm: Orm
) -> None:
    async def both() -> None:
        on_ray = RayVerifier(Orm(), replicas=1, cpus=1)
        try:
            replicated = await rated(engine, on_ray)
        finally:
            await on_ray.close()
        assert replicated == await rated(engine, orm)
        assert len({value for _, _, value, *_ in replicated[1]}) > 3

    asyncio.run(both())
