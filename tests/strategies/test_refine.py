"""Refine: when it stops, what the model is shown, and which version is the answer."""

from collections.abc import Sequence

import pytest

from reasoner import SamplingParams
from reasoner.strategy import Sample, Score
from reasoner.testing.support import completion, number_question
from reasoner.types import Completion, Message
from reasoner_strategies import Single
from reasoner_strategies.refine import Refine
from tests.strategies.driving import Course, follow, rating

QUESTION = number_question()
PARAMS = SamplingParams(temperature=0.4, max_tokens=99)
WRONG = "A slip in line 2.\nVerdict: wrong"


def refined(
    strategy: Refine | Single,
    versions: Sequence[str | Completion],
    *,
    review: str = WRONG,
    ratings: Sequence[float | None] = (),
) -> Course:
    """The course on these versions, "-" without an answer; each review says the same."""
    following, rated = iter(versions), iter(ratings)

    def reply(op: Sample | Score) -> object:
        if isinstance(op, Score):
            return (rating(next(rated)),)
        assert op.params == PARAMS
        if not op.answers:
            return (completion(review),)
        version = next(following)
        if isinstance(version, Completion):
            return (version,)
        return (
            completion("no idea" if version == "-" else f"The answer is {version}"),
        )

    return follow(strategy.plan(QUESTION), reply, Course())


def kinds(course: Course) -> list[str]:
    return ["version" if op.answers else "review" for op in course.samples]


@pytest.mark.parametrize("critic", ["self", "verifier"])
def test_no_round_is_a_single_sample(critic: str) -> None:
    course, single = (
        refined(Refine(0, critic, params=PARAMS), "7"),  # type: ignore[arg-type]
        refined(Single(PARAMS), "7"),
    )
    assert course == single


def test_a_review_ends_it_or_asks_for_another_version() -> None:
    content = refined(
        Refine(9, "self", params=PARAMS),
        "7",
        review="All steps hold.\nVerdict: correct",
    )
    assert (kinds(content), content.key) == (["version", "review"], "7")
    for rounds in (1, 2, 4):
        course = refined(Refine(rounds, "self", params=PARAMS), "7" * 5)
        assert kinds(course) == ["version", *["review", "version"] * rounds]


@pytest.mark.parametrize("critic", ["self", "verifier"])
@pytest.mark.parametrize(
    "version", ["-", completion("The answer is 7", finish="length")]
)
def test_a_version_without_an_answer_is_neither_rated_nor_final(
    critic: str, version: str | Completion
) -> None:
    strategy = Refine(1, critic, params=PARAMS)  # type: ignore[arg-type]
    course = refined(strategy, [version, "8"], review="Verdict: correct", ratings=[0.5])
    assert (kinds(course).count("version"), course.key) == (2, "8")


@pytest.mark.parametrize(
    ("rating", "versions"), [(0.79, 3), (0.8, 1), (1.0, 1), (None, 3)]
)
def test_a_rating_that_satisfies_ends_it(rating: float | None, versions: int) -> None:
    course = refined(Refine(2, "verifier", 0.8, PARAMS), "777", ratings=[rating] * 3)
    assert len(course.samples) == versions
    assert [len(score.candidates) for score in course.scores] == [1] * versions


@pytest.mark.parametrize(
    ("versions", "answer"), [("78", "8"), ("778", "8"), ("78-", "8"), ("787", "7")]
)
def test_a_self_review_answers_with_its_last_version(
    versions: str, answer: str
) -> None:
    course = refined(Refine(len(versions) - 1, "self", params=PARAMS), versions)
    assert course.key == answer
    assert [state.samples for state in course.vote_states] == [
        *range(1, len(versions) + 1)
    ]


@pytest.mark.parametrize(
    ("versions", "ratings", "answer"),
    [
        ("787", (0.5, 0.9, 0.5), "7"),
        ("877", (0.9, 0.1, 0.1), "8"),
        ("787", (None, 0.1, None), "8"),
        ("788", (None, None, None), "8"),
    ],
)
def test_a_verifier_chooses_the_class_of_the_highest_total(
    versions: str, ratings: Sequence[float | None], answer: str
) -> None:
    strategy = Refine(len(versions) - 1, "verifier", 1.0, PARAMS)
    course = refined(strategy, versions, ratings=ratings)
    assert (course.key, course.vote_states[-1].samples) == (answer, len(versions))


def test_a_review_sees_the_answer_and_a_revision_sees_both() -> None:
    version = completion(
        "The answer is 7", prompt=QUESTION.prompt.extended("So. ", (4,))
    )
    _, review, revision = refined(
        Refine(1, "self", params=PARAMS), [version, "8"]
    ).samples
    [head], [prompt], [longer] = (
        QUESTION.prompt.messages,
        review.prompts,
        revision.prompts,
    )
    assert prompt.messages[:2] == (head, Message("assistant", "So. The answer is 7"))
    assert "Verdict: correct" in prompt.messages[2].content
    assert longer.messages[:4] == (*prompt.messages, Message("assistant", WRONG))
    assert QUESTION.space.instruction in longer.messages[4].content
    assert (longer.text, longer.token_ids) == ("", ())
