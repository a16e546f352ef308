"""What a solution shows and gives: three lines, the winning reply, its samples, plain data, HTML."""

import json
import re

import pytest

from reasoner import Cost, Solution, solve_many_sync, solve_sync
from reasoner.answers.questions import Question
from reasoner.strategy import Plan
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Planned, number_question, says, varied
from reasoner.types import Answer

HOSTILE = "<script>alert(1)</script>\x1b[31m"


def test_it_prints_as_the_command_does_in_three_lines() -> None:
    lines = str(
        solve_sync(
            number_question(),
            "self_consistency:n=3",
            ScriptedEngine(says("7", "8", "7")),
        )
    ).split("\n")
    assert lines[:2] == ["7", "vote     7 ×2 · 8 ×1 (3 samples, 0 without an answer)"]
    assert re.fullmatch(
        r"cost     \d+ tokens computed \(.*\), \d+ prompt tokens from cache.*", lines[2]
    )
    assert len(lines) == 3


def failing(question: Question) -> Plan[Answer | None]:
    raise ValueError(HOSTILE)
    yield


def test_without_an_answer_it_prints_why() -> None:
    engine = ScriptedEngine(says("7"))
    poor = solve_sync(number_question(), "single", engine, budget="tokens=1")
    assert str(poor).startswith("no answer: budget tokens=1")
    failed = solve_sync(number_question(), Planned(failing), engine)
    assert str(failed).startswith(
        "no answer: the strategy failed with ValueError: <script>"
    )
    assert "\x1b" not in str(failed) + repr(failed)
    assert max(str(failed).count("\n"), str(poor).count("\n")) <= 2
    assert (poor.text, failed.text, failed.samples) == ("", "", ())


@pytest.mark.parametrize(
    "spec",
    [
        "self_consistency:n=8",
        "best_of_n:n=6",
        "beam_search",
        "mcts",
        "refine",
        "knockout",
    ],
)
def test_its_text_is_a_reply_that_gives_the_answer(spec: str) -> None:
    question = number_question()
    solution = solve_sync(question, spec, ScriptedEngine(varied))
    assert solution.answer is not None
    read = question.space.read(solution.text)
    assert read is not None
    assert read.key == solution.answer.key
    assert solution.text in {sample.text for sample in solution.samples}


def test_many_solutions_have_their_texts_and_keep_no_events() -> None:
    [solution] = solve_many_sync(
        [number_question()], "self_consistency:n=4", ScriptedEngine(says("7"))
    )
    assert (solution.text, solution.samples, solution.events) == (
        "The answer is 7",
        (),
        (),
    )


def test_its_data_is_json_and_holds_the_replies() -> None:
    solution = solve_sync(
        number_question(), "best_of_n:n=3", ScriptedEngine(says("7", "8", "7"))
    )
    data = json.loads(json.dumps(solution.to_dict(), allow_nan=False))
    assert [reply["answer"] for reply in data["completions"]] == ["7", "8", "7"]
    assert all(0 <= reply["score"] <= 1 for reply in data["completions"])
    generated = sum(reply["generated_tokens"] for reply in data["completions"])
    assert data["cost"]["generated_tokens"] == generated
    assert (data["text"], data["answer"]["text"], data["samples"]) == (
        "The answer is 7",
        "7",
        3,
    )
    assert data["cost"]["tokens"] == solution.cost.tokens


def test_a_notebook_shows_what_is_printed_and_runs_nothing() -> None:
    answer = Answer("<script>alert(1)</script>", "x")
    shown = Solution(
        "q", answer, Cost(), (), "strategy", "the strategy finished"
    )._repr_html_()
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script" not in shown
