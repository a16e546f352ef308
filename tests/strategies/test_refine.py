"""Refine, as a pure plan and against its engine."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from reasoner import Cost, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.registry import build
from reasoner.strategy import Operation, Plan, Propose, Sample, Score
from reasoner.types import Answer, Completion, Message, Rating, SamplingParams
from reasoner_strategies import Single
from reasoner_strategies.refine import Refine
from tests.helpers import Judge, completion, finish, number_question
from tests.scripted import ScriptedEngine
from tests.strategies.judging import cut

QUESTION = number_question()
PARAMS = SamplingParams(temperature=0.4, max_tokens=99)
REFUSED = BudgetExhausted("tokens", needed=9, free=0, limit=5)


def says(key: str | None) -> Completion:
    return completion("no idea" if key is None else f"The answer is {key}")


def rated(value: float | None) -> tuple[Rating, ...]:
    return (Rating(value, Cost(), error="" if value is not None else "broken"),)


def drawn(plan: Plan[Answer | None], op: Operation, version: Completion) -> Operation:
    """The operation after a version was drawn and proposed."""
    assert isinstance(op, Sample)
    assert op.params == PARAMS
    assert isinstance(plan.send((version,)), Propose)
    return plan.send(None)


def run(answers: dict[int, str], reviews: Callable[[int], str], **options: Any) -> tuple[Solution, list[str]]:
    """A self-review on an engine: answers by version, reviews by round; and what was asked for, in order."""
    asked: list[str] = []

    def script(request: SampleRequest) -> str:
        reviewing = "Review the answer" in request.prompt.messages[-1].content
        turn = sum(1 for kind in asked if kind == "review")
        asked.append("review" if reviewing else "version")
        return reviews(turn) if reviewing else f"The answer is {answers[turn]}"

    return solve_sync(QUESTION, Refine(critic="self", params=PARAMS, **options), ScriptedEngine(script)), asked


def key(answer: Answer | None) -> str | None:
    return answer.key if answer else None


@pytest.mark.parametrize("critic", ["self", "verifier"])
def test_no_round_is_a_single_sample(critic: str) -> None:
    mine = Refine(0, critic, params=PARAMS).plan(QUESTION)  # type: ignore[arg-type]
    single = Single(PARAMS).plan(QUESTION)
    assert next(mine) == next(single)
    assert mine.send((says("7"),)) == single.send((says("7"),))
    assert finish(mine) == finish(single)


def test_a_critic_that_always_says_correct_costs_exactly_one_review() -> None:
    solution, asked = run({0: "7"}, lambda _: "All steps hold.\nVerdict: correct", rounds=9)
    assert asked == ["version", "review"]
    assert (key(solution.answer), solution.cost.samples) == ("7", 2)


def test_a_critic_that_always_finds_fault_costs_a_review_and_a_version_a_round() -> None:
    for rounds in (1, 2, 4):
        _, asked = run(dict.fromkeys(range(9), "7"), lambda _: "Verdict: wrong", rounds=rounds)
        assert asked == ["version", *["review", "version"] * rounds]


@pytest.mark.parametrize("review", ["", "It is not correct", "Verdict: correct or wrong", "correct"])
def test_a_review_without_a_verdict_finds_fault(review: str) -> None:
    _, asked = run({0: "7", 1: "8"}, lambda _: review, rounds=1)
    assert asked == ["version", "review", "version"]


@pytest.mark.parametrize(
    ("selector", "versions", "answer"),
    [
        (None, ("7", "8"), "8"),
        (None, ("7", "7", "8"), "8"),
        (None, ("7", "8", "(none)"), "8"),
        (None, ("7", "8", "7"), "7"),
        ("last", ("7", "7", "8"), "8"),
        ("majority", ("7", "8"), "7"),
        ("majority", ("7", "8", "8", "9"), "8"),
    ],
)
def test_a_self_review_answers_with_its_last_version_or_with_the_majority(
    selector: str | None, versions: tuple[str, ...], answer: str
) -> None:
    solution, _ = run(
        dict(enumerate(versions)), lambda _: "Verdict: wrong", rounds=len(versions) - 1, selector=selector
    )
    assert key(solution.answer) == key(solution.vote_state.leader) == answer
    assert [proposal.vote_state.samples for proposal in solution.proposals] == [*range(1, len(versions) + 1)]


def test_the_answer_of_a_self_review_can_change_by_default() -> None:
    """The least it can do: one round in which fault is found."""
    strategy = build("strategy", "refine:critic=self,rounds=1")
    answers = iter(("The answer is 7", "Verdict: wrong", "The answer is 8"))
    assert key(solve_sync(QUESTION, strategy, ScriptedEngine(lambda _: next(answers))).answer) == "8"


def test_the_last_version_may_also_be_the_answer_where_a_verifier_is_the_critic() -> None:
    values = {"7": 0.8, "8": 0.1}
    for selector, answer in ((None, "7"), ("last", "8"), ("majority", "7")):
        versions = iter(("7", "8"))
        solution = solve_sync(
            QUESTION,
            Refine(rounds=1, selector=selector),  # type: ignore[arg-type]
            ScriptedEngine(lambda _, versions=versions: f"The answer is {next(versions)}"),  # type: ignore[misc]
            verifier=Judge(lambda one: values[one.text[-1]]),
        )
        assert key(solution.answer) == answer


def test_a_review_sees_the_answer_and_a_revision_both() -> None:
    plan = Refine(1, "self", params=PARAMS).plan(QUESTION)
    version = completion("The answer is 7", prompt=QUESTION.prompt.extended("So. ", (4,)))
    review = drawn(plan, next(plan), version)
    assert isinstance(review, Sample)
    [head] = QUESTION.prompt.messages
    [prompt] = review.prompts
    assert prompt.messages[:2] == (head, Message("assistant", "So. The answer is 7"))
    assert "Verdict: correct" in prompt.messages[2].content
    revision = plan.send((completion("A slip in line 2.\nVerdict: wrong"),))
    assert isinstance(revision, Sample)
    assert revision.params == PARAMS
    [longer] = revision.prompts
    assert longer.messages[:3] == prompt.messages
    assert longer.messages[3] == Message("assistant", "A slip in line 2.\nVerdict: wrong")
    assert QUESTION.space.instruction in longer.messages[4].content
    assert (longer.text, longer.token_ids) == ("", ())


@pytest.mark.parametrize("version", [says(None), cut(says("7"))])
def test_a_version_without_an_answer_is_revised_whatever_the_critic_says(version: Completion) -> None:
    plan = Refine(1, "self", params=PARAMS).plan(QUESTION)
    drawn(plan, next(plan), version)
    assert isinstance(plan.send((completion("Verdict: correct"),)), Sample)
    plan = Refine(1, "verifier", params=PARAMS).plan(QUESTION)
    op = plan.send((version,)) if next(plan) else None
    while isinstance(op, Propose):
        op = plan.send(None)
    assert isinstance(op, Sample)


def test_the_verifier_ends_it_at_a_rating_that_satisfies() -> None:
    for value, ends in ((0.79, False), (0.8, True), (1.0, True)):
        plan = Refine(2, "verifier", 0.8, PARAMS).plan(QUESTION)
        op = drawn(plan, next(plan), says("7"))
        assert isinstance(op, Score)
        assert [one.text for one in op.candidates] == ["The answer is 7"]
        assert isinstance(plan.send(rated(value)), Propose)
        if ends:
            assert key(finish(plan)) == "7"
        else:
            again = plan.send(None)
            assert isinstance(again, Sample)
            assert [message.role for message in again.prompts[0].messages] == ["user", "assistant", "user"]


def select(*versions: tuple[str, float | None]) -> tuple[str | None, Propose]:
    plan = Refine(len(versions) - 1, "verifier", 1.0, PARAMS).plan(QUESTION)
    op: Operation = next(plan)
    last: Operation = op
    for place, (answer, value) in enumerate(versions):
        assert isinstance(drawn(plan, op, says(answer)), Score)
        last = plan.send(rated(value))
        assert isinstance(last, Propose)
        if place + 1 < len(versions):
            op = plan.send(None)
    assert isinstance(last, Propose)
    return key(finish(plan)), last


def test_the_class_with_the_highest_total_rating_wins() -> None:
    assert select(("7", 0.6), ("8", 0.9), ("9", 0.1))[0] == "8"
    assert select(("7", 0.5), ("8", 0.9), ("7", 0.5))[0] == "7"
    assert select(("8", 0.9), ("7", 0.1), ("7", 0.1))[0] == "8"


def test_what_could_not_be_rated_is_revised_and_is_never_a_zero() -> None:
    assert select(("7", None), ("8", 0.1), ("7", None))[0] == "8"
    answer, last = select(("7", None), ("8", None), ("8", None))
    assert (answer, last.vote_state.samples) == ("8", 3)


@pytest.mark.slow
def test_revising_right_answers_to_wrong_ones_costs_nothing_where_an_oracle_selects() -> None:
    """A critic that is never content makes every version the opposite of the one before."""

    def accuracy(rounds: int) -> float:
        source, right = random.Random(5), 0
        for at in range(200):
            first = source.random() < 0.4

            def script(request: SampleRequest, first: bool = first) -> str:
                turn = len(request.prompt.messages) > 1
                flipped = turn and "is 7" in request.prompt.messages[1].content
                return f"The answer is {7 if (first if not turn else not flipped) else 8}"

            oracle = Judge(lambda one: 0.8 * ("is 7" in one.text))
            strategy = Refine(rounds, "verifier", 0.9, PARAMS)
            solution = solve_sync(number_question(str(at)), strategy, ScriptedEngine(script), verifier=oracle)
            right += key(solution.answer) == "7"
        return right / 200

    before = accuracy(0)
    assert 0.3 < before < 0.5
    assert accuracy(1) == accuracy(2) == 1.0


def test_a_refusal_anywhere_leaves_the_last_proposal() -> None:
    plan = Refine(1, "verifier", params=PARAMS).plan(QUESTION)
    drawn(plan, next(plan), says("7"))
    with pytest.raises(BudgetExhausted):
        plan.throw(REFUSED)


def test_long_texts_are_shown_by_their_end() -> None:
    plan = Refine(1, "self", params=PARAMS).plan(QUESTION)
    review = drawn(plan, next(plan), completion("so " * 9000 + "The answer is 7"))
    assert isinstance(review, Sample)
    shown = review.prompts[0].messages[1].content
    assert (len(shown), shown[-1]) == (4006, "7")


def test_only_a_verifier_as_critic_is_used() -> None:
    assert Refine().uses_verifier
    assert not Refine(critic="self").uses_verifier


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"rounds": -1}, "rounds must be .*got -1"),
        ({"critic": "tests"}, "must be self or verifier .got"),
        ({"satisfied": 1.5}, "satisfied must be from 0 to 1"),
        ({"selector": "first"}, "must be last, majority or weighted .got"),
        ({"critic": "self", "selector": "weighted"}, "no ratings to go by"),
        ({"critic": "self", "satisfied": 0.5}, "satisfied=0.5 has no effect with critic=self"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Refine(**options)  # type: ignore[arg-type]
