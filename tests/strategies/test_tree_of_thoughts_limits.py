"""Tree of thoughts: the choice at the end, what is asked, limits and budgets."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from reasoner import Budget, Question, solve_many_sync, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.strategy import Finished, Handle, Next, Propose, Sample, Start
from reasoner.types import Answer, Prompt, SamplingParams, VoteState
from reasoner_strategies.tree_of_thoughts import JUDGEMENT_TOKENS, TreeOfThoughts
from tests.scripted import MODEL, ScriptedEngine
from tests.stepping import StepWorld
from tests.strategies.test_tree_of_thoughts import (
    _SHOWN,
    QUESTION,
    REFUSED,
    Grow,
    Judge,
    SearchTree,
    by_worth,
    drive,
    judgements,
    letters,
    thoughts,
)
from tests.sweeps import widths

# The choice


def test_the_best_finished_state_or_the_class_of_the_highest_total() -> None:
    grow = letters(1, lambda path: "7" if path == "a" else "8")
    judge = by_worth(lambda state: 0.5)

    def once(state: str, time: int) -> str:
        return "Verdict: likely" if state == "a" or time == 0 else "Verdict: impossible"

    chosen = [drive(TreeOfThoughts(k=5, selector=selector), grow, once).key for selector in ("argmax", "weighted")]
    assert chosen == ["7", "8"]
    assert drive(TreeOfThoughts(k=5), grow, judge).key == "7"


def test_chains_without_an_answer_or_cut_abstain_and_are_not_judged() -> None:
    def grow(state: str, place: int) -> str:
        return ["nothing", "b The answer is 7", "x" * 600][place]

    course = drive(TreeOfThoughts(k=3), grow)
    assert set(course.judged) == {"b"}
    assert (course.key, course.vote_states[-1].samples) == ("7", 3)


# What is asked


def test_a_judgement_keeps_the_question_in_front_and_is_bounded() -> None:
    params = SamplingParams(temperature=0.4, top_p=0.9, stop=("@",), max_tokens=9000)
    strategy = TreeOfThoughts(k=2, b=1, n_eval=2, params=params)
    course = drive(strategy, lambda state, place: "ab"[place] * 5000 if not state else "The answer is 7")
    asked = course.asked[0]
    assert (asked.n, asked.params) == (2, replace(params, max_tokens=JUDGEMENT_TOKENS))
    for prompt in asked.prompts:
        assert prompt.messages[0].content.startswith(QUESTION.prompt.messages[0].content)
        assert len(prompt.messages) == 1
        assert 4000 < len(prompt.messages[0].content) < 5000
    assert {one.reserve for one in (*course.grown, *course.asked)} == {128}
    assert {one.params.temperature for one in course.grown} == {0.4}


def test_a_vote_is_bounded_however_many_are_shown() -> None:
    course = drive(
        TreeOfThoughts(k=9, evaluate="vote", params=SamplingParams(max_tokens=9000)),
        lambda state, place: f"{place}" * 5000 if not state else "The answer is 7",
    )
    assert all(len(prompt.messages[0].content) < 9000 for prompt in course.asked[0].prompts)


def test_a_raw_prompt_is_judged_in_raw_text() -> None:
    question = replace(QUESTION, prompt=Prompt(raw="Q: How many?\nA:"))
    asked: list[SampleRequest] = []

    def say(request: SampleRequest) -> str:
        asked.append(request)
        return "Verdict: sure" if "Verdict" in request.prompt.raw else "The answer is 7"

    solution = solve_sync(question, TreeOfThoughts(k=2, n_eval=1), ScriptedEngine(say))
    assert solution.answer is not None
    assert asked[-1].prompt.raw.startswith("Q: How many?\nA:\n\n")
    assert solution.vote_state.votes[0].weight == 20


# Limits and budgets


def test_at_most_so_many_states_are_gone_on_from() -> None:
    for mode in ("bfs", "dfs"):
        course = drive(TreeOfThoughts(mode=mode, k=3, expansions=3), letters(9))
        *searched, closed = course.grown
        assert [one.n for one in searched] == [3, 3, 3]
        assert closed.n == 1


def test_when_the_budget_ends_the_reserve_brings_the_best_open_state_to_its_end() -> None:
    judge = by_worth(lambda state: float(state == "b"))
    course = drive(TreeOfThoughts(k=3, b=2), letters(9), judge, refuse_after=1)
    assert course.visited == ["", "b", "a", "b"]
    assert course.grown[-1].n == 1


def test_refused_judgements_leave_the_majority_of_what_was_drawn() -> None:
    course = drive(TreeOfThoughts(k=3, b=2), letters(1, lambda path: "7" if path == "a" else "8"), REFUSED)
    assert (course.key, course.vote_states[-1].samples) == ("8", 3)


def test_judgements_that_do_not_fit_the_window_are_done_without() -> None:
    engine = ScriptedEngine(lambda _: "The answer is 7", model=replace(MODEL, context=30))
    solution = solve_sync(QUESTION, TreeOfThoughts(), engine)
    assert (solution.error, solution.answer and solution.answer.key) == (None, "7")


def test_within_a_budget_an_unfinished_tree_still_gives_an_answer() -> None:
    found = {}
    for reserve in (0, 100):
        solution = solve_sync(
            QUESTION, TreeOfThoughts(reserve=reserve), judging(StepWorld(depth=9)), budget=Budget(tokens=1200)
        )
        assert solution.error is None
        assert solution.cost.tokens <= 1200
        found[reserve] = solution.answer
    assert found[0] is None
    assert found[100] is not None


# The step world


def judging(world: StepWorld) -> ScriptedEngine:
    """The step world, in which the model knows a wrong step when it sees one."""

    def say(request: SampleRequest) -> str:
        shown = _SHOWN.findall(request.prompt.messages[-1].content)
        if not shown:
            return world.say(request)
        return f"Verdict: {'impossible' if 'wrong' in shown[0] else 'sure'}"

    return ScriptedEngine(say)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "mode", "b"), [(4, "bfs", 1), (2, "bfs", 5), (4, "dfs", 5)])
@widths("count", 75, 1200)
def test_success_in_the_step_world(k: int, mode: Any, b: int, count: int) -> None:
    """Equal thoughts are one state, so that a level holds one right state at most: found where each step was drawn."""
    rate = (1 - 0.5**k) ** 3
    questions = [Question.of("How many?", space="number", id=str(at)) for at in range(count)]
    solutions = solve_many_sync(questions, TreeOfThoughts(mode=mode, b=b, k=k, n_eval=1), judging(StepWorld()))
    right = sum(one.answer is not None and one.answer.key == "7" for one in solutions) / count
    assert right == pytest.approx(rate, abs=3 * math.sqrt(rate * (1 - rate) / count))


def test_the_last_thought_runs_to_the_end_and_thoughts_end_where_told() -> None:
    solution = solve_sync(QUESTION, TreeOfThoughts(k=2, max_steps=2, n_eval=1), judging(StepWorld(depth=6, right=1.0)))
    assert solution.answer is not None
    assert solution.vote_state.samples == 1
    by_text = drive(TreeOfThoughts(step="@", expansions=1), letters(9)).grown[0].params
    assert by_text.stop == ("@",)
    by_tokens = drive(TreeOfThoughts(step="", step_tokens=9, expansions=1), letters(9)).grown[0].params
    assert (by_tokens.stop, by_tokens.max_tokens) == ((), 9)


def test_replies_in_any_order_make_the_same_tree() -> None:
    """`drive` tells the last of a level first; here it is the other way round, or any."""
    grow = letters(4, lambda path: str(random.Random(path).randrange(9)))
    judge = by_worth(lambda state: random.Random(state).random())
    plain = drive(TreeOfThoughts(k=3, b=3), grow, judge)
    for seed in range(5):
        shuffled = _drive_in_order(TreeOfThoughts(k=3, b=3), grow, judge, random.Random(seed))
        assert shuffled == (plain.answer, plain.vote_states[-1])


def _drive_in_order(
    strategy: TreeOfThoughts, grow: Grow, judge: Judge, source: random.Random
) -> tuple[Answer | None, VoteState]:
    plan = strategy.plan(QUESTION)
    running: list[tuple[Handle, Sample]] = []
    reply: Any = None
    handles, last = 0, VoteState()
    while True:
        try:
            op = plan.send(reply)
        except StopIteration as end:
            return end.value, last
        reply = None
        match op:
            case Start(op=Sample() as begun):
                handles += 1
                reply = Handle(handles)
                running.append((reply, begun))
            case Next():
                handle, begun = running.pop(source.randrange(len(running)))
                reply = Finished(handle, completions=thoughts(begun, grow))
            case Sample():
                reply = judgements(op, judge, SearchTree())
            case Propose():
                last = op.vote_state


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mode": "best"}, "mode must be bfs or dfs .got"),
        ({"b": 0}, "b must be .*got 0"),
        ({"k": 0}, "k must be .*got 0"),
        ({"n_eval": 0}, "n_eval must be .*got 0"),
        ({"evaluate": "rank"}, "evaluate must be value or vote .got"),
        ({"v_th": -1.0}, "v_th must be .*got -1.0"),
        ({"v_th": math.nan}, "v_th must be .*got nan"),
        ({"expansions": 0}, "expansions must be .*got 0"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"step": ""}, "a step must end"),
        ({"reserve": -1}, "reserve must be .*got -1"),
        ({"selector": "best"}, "selector must be argmax or weighted .got"),
        ({"mode": "dfs", "b": 2}, "b=2 has no effect with mode=dfs"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        TreeOfThoughts(**options)
