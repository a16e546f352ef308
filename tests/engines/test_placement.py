"""Questions are spread over replicas, and each stays whole on one of them."""

from collections import Counter
from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from reasoner.engines.ray.placement import Placement


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
