"""Questions are spread over replicas, and each stays whole on one of them."""

import asyncio
from collections import Counter
from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

import reasoner.engines.ray.placement as module
from reasoner import Question, solve_many
from reasoner.engine import SampleRequest
from reasoner.engines.ray.placement import Placement
from reasoner_strategies import SelfConsistency
from tests.execution.one_question import PARAMS, TOKENS
from tests.helpers import number_question, says, turns
from tests.scripted import ScriptedEngine


@given(st.integers(1, 9), st.lists(st.tuples(st.sampled_from("orq"), st.integers(0, 20)), max_size=80))
def test_a_question_stays_and_a_new_one_goes_to_the_least_loaded(replicas: int, steps: list[tuple[str, int]]) -> None:
    """Against a plain count: o opens a question, q begins one of its requests, r releases it."""
    placement, places = Placement(replicas), dict[str, int]()
    loads = Counter[int]()
    with ExitStack() as requests:
        for step, number in steps:
            name = f"q{number}"
            if step == "r":
                placement.release(name)
                if name in places:
                    loads[places.pop(name)] -= 1
                continue
            place = placement.of(name) if step == "o" else requests.enter_context(placement.request(name))
            if name not in places:
                assert loads[place] == min(loads[each] for each in range(replicas))
                places[name] = place
                loads[place] += 1
            assert places[name] == place
            loads[place] += step == "q"


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("olb"), st.integers(0, 9)), max_size=80))
def test_a_lost_replica_gets_no_question_and_gives_up_those_it_has(replicas: int, steps: list[tuple[str, int]]) -> None:
    """Against a plain set: o opens a question, l loses a replica, b brings it back."""
    placement, lost = Placement(replicas), set[int]()
    for step, number in steps:
        if step == "o":
            place = placement.of(f"q{number}")
            assert place not in lost or len(lost) == replicas
            assert placement.of(f"q{number}") == place
        elif step == "l":
            placement.mark(number % replicas, answers=False)
            lost.add(number % replicas)
        else:
            placement.mark(number % replicas, answers=True)
            lost.discard(number % replicas)
        assert placement.lost == lost
        assert sum(placement._loads) == len(placement._replicas)


def test_memory_of_questions_that_nobody_releases_is_bounded() -> None:
    placement = Placement(2)
    for number in range(module.REMEMBERED + 10):
        placement.of(f"q{number}")
    assert len(placement._replicas) == module.REMEMBERED
    assert sum(placement._loads) == module.REMEMBERED


class Fleet(ScriptedEngine):
    """Replicas with little room in their caches."""

    def __init__(self, replicas: int) -> None:
        super().__init__(says("7"), pause=self._watch, capacity=2 * (TOKENS + 40) * 10 // 9)
        self.replicas = replicas
        self.placement = Placement(replicas)
        self.replica_of, self.release = self.placement.of, self.placement.release
        self.served: dict[str, set[int]] = {}
        self.in_flight, self.peak = Counter[int](), Counter[int]()

    async def _watch(self, request: SampleRequest) -> None:
        with self.placement.request(request.question_id) as place:
            self.served.setdefault(request.question_id, set()).add(place)
            self.in_flight[place] += 1
            self.peak[place] = max(self.peak[place], self.in_flight[place])
            await turns(3)
            self.in_flight[place] -= 1


def test_each_replica_has_a_cache_of_its_own_and_keeps_its_questions_whole() -> None:
    questions: list[Question | str] = [number_question(f"q{number}") for number in range(9)]
    alone, engine = Fleet(1), Fleet(3)
    asyncio.run(solve_many(questions[:3], SelfConsistency(4, PARAMS), alone))
    solutions = asyncio.run(solve_many(questions, SelfConsistency(4, PARAMS), engine))
    assert all(one.error is None and one.cost.samples == 4 for one in solutions)
    assert [len(places) for places in engine.served.values()] == [1] * 9
    assert Counter(place for [place] in engine.served.values()) == {0: 3, 1: 3, 2: 3}
    assert engine.peak == dict.fromkeys(range(3), alone.peak[0])
    assert alone.peak[0] < 12
    assert engine.placement._loads == [0, 0, 0]
