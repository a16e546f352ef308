"""Universal self-consistency, as a pure plan."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from reasoner import solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.strategy import Sample
from reasoner.types import SamplingParams
from reasoner_strategies import SelfConsistency
from reasoner_strategies.universal import Universal, named
from tests.helpers import completion, says
from tests.scripted import ScriptedEngine
from tests.strategies.judging import QUESTION, Judging, SearchTree, cut, judged, key_of, pool, texts_in

PARAMS = SamplingParams(temperature=0.4, max_tokens=99)


def course(keys: Sequence[str | None], judge: Judging, *, repeats: int = 1, characters: int = 24_000) -> SearchTree:
    drawn = pool(*keys)
    return judged(Universal(len(drawn), repeats, characters, PARAMS).plan(QUESTION), drawn, judge)


def names(place: int) -> str:
    return f"The most consistent response is Response {place + 1}"


def plurality(texts: list[str]) -> str:
    """What a perfect reader says: the first response whose answer is the most frequent; the earliest drawn at a tie."""
    counts = Counter(map(key_of, texts))
    first = {key: min(text.split(".")[0] for text in texts if key_of(text) == key) for key in counts}
    winner = min(counts, key=lambda key: (-counts[key], first[key]))
    return names(list(map(key_of, texts)).index(winner))


def test_it_shows_all_responses_with_an_answer_once_and_asks_greedily() -> None:
    drawn = pool("7", "8", None, "8")
    played = judged(Universal(4, params=PARAMS).plan(QUESTION), drawn, lambda _: names(0))
    first, second = played.samples
    assert first == Sample((QUESTION.prompt,), 4, PARAMS)
    assert second.params == SamplingParams(temperature=0, max_tokens=64)
    [texts] = played.asked
    assert sorted(texts) == sorted(one.text for one in drawn if one.text != "no idea")
    assert played.key == key_of(texts[0])


@pytest.mark.slow
def test_a_perfect_reader_makes_it_self_consistency() -> None:
    source = random.Random(1)
    for _ in range(200):
        keys = [source.choice("7789") for _ in range(source.randint(1, 9))]
        majority = solve_sync(QUESTION, SelfConsistency(len(keys)), ScriptedEngine(says(*keys))).answer
        assert majority is not None
        assert course(keys, plurality, repeats=source.randint(1, 3)).key == majority.key


def test_of_identical_responses_any_number_is_the_same_answer() -> None:
    drawn = tuple(completion(f"The answer is {key}", index=index) for index, key in enumerate("88887"))
    for place in range(5):
        played = judged(Universal(5).plan(QUESTION), drawn, lambda _, place=place: names(place))  # type: ignore[misc]
        assert played.key == key_of(played.asked[0][place])
    assert {key_of(text) for text in played.asked[0]} == {"7", "8"}


def test_with_one_class_nothing_is_asked() -> None:
    assert course(["8", "8", None], plurality).asked == []
    assert course(["8"], plurality).key == "8"
    assert course([None, None], plurality).key is None


def test_each_question_has_its_own_order_and_choices_add_up() -> None:
    played = course(["7", "8", "9", "9", "9", "9"], lambda texts: names(list(map(key_of, texts)).index("7")), repeats=4)
    assert played.key == "7"
    assert len(set(map(tuple, played.asked))) == 4
    assert course(["7", "8", "9", "9", "9", "9"], plurality, repeats=4).asked == played.asked
    votes = played.vote_states[-1].votes
    assert votes[0].weight == pytest.approx(4 + 1 / 7)
    assert votes[1].answer.key == "9"
    assert [vote_state.samples for vote_state in played.vote_states] == [6, 6]


def test_choices_of_different_responses_count_for_their_common_answer() -> None:
    turns = iter(["7", "8", "8"])
    taken: list[str] = []

    def judge(texts: list[str]) -> str:
        key = next(turns)
        text = next(text for text in texts if key_of(text) == key and text not in taken)
        taken.append(text)
        return names(texts.index(text))

    assert course(["7", "8", "8", "9", "9", "9"], judge, repeats=3).key == "8"
    assert len(taken) == 3


@pytest.mark.parametrize("reply", ["", "I cannot tell", names(-1), names(6), "Response 1 and 2 are alike", "1 or 2"])
def test_a_reply_that_names_no_response_leaves_the_majority(reply: str) -> None:
    assert course(["7", "8", "8"], lambda _: reply).key == "8"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (names(1), 1),
        ("The most consistent response is **Response 3**, as 1 and 2 are alone.", 2),
        ("the most consistent response is: 2.", 1),
        ("Response 2", 1),
        ("**3**", 2),
        (" 3\n", 2),
        ("The most consistent response is Response 4", None),
        ("The most consistent response is Response 0", None),
        ("3 responses agree", None),
        ("The most consistent response is Response -1", None),
        ("-1", None),
    ],
)
def test_what_a_reply_names(text: str, place: int | None) -> None:
    assert named(completion(text), 3) == place


def test_half_a_number_is_none() -> None:
    assert named(cut(completion(names(0))), 12) is None
    assert named(cut(completion(f"{names(0)}, because")), 12) == 0


def test_what_does_not_fit_is_left_out_whole() -> None:
    keys = ["7", "8", "9", "9", "9"]
    size = len("Thought 0. The answer is 7")
    for fitting in (2, 3, 4):
        played = course(keys, plurality, characters=fitting * size + size - 1, repeats=5)
        assert [len(texts) for texts in played.asked] == [fitting] * 5
        assert all(len(text) == size for texts in played.asked for text in texts)
    assert {tuple(sorted(texts)) for texts in course(keys, plurality, characters=2 * size, repeats=9).asked} >= {
        tuple(sorted(texts)) for texts in course(keys, plurality, characters=2 * size, repeats=1).asked
    }


def test_a_response_that_is_too_long_makes_room_for_those_that_fit() -> None:
    drawn = (completion("so " * 9000 + "The answer is 7", index=0), *pool(None, "8", "9")[1:])
    [texts] = judged(Universal(4).plan(QUESTION), drawn, lambda _: names(0)).asked
    assert sorted(map(key_of, texts)) == ["8", "9"]


def test_where_nothing_fits_the_majority_decides_and_nothing_is_asked() -> None:
    played = course(["7", "8", "8"], plurality, characters=10)
    assert (played.key, played.asked) == ("8", [])


def test_it_runs_on_an_engine() -> None:
    def script(request: SampleRequest) -> str:
        texts = texts_in(request.prompt)
        return plurality(texts) if texts else f"Thought {request.index}. The answer is {'878'[request.index]}"

    solution = solve_sync(QUESTION, Universal(3, repeats=2), ScriptedEngine(script))
    assert (solution.answer and solution.answer.key, solution.cost.samples) == ("8", 3 + 2)


@pytest.mark.parametrize("options", [{"n": 0}, {"repeats": 0}, {"max_characters": 0}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(UsageError, match=rf"{name} must be .* \(got {value}\)"):
        Universal(**options)  # type: ignore[arg-type]
