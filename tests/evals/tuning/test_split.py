"""Who races and who judges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers.questions import Question
from reasoner.errors import UsageError
from reasoner_evals.tasks.graders import GradedQuestion
from reasoner_evals.tuning.split import apart, judges, split

NAMES = st.lists(
    st.tuples(
        st.text(min_size=1, max_size=8), st.sampled_from(("", "a", "b", "c", "d"))
    ),
    max_size=60,
)


def items(names: list[tuple[str, str]]) -> list[GradedQuestion]:
    return [
        GradedQuestion(Question.of("1?", space="number", id=name), "1", group)
        for name, group in dict(names).items()
    ]


@given(NAMES, NAMES)
def test_no_question_changes_sides_or_its_order_when_others_are_added(
    names: list[tuple[str, str]], more: list[tuple[str, str]]
) -> None:
    some = items(names)
    many = some + [
        item
        for item in items(more)
        if item.question.id not in {each.question.id for each in some}
    ]
    try:
        few, whole = split(some), split(many)
    except UsageError:
        return
    for side in ("race", "judge"):
        before, after = (
            [item.question.id for item in getattr(each, side)] for each in (few, whole)
        )
        assert [name for name in after if name in set(before)] == before
    assert {item.group for item in whole.race if item.group}.isdisjoint(
        item.group for item in whole.judge
    )


def test_a_third_judges() -> None:
    asked = items([(f"question {number}", "") for number in range(9000)])
    assert abs(sum(map(judges, asked)) / 9000 - 1 / 3) < 0.02


def test_one_question_cannot_race_and_judge() -> None:
    with pytest.raises(UsageError, match="1 question cannot be divided"):
        split(items([("alone", "")]))


def test_a_judge_of_its_own_shares_no_question_and_no_group_with_the_race() -> None:
    race, judge = (
        [
            GradedQuestion(Question.of(f"{n}?", space="number", id="x"), "1", group)
            for n, group in side
        ]
        for side in ([(1, ""), (2, "a")], [(3, ""), (4, "b")])
    )
    sides = apart(race, judge)
    assert (set(sides.race), set(sides.judge)) == (set(race), set(judge))
    again = GradedQuestion(Question.of("1?", space="number", id="y"), "1", "")
    related = GradedQuestion(Question.of("5?", space="number", id="z"), "1", "a")
    with pytest.raises(UsageError, match="2 questions of --judge-on"):
        apart(race, [*judge, again, related])
