"""Revise, as a pure plan and on its engine."""

from dataclasses import replace

import pytest

from reasoner import Cost
from reasoner.strategy import Sample, Score
from reasoner.types import Completion, Rating, SamplingParams
from reasoner_strategies.revise import Revise, revision
from tests.helpers import completion, number_question
from tests.strategies.driving import REFUSED, Course, follow

QUESTION = number_question()
PARAMS = SamplingParams(temperature=0.4, max_tokens=99)


def says(key: str, index: int = 0) -> Completion:
    return completion(f"The answer is {key}", index=index, prompt=QUESTION.prompt)


def turns(attempts: list[Completion]) -> list[str]:
    return [message.content for message in revision(QUESTION, attempts).messages]


def test_a_revision_sees_the_last_four_attempts_of_its_chain_in_order() -> None:
    attempts = [says(str(key)) for key in range(1, 7)]
    for number in range(1, 7):
        prompt = revision(QUESTION, attempts[:number])
        assert prompt.messages[0] == QUESTION.prompt.messages[0]
        shown = [message.content for message in prompt.messages if message.role == "assistant"]
        assert shown == [one.text for one in attempts[max(0, number - 4) : number]]
        assert f"as attempt {number + 1}. {QUESTION.space.instruction}" in prompt.messages[-1].content
    assert turns([completion("so " * 9000)])[1].startswith("[...] ")
    # Equal attempts at different places are different prompts, so each has a seed of its own.
    assert len({revision(QUESTION, [says("7")] * number).digest for number in range(1, 9)}) == 8


def test_a_chain_continues_as_soon_as_its_last_attempt_is_there() -> None:
    """Chain 2 ends while chain 1 has not moved, and what is refused then loses nothing."""
    drawn = iter("89")

    def reply(op: Sample) -> object:
        return REFUSED if op.branch == 0 else (replace(says(next(drawn)), prompt=op.prompts[0]),)

    course = follow(Revise(2, 1, "majority", PARAMS).plan(QUESTION), reply, Course(), which=lambda running: -1)
    second = (revision(QUESTION, [says("8")]),)
    assert [(op.prompts, op.branch) for op in course.samples] == [
        ((QUESTION.prompt,), 0),
        ((QUESTION.prompt,), 1),
        (second, 1),
    ]
    assert [(state.leader and state.leader.key, state.samples) for state in course.vote_states] == [("8", 1), ("8", 2)]
    assert course.key == "8"


@pytest.mark.parametrize(
    ("selector", "values", "chosen"),
    [
        ("weighted", (0.9, 0.5, 0.5), "8"),
        ("argmax", (0.9, 0.5, 0.5), "7"),
        ("weighted", (0.3, None, None), "7"),
        ("argmax", (None, None, 0.1), "8"),
        ("weighted", (None, None, None), "8"),
    ],
)
def test_the_verifier_selects_among_all_attempts(selector: str, values: tuple[float | None, ...], chosen: str) -> None:
    keys = iter("788")

    def reply(op: Sample | Score) -> object:
        if isinstance(op, Sample):
            return (says(next(keys), op.branch),)
        return tuple(Rating(value, Cost(), error="" if value is not None else "broken") for value in values)

    course = follow(Revise(3, 0, selector, PARAMS).plan(QUESTION), reply, Course())  # type: ignore[arg-type]
    assert [len(score.candidates) for score in course.scores] == [3]
    assert (course.key, course.vote_states[-1].samples) == (chosen, 3)
