"""Likelihood: what is weighed after which prompt, how values are normalised, and what the vote state says of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from reasoner import Answer, Prompt, Question, solve_sync
from reasoner.answers.choices import ChoiceSpace
from reasoner.errors import ReasonerError
from reasoner.strategy import (
    LogLikelihood,
    Operation,
    Plan,
    Prefill,
    Sample,
    TextLikelihood,
)
from reasoner.testing.support import completion, number_question, says
from reasoner_strategies import Likelihood
from tests.execution.known_likelihoods import Known, by_hand
from tests.strategies.driving import REFUSED, Course, follow

CHOICE = Question.of("Which is a fish?\n\nA) a cow\nB) a trout\nC) a bee")


Scales = Callable[[str], TextLikelihood | None]


def followed(
    plan: Plan[Answer | None],
    scales: Scales | ReasonerError,
    samples: Sequence[str] = (),
) -> Course:
    """Send a plan these samples, and what the scales say of each text."""

    def reply(op: Operation) -> object:
        match op:
            case Sample():
                return tuple(
                    completion(text, index=index) for index, text in enumerate(samples)
                )
            case Prefill():
                return op.prompt.extended(op.text, ())
            case LogLikelihood():
                return (
                    scales
                    if isinstance(scales, ReasonerError)
                    else tuple(map(scales, op.texts))
                )
        raise AssertionError(op)

    return follow(plan, reply, Course())


def chances(**of: float) -> Scales:
    """Scales on which each text, named without blanks, is one token of this probability; any other does not fit."""
    return listed(
        **{name: TextLikelihood(math.log(chance), 1) for name, chance in of.items()}
    )


def listed(**of: TextLikelihood) -> Scales:
    """Scales on which each text, named without blanks, weighs this, and any other does not fit."""
    return lambda text: of.get(text.replace(" ", ""))


def weights(course: Course) -> dict[str, float]:
    return {
        vote.answer.key: round(vote.weight, 6) for vote in course.vote_states[-1].votes
    }


# Options


def test_a_choice_is_answered_by_the_likeliest_label_and_nothing_is_drawn() -> None:
    course = followed(Likelihood().plan(CHOICE), chances(A=0.1, B=0.3, C=0.1))
    assert (course.samples, course.notes) == ([], [])
    [asked] = course.weighed
    assert asked.texts == (" A", " B", " C")
    assert (asked.prompt.messages, asked.prompt.text) == (
        CHOICE.prompt.messages,
        "The answer is",
    )
    assert course.answer == Answer("B", "B", "likelihood")
    assert weights(course) == {"B": 0.6, "A": 0.2, "C": 0.2}
    assert [vote.answer.key for vote in course.vote_states[-1].votes] == ["B", "A", "C"]
    assert course.vote_states[-1].samples == 0
    assert course.vote_states[-1].share == pytest.approx(0.6)


def test_the_text_of_an_option_may_be_weighed_and_the_label_is_still_the_answer() -> (
    None
):
    course = followed(
        Likelihood(score="text").plan(CHOICE),
        chances(acow=0.5, atrout=0.25, abee=0.125),
    )
    assert course.weighed[0].texts == (" a cow", " a trout", " a bee")
    assert course.answer == Answer("A", "A", "likelihood")


@pytest.mark.parametrize(
    ("normalize", "best"),
    [("none", "A"), ("tokens", "B"), ("characters", "C")],
)
def test_each_normalisation_has_its_own_winner(normalize: str, best: str) -> None:
    """By hand: -6, -8, -9; by tokens -3, -2, -3; by characters (5, 7, 20) -1.2, -1.14, -0.45."""
    question = Question.of(
        "Which?", space=ChoiceSpace(("a cow", "a trout", "a very long bee here"))
    )
    scales = listed(
        acow=TextLikelihood(-6.0, 2),
        atrout=TextLikelihood(-8.0, 4),
        averylongbeehere=TextLikelihood(-9.0, 3),
    )
    strategy = Likelihood(score="text", normalize=normalize)  # type: ignore[arg-type]
    assert (
        followed(strategy.plan(question), scales).answer or Answer("", "")
    ).key == best


def test_an_option_that_does_not_fit_weighs_nothing_and_is_noted() -> None:
    course = followed(Likelihood().plan(CHOICE), chances(A=0.1, C=0.1))
    # A tie goes to the first option.
    assert (course.key, weights(course)["B"], course.vote_states[-1].tied) == (
        "A",
        0.0,
        True,
    )
    assert course.notes == [
        "1 of 3 answers do not fit the context window and were left out"
    ]
    nothing = followed(Likelihood().plan(CHOICE), listed())
    assert (nothing.answer, nothing.vote_states) == (None, [])


# Questions without options


def test_elsewhere_the_answers_of_samples_are_the_candidates_one_a_class() -> None:
    samples = ["The answer is 7", "The answer is 7.0", "The answer is 8", "No idea"]
    course = followed(
        Likelihood(n=4).plan(number_question()),
        chances(**{"7": 0.1, "8": 0.3}),
        samples,
    )
    assert [(op.n, op.prompts) for op in course.samples] == [
        (4, (number_question().prompt,))
    ]
    assert course.weighed[0].texts == (" 7", " 8")
    majority, vote_state = course.vote_states
    assert (
        majority.leader and majority.leader.key,
        vote_state.leader and vote_state.leader.key,
    ) == ("7", "8")
    assert [(vote.count, round(vote.weight, 6)) for vote in vote_state.votes] == [
        (1, 0.75),
        (2, 0.25),
    ]
    assert vote_state.samples == 4


@pytest.mark.parametrize(
    "samples", [["The answer is 7", "The answer is 7"], ["No idea"]]
)
def test_with_fewer_than_two_candidates_nothing_is_weighed(samples: list[str]) -> None:
    course = followed(Likelihood().plan(number_question()), listed(), samples)
    assert course.weighed == []
    assert (course.answer is None) == (samples == ["No idea"])


def test_where_no_candidate_fits_and_where_the_budget_ends_the_majority_stands() -> (
    None
):
    samples = ["The answer is 7", "The answer is 7", "The answer is 8"]
    nothing = followed(Likelihood().plan(number_question()), listed(), samples)
    assert nothing.answer is not None
    assert (nothing.answer.key, len(nothing.vote_states)) == ("7", 1)
    refused = followed(Likelihood().plan(number_question()), REFUSED, samples)
    assert [one.leader.key for one in refused.vote_states if one.leader] == ["7"]


# With an engine


def test_the_vote_state_holds_the_probabilities_of_the_engine() -> None:
    engine = Known(says("7"))
    prompt = Prompt(raw="Which?")
    question = replace(
        Question.of("Which?", space=ChoiceSpace(("ab", "abc", "d"))), prompt=prompt
    )
    solution = solve_sync(question, Likelihood(score="text"), engine)
    before = tuple(engine.asked[0].rendered.token_ids or ())
    raw = {
        key: math.exp(by_hand((*before, 32), text))
        for key, text in zip("ABC", ("ab", "abc", "d"), strict=True)
    }
    shares = {vote.answer.key: vote.weight for vote in solution.vote_state.votes}
    assert shares == pytest.approx(
        {key: value / sum(raw.values()) for key, value in raw.items()}
    )
    assert solution.answer is not None
    assert solution.answer.key == max(raw, key=lambda key: raw[key])
    assert (solution.cost.samples, solution.cost.requests) == (0, 4)
