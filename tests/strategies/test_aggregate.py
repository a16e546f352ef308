"""Aggregation: who is in a group, what of a reply is shown, what is not written again, and what is left of a budget."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from reasoner import Budget, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.registry import build
from reasoner.testing.scripted import MODEL, THINKER, ScriptedEngine
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


@pytest.mark.parametrize(
    ("spec", "samples"),
    [("rsa", 16 * 10), ("agglm", 16), ("pdr", 8 + 1 + 8 + 1 + 1), ("pacore", 17)],
)
def test_the_published_settings_draw_as_many_samples_as_published(
    spec: str, samples: int
) -> None:
    solution, _ = solved(
        spec, "78" * 8, lambda request, _: f"the answer is {request.seed % 10**9}"
    )
    assert solution.cost.samples == samples
    assert solution.vote_state.samples == samples - 2 * (spec == "pdr")


def test_groups_are_drawn_without_replacement_by_the_place_in_the_search() -> None:
    spec = "aggregate:n=6,k=3,rounds=2,agreed=write"
    runs = [solved(spec, "777888", last_key)[1] for _ in range(2)]
    assert sorted(runs[0]) == sorted(runs[1])
    groups = runs[0][:6]
    assert all(len({*group}) == 3 for group in groups)
    assert len({frozenset(group) for group in groups}) > 2


def test_a_group_of_all_is_one_prompt_and_its_summary_is_written_once() -> None:
    _, shown = solved("aggregate:n=4,k=4,rounds=1,agreed=write", "7788", nine)
    assert len({tuple(group) for group in shown}) == 1
    written: list[str] = []

    def summary(request: SampleRequest, candidates: list[str]) -> str:
        written.append(text_of(request))
        return "They differ on x." if candidates else "the answer is 8"

    solution, shown = solved(
        "aggregate:n=4,k=4,rounds=1,message=summary", "7788", summary
    )
    assert [len(group) for group in shown] == [4, 0, 0, 0, 0]
    assert all("They differ on x." in text for text in written[1:])
    assert solution.answer is not None
    assert solution.answer.key == "8"


def test_of_a_reply_its_final_part_or_its_answer_is_shown_and_never_its_thinking() -> (
    None
):
    for message, expected in (
        ("solution", "draft 0 says the answer is 7"),
        ("answer", "7"),
    ):
        spec = f"aggregate:n=2,k=2,rounds=1,message={message}"
        _, shown = solved(
            spec, "78", nine, model=THINKER, thoughts=lambda _: "secret doubts"
        )
        assert expected in shown[0]
        assert not any("secret" in each for group in shown for each in group)


@pytest.mark.parametrize(
    ("agreed", "requests"), [("vote", 0), ("write", 4), ("none", 4)]
)
def test_a_group_that_agrees_is_written_only_if_it_is_to_be(
    agreed: str, requests: int
) -> None:
    solution, shown = solved(
        f"aggregate:n=4,k=2,rounds=1,agreed={agreed}", "7777", nine
    )
    assert len(shown) == requests
    assert solution.answer is not None
    assert solution.answer.key == ("9" if requests else "7")
    assert solution.ended_by == ("strategy" if requests else "rule")


def test_a_reply_without_an_answer_leaves_its_slot_to_the_vote_of_its_group() -> None:
    solution, shown = solved(
        "aggregate:n=4,k=4,rounds=1,agreed=write", "7 77", lambda *_: "no idea"
    )
    assert [len(group) for group in shown] == [3] * 4
    assert [(vote.answer.key, vote.count) for vote in solution.vote_state.votes] == [
        ("7", 3)
    ]
    for first in ("78888888", "88888887"):
        lost, _ = solved("agglm", first, lambda *_: "no idea")
        assert lost.answer is not None
        assert lost.answer.key == "8"
    assert solved("aggregate:agreed=write", " " * 8, nine)[0].answer is None


def test_the_end_of_a_budget_in_a_round_leaves_the_other_places_as_they_are() -> None:
    solution, _ = solved(
        "aggregate:n=4,k=4,rounds=1,agreed=write", "7788", nine, budget=5
    )
    assert (solution.ended_by, solution.cost.samples) == ("budget", 5)
    weights = {
        vote.answer.key: round(vote.weight) for vote in solution.vote_state.votes
    }
    assert weights["9"] == 1
    assert sum(weights.values()) == 4


def test_a_small_window_shows_fewer_candidates_and_says_so() -> None:
    long = lambda request, _: "so it goes on " * 40 + "the answer is 9"  # noqa: E731
    spec, model = "aggregate:n=4,k=4,rounds=2,agreed=write", replace(MODEL, context=700)
    solution, shown = solved(spec, "7788", long, model=model)
    assert [len(group) for group in shown] == [4] * 4 + [2] * 4
    assert (
        "round 2: 4 of 4 groups show fewer candidates, to fit the window"
        in solution.remarks
    )
    assert (
        solution.remarks[0]
        == "round 1: 0 of 2 first answers alive, the leader in 4 of 4 slots, 0 groups agreed"
    )


@pytest.mark.parametrize(
    ("spec", "error"),
    [("agreed=maybe", "agreed, if not vote or write"), ("k=1", "set agreed=wr")],
)
def test_what_cannot_work_is_refused(spec: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        build("strategy", f"aggregate:{spec}")
