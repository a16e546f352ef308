"""AB-MCTS: its tree by itself, its plan, and a world in which refining pays or does not."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from math import isfinite
from statistics import NormalDist, fmean, pstdev, pvariance

import pytest

from reasoner.strategy import Sample, Score
from reasoner.testing import check_strategy
from reasoner.testing.support import completion, number_question
from reasoner.types import Completion, Message, Prompt
from reasoner_strategies._search.mixed_model import Ratings, draw_ratings
from reasoner_strategies.ab_mcts import (
    AbMcts,
    AnswerNode,
    AnswerTree,
    MemberChoice,
    TreeArm,
    gain,
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


GROUPS = (
    ([0.64], [0.8, 0.44], [0.44]),
    ([0.81], [0.59, 0.34, 0.08, 0.66, 0.69, 0.49], [0.55], [0.19], [0.83]),
    ([0.89, 0.85, 0.8, 0.69, 0.61, 0.68], [0.67, 0.83, 0.86], [0.65]),
)


@pytest.mark.parametrize(
    ("groups", "means", "deviations", "shares"),
    [
        (
            GROUPS[0],
            (0.572, 0.579, 0.520, 0.556),
            (0.282, 0.277, 0.288, 0.315),
            (0.261, 0.276, 0.205, 0.258),
        ),
        (
            GROUPS[1],
            (0.596, 0.499, 0.538, 0.447, 0.587, 0.530),
            (0.314, 0.292, 0.306, 0.311, 0.308, 0.328),
            (0.228, 0.124, 0.162, 0.104, 0.215, 0.167),
        ),
        (
            GROUPS[2],
            (0.744, 0.757, 0.702, 0.723),
            (0.136, 0.136, 0.151, 0.183),
            (0.264, 0.301, 0.182, 0.254),
        ),
    ],
)
def test_the_mixed_model_draws_what_treequest_draws(
    groups: Sequence[list[float]],
    means: Sequence[float],
    deviations: Sequence[float],
    shares: Sequence[float],
) -> None:
    """Means, deviations and how often each is the highest, by 4,000 draws of NUTS in treequest 0.3.3."""
    rated, source = (
        [
            Ratings(len(each), fmean(each), len(each) * pvariance(each))
            for each in groups
        ],
        random.Random(1),
    )
    drawn = [draw_ratings(rated, source) for _ in range(4000)]
    columns = list(zip(*drawn, strict=True))
    assert [fmean(column) for column in columns] == pytest.approx(means, abs=0.02)
    assert [pstdev(column) for column in columns] == pytest.approx(deviations, abs=0.02)
    best = Counter(row.index(max(row)) for row in drawn)
    assert [best[index] / len(drawn) for index in range(len(columns))] == pytest.approx(
        shares, abs=0.035
    )


def test_the_mixed_model_takes_many_equal_ratings() -> None:
    drawn = draw_ratings(
        [Ratings(1000, 1.0, 0.0), Ratings(1, 0.0, 0.0)], random.Random(1)
    )
    assert drawn[0] == pytest.approx(1.0, abs=0.02)
    assert all(map(isfinite, drawn))


# The tree


def tree_of(
    ratings: Sequence[tuple[int, int | None, float]],
    order: Sequence[int],
    *,
    mixed: bool = False,
) -> AnswerTree:
    """A tree whose generation `number` refined that of `under` (None the root), reported in some order."""
    tree = AnswerTree("q", mixed=mixed)
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


@pytest.mark.parametrize("mixed", [False, True])
def test_the_order_of_ratings_does_not_change_what_is_generated(mixed: bool) -> None:
    def asks(tree: AnswerTree) -> list[int]:
        return [tree.ask(number).number for number in range(10, 200)]

    plain = asks(tree_of(FAMILY, range(5), mixed=mixed))
    assert len(set(plain)) >= 4
    for order in itertools.permutations(range(5)):
        assert asks(tree_of(FAMILY, order, mixed=mixed)) == plain


def test_a_subtree_of_equal_ratings_is_left_alone_by_the_mixed_model() -> None:
    same = ((0, None, 0.9), (1, 0, 0.9), (2, 0, 0.9), (3, 0, 0.4))
    for ratings, left_alone in ((same, True), (same[:3], False)):
        tree = tree_of((*ratings, (4, None, 0.2)), range(len(ratings) + 1), mixed=True)
        assert (
            {tree.ask(number).number for number in range(10, 100)} <= {-1, 4}
        ) == left_alone


# Which member generates


@pytest.mark.parametrize(("mean", "best"), [(0.2, 0.5), (0.5, 0.5), (0.6, 0.3)])
def test_the_expected_gain_is_the_mean_excess(mean: float, best: float) -> None:
    law = NormalDist(mean, 0.1)
    drawn = law.samples(20_000, seed=1)
    assert gain(law, best) == pytest.approx(
        sum(max(each - best, 0) for each in drawn) / len(drawn), abs=0.003
    )
    assert gain(law, 1.0) == 0


def shares(
    prices: tuple[float, ...], order: Sequence[int], *, tokens: tuple[int, int] = (1, 1)
) -> list[int]:
    """How often two members are chosen; the second one earns more."""
    choice = MemberChoice("q", ("none",), prices)
    for number in order:
        second = number % 2
        choice._chosen[number] = second
        reply = completion("so", token_ids=(1,) * tokens[second])
        choice.report(number, 0.5 + 0.2 * second + 0.01 * (number % 3), reply)
    chosen = [choice.choose(number) for number in range(100, 400)]
    return [chosen.count("none"), chosen.count(None)]


def test_a_member_that_earns_more_generates_more_unless_it_costs_too_much() -> None:
    """In any order of the ratings; the price and the tokens of a generation multiply."""
    order = list(range(20))
    earns, equal, dear, long = (
        shares((), order),
        shares((1, 1), order),
        shares((1, 400), order),
        shares((1, 4), order, tokens=(1, 100)),
    )
    assert earns[1] > 0.9 * 300
    assert equal[1] > 0.7 * 300
    assert dear[0] > equal[0]
    assert long == dear
    assert shares((1, 400), order[::-1]) == dear


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


def test_levels_choose_among_the_members_and_one_that_never_answers_is_left() -> None:
    def reply(op: Sample | Score) -> object:
        if isinstance(op, Score):
            return (rating(0.6),)
        [prompt] = op.prompts
        return (
            completion(
                "no idea" if prompt.thinking_level == "none" else "the answer is 7",
                prompt=prompt,
            ),
        )

    course = follow(AbMcts(n=40, levels=("none",)).plan(QUESTION), reply, Course())
    levels = [one.prompts[0].thinking_level for one in course.samples]
    assert set(levels[:20]) == {"none", None}
    assert levels[20:].count(None) > 15


@pytest.mark.parametrize(
    "strategy",
    [
        AbMcts(n=6, levels=("none",)),
        AbMcts(n=6, levels=("none",), prices=(1.0, 4.0)),
        AbMcts(n=6, posterior="mixed"),
    ],
)
def test_every_choice_keeps_the_laws_of_strategies(strategy: AbMcts) -> None:
    check_strategy(strategy)
