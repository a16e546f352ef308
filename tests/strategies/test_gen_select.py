"""GenSelect, as a pure plan."""

from collections import Counter
from collections.abc import Sequence

import pytest

from reasoner import solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.strategy import Sample
from reasoner.types import SamplingParams
from reasoner_strategies.gen_select import GenSelect
from tests.helpers import number_question
from tests.scripted import ScriptedEngine
from tests.strategies.judging import QUESTION, Judging, SearchTree, judged, key_of, pool, prefers, texts_in

PARAMS = SamplingParams(temperature=0.4, max_tokens=99)
MANY = [str(100 + key) for key in range(20)]


def course(keys: Sequence[str | None], judge: Judging, *, group: int = 8, repeats: int = 3) -> SearchTree:
    drawn = pool(*keys)
    return judged(GenSelect(len(drawn), group, repeats, PARAMS).plan(QUESTION), drawn, judge)


def best(*keys: str) -> Judging:
    """A judge with an order of preference; those not in it come last."""

    def judge(texts: list[str]) -> str:
        read = list(map(key_of, texts))
        key = next((key for key in keys if key in read), read[0])
        return f"Best: {read.index(key) + 1}"

    return judge


def test_all_classes_are_shown_in_several_orders() -> None:
    played = course(["7", "8", "8", "9", None], best("7"))
    assert played.samples[0] == Sample((QUESTION.prompt,), 5, PARAMS)
    assert played.samples[1].params == PARAMS
    assert played.rounds == [3]
    assert all(sorted(map(key_of, texts)) == ["7", "8", "9"] for texts in played.asked)
    assert played.key == "7"
    assert [vote_state.leader and vote_state.leader.key for vote_state in played.vote_states] == ["8", "7"]
    assert [vote_state.samples for vote_state in played.vote_states] == [5, 5]


def test_the_orders_are_the_same_for_the_same_question_only() -> None:
    def orders(id: str) -> list[list[str]]:
        question, drawn = number_question(id), pool(*MANY[:8])
        plan = GenSelect(8, 8, 4).plan(question)
        return judged(plan, drawn, best(), question=question).asked

    assert orders("q") == orders("q")
    assert orders("q") != orders("p")
    assert len(set(map(tuple, orders("q")))) == 4


def test_choices_are_counted_by_candidate_and_never_by_place() -> None:
    first = Counter[str]()

    def judge(texts: list[str]) -> str:
        first[key_of(texts[0])] += 1
        return "Best: 1"

    keys = MANY[:4]
    played = course(keys, judge, repeats=400)
    # A judge that goes by place is spread evenly: 100 each, and 4 s.e. are 35.
    assert set(first) == set(keys)
    assert all(abs(count - 100) < 35 for count in first.values())
    assert played.key == max(keys, key=lambda key: first[key])


def test_most_choices_win_and_ties_go_to_votes() -> None:
    def turns(*keys: str) -> Judging:
        wanted = iter(keys)
        return lambda texts: f"Best: {list(map(key_of, texts)).index(next(wanted)) + 1}"

    assert course(["7", "8", "9", "9"], turns("7", "8", "8")).key == "8"
    assert course(["7", "8", "9", "9", "8"], turns("7", "9", "8")).key == "8"
    assert course(["7", "8", "9", "9"], turns("7", "8"), repeats=2).key == "7"


@pytest.mark.parametrize("reply", ["", "Best: 0", "Best: 4", "Best: -1", "Best: 1 or 2", "the first one", "Best: 1.5x"])
def test_a_reply_that_names_none_of_them_abstains(reply: str) -> None:
    assert course(["7", "8", "8", "9"], lambda _: reply).key == "8"


def test_some_replies_are_enough() -> None:
    replies = iter(["no idea", "", "Best: 1"])
    played = course(["7", "8", "8", "9"], lambda _: next(replies))
    assert played.key == key_of(played.asked[2][0])


def test_more_than_a_group_makes_a_tournament() -> None:
    played = course(MANY, best("119"), group=4, repeats=2)
    # 20 in 5 groups of 4, 5 in groups of 3 and 2, then the last 2.
    assert [len(texts) for texts in played.asked] == [4] * 10 + [3, 3, 2, 2] + [2, 2]
    assert played.rounds == [10, 4, 2]
    assert played.key == "119"
    weights = {vote.answer.key: int(vote.weight) for vote in played.vote_states[-1].votes}
    assert weights["119"] == 3
    assert sorted(weights.values()) == [0] * 15 + [1] * 3 + [2] + [3]


def test_a_group_of_one_goes_on_unasked() -> None:
    played = course(MANY[:3], best("102"), group=2, repeats=1)
    assert [len(texts) for texts in played.asked] == [2, 2]
    assert played.key == "102"


def test_whoever_is_always_chosen_wins_whatever_the_groups() -> None:
    for group in (2, 3, 8, 16):
        for winner in MANY[::3]:
            assert course(MANY, best(winner), group=group, repeats=1).key == winner


@pytest.mark.parametrize("keys", [["7"], ["7", "7", None]])
def test_with_one_class_nothing_is_asked(keys: list[str | None]) -> None:
    played = course(keys, prefers())
    assert (played.key, played.asked) == ("7", [])


def test_it_runs_on_an_engine() -> None:
    def script(request: SampleRequest) -> str:
        texts = texts_in(request.prompt)
        return best("7")(texts) if texts else f"The answer is {'889997'[request.index]}"

    solution = solve_sync(QUESTION, GenSelect(6), ScriptedEngine(script))
    assert (solution.answer and solution.answer.key, solution.cost.samples) == ("7", 6 + 3)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n": 0}, "n must be .*got 0"),
        ({"group": 1}, "group must be .*got 1"),
        ({"group": 17}, "group must be from 2 to 16 .got"),
        ({"repeats": 0}, "repeats must be at least 1 .got"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        GenSelect(**options)  # type: ignore[arg-type]
