"""AB-MCTS: its tree by itself, its plan, and a world in which refining pays or does not."""

import itertools
import random
from collections.abc import Callable, Sequence

import pytest

from reasoner.strategy import Sample, Score
from reasoner.testing.support import completion, number_question
from reasoner.types import Completion, Message, Prompt
from reasoner_strategies.ab_mcts import (
    AbMcts,
    AnswerNode,
    AnswerTree,
    TreeArm,
    refinement,
)
from tests.strategies.driving import Course, follow, rating

QUESTION = number_question()


def arm(*ratings: float) -> TreeArm:
    made = TreeArm()
    for value in ratings:
        made.add(value)
    return made


# What is believed


def test_the_published_posterior() -> None:
    assert arm().posterior() == pytest.approx((0, 1, 1, 0.1))
    assert arm(0.8, 0.6).posterior() == pytest.approx(
        (0.46667, 3, 3, 0.14889), abs=1e-5
    )
    # Many equal ratings lose no precision.
    tau2 = (0.1 + 0.81 * 10_000 / 10_001) / 10_001
    assert arm(*[0.9] * 10_000).posterior() == pytest.approx(
        (9000 / 10_001, 10_001, 10_001, tau2), rel=1e-6
    )


def test_draws_have_the_posteriors_mean() -> None:
    rated, source = arm(*[0.2, 0.5, 0.8] * 10), random.Random(5)
    drawn = [rated.draw(source) for _ in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(15 / 31, abs=3 * 0.05 / 4000**0.5)


# The tree


def tree_of(
    ratings: Sequence[tuple[int, int | None, float]],
    order: Sequence[int],
) -> AnswerTree:
    """A tree whose generation `number` refined that of `under` (None the root), reported in some order."""
    tree = AnswerTree("q")
    nodes: dict[int | None, AnswerNode] = {None: tree.root}
    left = [ratings[at] for at in order]
    while left:
        for number, under, value in list(left):
            if under in nodes:
                tree._refined[number] = nodes[under]
                tree.report(number, value, completion(str(number)))
                nodes[number] = next(
                    one for one in nodes[under].children if one.number == number
                )
                left.remove((number, under, value))
    return tree


FAMILY = ((0, None, 0.3), (1, None, 0.9), (2, 0, 0.5), (3, 1, 0.7), (4, 3, 0.2))


def test_a_rating_counts_where_it_should() -> None:
    """For the node itself, its parent's GEN, and for CONT and the node at every ancestor."""
    tree = tree_of(FAMILY, range(5))
    first, second = tree.root.children
    [third] = second.children
    [last] = third.children
    assert repr(tree.root.generate) == repr(arm(0.3, 0.9))
    assert repr(tree.root.continue_) == repr(arm(0.5, 0.7, 0.2))
    assert repr(first.value) == repr(arm(0.3, 0.5))
    assert repr(second.value) == repr(arm(0.9, 0.7, 0.2))
    assert (repr(second.generate), repr(second.continue_)) == (
        repr(arm(0.7)),
        repr(arm(0.2)),
    )
    assert (repr(third.value), repr(third.generate), repr(third.continue_)) == (
        repr(arm(0.7, 0.2)),
        repr(arm(0.2)),
        repr(arm()),
    )
    assert repr(last.value) == repr(arm(0.2))


def test_the_order_of_ratings_does_not_change_what_is_generated() -> None:
    def asks(tree: AnswerTree) -> list[int]:
        return [tree.ask(number).number for number in range(10, 200)]

    plain = asks(tree_of(FAMILY, range(5)))
    assert len(set(plain)) >= 4
    for order in itertools.permutations(range(5)):
        assert asks(tree_of(FAMILY, order)) == plain


# What the model is asked


def node(text: str, value: float, prompt: Prompt = QUESTION.prompt) -> AnswerNode:
    return AnswerNode(0, AnswerNode(), value, completion(text, prompt=prompt))


def test_a_refinement_continues_from_the_answer_and_shows_its_rating() -> None:
    prompt = refinement(QUESTION, node("It is 8. The answer is 8", 0.257))
    *head, reply, wish = prompt.messages
    assert tuple(head) == QUESTION.prompt.messages
    assert reply == Message("assistant", "It is 8. The answer is 8")
    assert wish.role == "user"
    assert "0.26" in wish.content
    assert QUESTION.space.instruction in wish.content
    assert refinement(QUESTION, AnswerNode()) is QUESTION.prompt


# The plan


def drive(
    strategy: AbMcts,
    keys: Sequence[str | None],
    rate: Callable[[Completion], float | None],
) -> Course:
    """Run a plan on these answers over and over, each worded with its number."""
    drawn = 0

    def reply(op: Sample | Score) -> object:
        nonlocal drawn
        if isinstance(op, Score):
            return tuple(rating(rate(candidate)) for candidate in op.candidates)
        assert (op.n, len(op.prompts)) == (1, 1)
        key, drawn = keys[drawn % len(keys)], drawn + 1
        text = "no idea" if key is None else f"{drawn - 1}: the answer is {key}"
        return (completion(text, prompt=op.prompts[0]),)

    return follow(strategy.plan(QUESTION), reply, Course())


def number_of(one: Completion) -> int:
    return int(one.text.split(":")[0])


@pytest.mark.parametrize("concurrency", [1, 3])
def test_it_generates_n_answers_so_many_at_a_time(concurrency: int) -> None:
    course = drive(AbMcts(n=12, concurrency=concurrency), "7", lambda _: 0.5)
    assert (len(course.samples), course.most, course.vote_states[-1].samples) == (
        12,
        concurrency,
        12,
    )


def test_the_best_rated_is_the_answer() -> None:
    values, keys = [0.9, 0.5, 0.5, 0.1], ["7", "8", "8", None]
    assert (
        drive(AbMcts(n=4, concurrency=4), keys, lambda one: values[number_of(one)]).key
        == "7"
    )


def test_an_unrated_generation_is_no_node_and_votes_only_if_nothing_is_rated() -> None:
    some = drive(
        AbMcts(n=3, concurrency=3),
        "788",
        lambda one: 0.1 if number_of(one) == 0 else None,
    )
    assert some.key == "7"
    none = drive(AbMcts(n=9), "788", lambda _: None)
    assert (none.key, none.vote_states[-1].samples) == ("8", 9)
    assert {sample.prompts for sample in none.samples} == {(QUESTION.prompt,)}
