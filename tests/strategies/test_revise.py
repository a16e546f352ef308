"""Revise, as a pure plan and on its engine."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from reasoner import Cost, solve_sync
from reasoner.engine import SampleRequest
from reasoner.strategy import Sample, Score
from reasoner.types import Completion, Rating, SamplingParams
from reasoner_strategies.revise import Revise, revision
from tests.helpers import completion, number_question
from tests.scripted import ScriptedEngine
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


def chance(seen: tuple[bool, ...]) -> float:
    """How likely an attempt is right, given those that it sees."""
    return 0.9 if any(seen) else 0.5 if seen else 0.1


def exact(chains: int, revisions: int) -> float:
    """How likely the majority is right, by enumeration; at a tie the first attempt decides."""
    attempts, total = chains * (revisions + 1), 0.0
    for right in itertools.product((True, False), repeat=attempts):
        likely = 1.0
        for at, one in enumerate(right):
            turn = at % (revisions + 1)
            p = chance(right[at - min(turn, 4) : at])
            likely *= p if one else 1 - p
        votes = sum(right) * 2
        total += likely * (votes > attempts or (votes == attempts and right[0]))
    return total


@pytest.mark.slow
@pytest.mark.parametrize(("chains", "revisions"), [(1, 7), (1, 3), (8, 0), (2, 0), (2, 2)])
def test_it_is_exactly_as_accurate_as_the_law_of_its_chains(chains: int, revisions: int) -> None:
    """A model that mends a wrong answer half of the time once it sees one, and keeps a right one nine times in ten.

    Every outcome is played and weighed by what the prompts really showed, so there is no seed and no tolerance.
    """
    total = 0.0
    for right in itertools.product((True, False), repeat=chains * (revisions + 1)):
        coins, likely = iter(right), [1.0]

        def script(request: SampleRequest, coins: Iterator[bool] = coins, likely: list[float] = likely) -> str:
            seen = tuple("is 7" in each.content for each in request.prompt.messages if each.role == "assistant")
            one = next(coins)
            likely[0] *= chance(seen) if one else 1 - chance(seen)
            return f"The answer is {7 if one else 8}"

        solution = solve_sync(QUESTION, Revise(chains, revisions, "majority", PARAMS), ScriptedEngine(script))
        total += likely[0] * bool(solution.answer and solution.answer.key == "7")
    assert total == pytest.approx(exact(chains, revisions), abs=1e-12)
