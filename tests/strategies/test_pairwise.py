"""Pairwise comparison by the model itself, as a pure plan."""

from collections import Counter

import pytest

from reasoner import solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.strategy import Propose, Sample
from reasoner.types import Completion, SamplingParams
from reasoner_strategies.pairwise import Pairwise
from tests.helpers import completion
from tests.scripted import ScriptedEngine
from tests.strategies.judging import QUESTION, Judging, cut, judged, key_of, pool, prefers, texts_in

PARAMS = SamplingParams(temperature=0.4, max_tokens=99)
FOUR = ("7", "8", "8", "9", "9", "9", "5")
"""Classes by votes: 9, 8, 7, 5."""


def plan_of(drawn: tuple[Completion, ...], comparisons: int = 2) -> Pairwise:
    return Pairwise(len(drawn), comparisons, PARAMS)


def chosen(keys: tuple[str | None, ...], judge: Judging, comparisons: int = 2) -> str | None:
    drawn = pool(*keys)
    return judged(plan_of(drawn, comparisons).plan(QUESTION), drawn, judge).key


def test_it_shows_the_question_and_the_first_of_each_class_in_both_orders() -> None:
    drawn = pool("7", "8", "8")
    course = judged(plan_of(drawn).plan(QUESTION), drawn, prefers("7", "8"))
    assert course.samples[0] == Sample((QUESTION.prompt,), 3, PARAMS)
    seven, eight = drawn[0].text, drawn[1].text
    assert course.asked == [[eight, seven], [seven, eight]]
    [message] = course.samples[1].prompts[0].messages
    assert message.content.startswith(QUESTION.prompt.messages[0].content)
    assert course.samples[1].params == PARAMS
    assert course.key == "7"
    assert [vote_state.leader and vote_state.leader.key for vote_state in course.vote_states] == ["8", "7"]
    assert [vote_state.samples for vote_state in course.vote_states] == [3, 3]


@pytest.mark.parametrize("place", ["A", "B"])
@pytest.mark.parametrize("comparisons", [2, 4])
def test_a_judge_that_goes_by_place_leaves_every_pair_at_exactly_half(place: str, comparisons: int) -> None:
    drawn, wins = pool(*FOUR), Counter[tuple[frozenset[str], str]]()

    def judge(texts: list[str]) -> str:
        wins[frozenset(map(key_of, texts)), key_of(texts["AB".index(place)])] += 1
        return f"Better: {place}"

    course = judged(plan_of(drawn, comparisons).plan(QUESTION), drawn, judge)
    assert len(wins) == 2 * 6
    assert set(wins.values()) == {comparisons / 2}
    assert course.key == "9"
    assert [vote.answer.key for vote in course.vote_states[-1].votes] == ["9", "8", "7", "5"]


def test_pairs_won_decide_over_votes() -> None:
    assert chosen(FOUR, prefers("5", "7", "8", "9")) == "5"
    drawn = pool(*FOUR)
    votes = judged(plan_of(drawn).plan(QUESTION), drawn, prefers("5", "7", "8", "9")).vote_states[-1].votes
    assert [vote.answer.key for vote in votes] == ["5", "7", "8", "9"]
    assert [vote.weight for vote in votes] == pytest.approx([3 + 1 / 8, 2 + 1 / 8, 1 + 2 / 8, 3 / 8])


def test_a_circle_of_wins_goes_by_votes() -> None:
    beats = {("7", "8"), ("8", "9"), ("9", "7")}

    def judge(texts: list[str]) -> str:
        a, b = map(key_of, texts)
        return f"Better: {'A' if (a, b) in beats else 'B'}"

    assert chosen(("7", "9", "8", "8"), judge) == "8"
    assert chosen(("7", "9", "8"), judge) == "7"


def test_every_pair_is_compared_so_often() -> None:
    for comparisons in (1, 2, 3, 5):
        drawn = pool(*FOUR)
        course = judged(plan_of(drawn, comparisons).plan(QUESTION), drawn, prefers("7", "8", "9", "5"))
        assert course.rounds == [comparisons * 6]
        assert course.key == "7"
        shown = Counter(tuple(map(key_of, texts)) for texts in course.asked)
        # What is left over from the swapping shows the one with more votes first.
        assert (shown["9", "7"], shown["7", "9"]) == (comparisons - comparisons // 2, comparisons // 2)


def test_the_majority_of_comparisons_decides_a_pair() -> None:
    replies = iter(["Better: B", "Better: B", "Better: B"])
    # In turn 8, 7 | 7, 8 | 8, 7 are shown, so 7 wins two of three.
    assert chosen(("7", "8", "8"), lambda _: next(replies), comparisons=3) == "7"


@pytest.mark.parametrize("keys", [("7",), ("7", "7", None), (None, None)])
def test_with_one_class_or_none_nothing_is_compared(keys: tuple[str | None, ...]) -> None:
    drawn = pool(*keys)
    course = judged(plan_of(drawn).plan(QUESTION), drawn, prefers())
    assert (course.asked, len(course.vote_states)) == ([], 1)
    assert course.key == keys[0]


@pytest.mark.parametrize("reply", ["", "Better: neither", "I choose the first", "Better: A or B"])
def test_a_reply_without_a_verdict_abstains(reply: str) -> None:
    assert chosen(("7", "8", "8"), lambda _: reply) == "8"


def test_cut_comparisons_abstain_and_cut_candidates_do_not_stand() -> None:
    drawn = (*pool("7", "8", "8"), cut(completion("The answer is 9", index=3)))
    plan = plan_of(drawn).plan(QUESTION)
    next(plan)
    assert isinstance(plan.send(drawn), Propose)
    op = plan.send(None)
    assert isinstance(op, Sample)
    replies = tuple(cut(completion(f"Better: {letter}", prompt=p)) for letter, p in zip("BA", op.prompts, strict=True))
    last = plan.send(replies)
    assert isinstance(last, Propose)
    assert (last.answer and last.answer.key, last.vote_state.samples) == ("8", 4)


def test_what_the_budget_lets_through_is_counted_for_its_own_pair() -> None:
    drawn = pool("7", "8", "8")
    plan = plan_of(drawn).plan(QUESTION)
    next(plan)
    plan.send(drawn)
    op = plan.send(None)
    assert isinstance(op, Sample)
    # Only the second was drawn, in which 7 is shown first.
    last = plan.send((completion("Better: A", prompt=op.prompts[1]),))
    assert isinstance(last, Propose)
    assert (last.answer and last.answer.key) == "7"


def test_long_candidates_are_shown_by_their_end() -> None:
    long = "so " * 5000
    drawn = (completion(f"{long}The answer is 7", index=0), *pool(None, "8", "8")[1:])
    [_, first] = judged(plan_of(drawn).plan(QUESTION), drawn, prefers("8", "7")).asked
    assert [len(text) for text in first] == [len("[...] ") + 4000, len(drawn[1].text)]
    assert first[0].endswith("The answer is 7")


def test_it_runs_on_an_engine() -> None:
    def script(request: SampleRequest) -> str:
        texts = texts_in(request.prompt)
        return prefers("7", "8", "9")(texts) if texts else f"The answer is {'889997'[request.index]}"

    solution = solve_sync(QUESTION, Pairwise(6), ScriptedEngine(script))
    assert (solution.answer and solution.answer.key, solution.cost.samples) == ("7", 6 + 2 * 3)


@pytest.mark.parametrize("options", [{"n": 0}, {"comparisons": 0}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(UsageError, match=rf"{name} must be .* \(got {value}\)"):
        Pairwise(**options)  # type: ignore[arg-type]
