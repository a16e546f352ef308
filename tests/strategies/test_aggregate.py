"""Aggregation: who is in a group, what of a reply is shown, what is not written again, and what is left of a budget."""

import re
from collections.abc import Callable

from reasoner import Budget, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.registry import build
from reasoner.testing.scripted import THINKER, ScriptedEngine
from reasoner.testing.support import number_question

QUESTION = number_question()
_CANDIDATES = re.compile(r"Candidate \d+:\n(.*)")
Replies = Callable[[SampleRequest, list[str]], str]


def text_of(request: SampleRequest) -> str:
    return request.prompt.messages[-1].content


def solved(
    spec: str,
    first: str,
    then: Replies,
    *,
    budget: int | None = None,
    engine: type = ScriptedEngine,
    **options: object,
) -> tuple[Solution, list[list[str]]]:
    """The solution, and the candidates of each later request; the first draws give these keys, a blank none."""
    shown: list[list[str]] = []

    def script(request: SampleRequest) -> str:
        candidates = _CANDIDATES.findall(text_of(request))
        if request.prompt.messages == QUESTION.prompt.messages:
            key = first[request.index].strip()
            return (
                f"draft {request.index} says the answer is {key}" if key else "no idea"
            )
        shown.append(candidates)
        return then(request, candidates)

    limit = Budget(samples=budget) if budget else None
    solution = solve_sync(
        QUESTION, build("strategy", spec), engine(script, **options), budget=limit
    )
    assert solution.error is None
    return solution, shown


def last_key(_: SampleRequest, candidates: list[str]) -> str:
    """The answer of the last candidate that is shown."""
    return f"a new one says the answer is {candidates[-1].split()[-1]}"


def nine(*_: object) -> str:
    return "the answer is 9"


def test_groups_are_drawn_without_replacement_by_the_place_in_the_search() -> None:
    spec = "aggregate:n=6,k=3,rounds=2"
    runs = [solved(spec, "123456", last_key)[1] for _ in range(2)]
    assert sorted(runs[0]) == sorted(runs[1])
    groups = runs[0][:6]
    assert all(len({*group}) == 3 for group in groups)
    assert len({frozenset(group) for group in groups}) > 2


def test_a_group_of_all_is_one_prompt() -> None:
    _, shown = solved("aggregate:n=4,k=4,rounds=1", "7788", nine)
    assert len({tuple(group) for group in shown}) == 1
    assert [len(group) for group in shown] == [4] * 4


def test_of_a_reply_its_final_part_is_shown_and_never_its_thinking() -> None:
    spec = "aggregate:n=2,k=2,rounds=1"
    _, shown = solved(
        spec, "78", nine, model=THINKER, thoughts=lambda _: "secret doubts"
    )
    assert "draft 0 says the answer is 7" in shown[0]
    assert not any("secret" in each for group in shown for each in group)


def test_a_group_that_agrees_is_not_written_again() -> None:
    solution, shown = solved("aggregate:n=4,k=2,rounds=1", "7777", nine)
    assert shown == []
    assert solution.answer is not None
    assert (solution.answer.key, solution.ended_by) == ("7", "rule")


def test_a_reply_without_an_answer_leaves_its_slot_to_the_vote_of_its_group() -> None:
    solution, shown = solved("aggregate:n=4,k=4,rounds=1", "7 78", lambda *_: "no idea")
    assert [len(group) for group in shown] == [3] * 4
    assert [(vote.answer.key, vote.count) for vote in solution.vote_state.votes] == [
        ("7", 2),
        ("8", 1),
    ]
    for first in ("78888888", "88888887"):
        lost, _ = solved("aggregate:k=8,rounds=1", first, lambda *_: "no idea")
        assert lost.answer is not None
        assert lost.answer.key == "8"
    assert solved("aggregate", " " * 8, nine)[0].answer is None
