"""What a solution shows and gives: three lines, the winning reply, its samples, plain data, HTML."""

import json
import re

import pytest

from reasoner import Cost, Solution, Solutions, solve_many_sync, solve_sync
from reasoner.answers.questions import Question
from reasoner.strategy import Plan
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Planned, number_question, says
from reasoner.types import Answer, Proposal, Vote, VoteState

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


def test_many_solutions_are_a_bounded_table_without_markup_of_the_model() -> None:
    questions = [Question.of("?", id=f"<b>{HOSTILE}{n}" + "x" * 500) for n in range(25)]
    solutions = solve_many_sync(questions, Planned(failing), ScriptedEngine(says("7")))
    page, text = solutions._repr_html_(), repr(solutions)
    assert (page.count("<tr>"), text.count("\n")) == (21, 20)
    assert "20 of 25 solutions shown" in page
    assert text.endswith("... 5 more]")
    assert not {"<script", "<b>", "\x1b"} & set(re.findall(r"<script|<b>|\x1b", page))
    assert "\x1b" not in text
    assert max(map(len, re.findall(r"<td>(.*?)</td>", page))) < 200
    assert (repr(Solutions()), Solutions()._repr_html_().count("<tr>")) == ("[]", 1)


def test_a_data_frame_has_a_row_for_each_solution() -> None:
    solutions = solve_many_sync(
        [number_question(), "What is it?"], "single", ScriptedEngine(says("7"))
    )
    frame = solutions.to_pandas()
    assert list(frame["question_id"]) == [each.question_id for each in solutions]
    assert list(frame["tokens"]) == [each.cost.tokens for each in solutions]
    assert {"acc", "cost", "proposals"}.isdisjoint(frame.columns)


def test_progress_draws_a_bar_of_samples_and_one_of_questions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = ScriptedEngine(says("7", "8", "7"))
    solution = solve_sync(
        number_question(), "self_consistency:n=3", engine, progress=True
    )
    solve_many_sync([number_question()], "single", engine, progress=True)
    shown = capsys.readouterr()
    first, second = shown.err.rstrip().split("\n")
    assert ("3/3" in first, "1/1" in second, shown.out) == (True, True, "")
    assert f"7, {solution.cost.tokens:,} tokens" in first


def test_a_proposal_is_one_line_without_markup_of_the_model() -> None:
    answer = Answer(HOSTILE * 30, "key", "form")
    state = VoteState((Vote(answer, 1.0, 1),), samples=1)
    shown = Proposal(answer, state, Cost(prompt_tokens=1200))
    assert re.fullmatch(
        r"<Proposal: '.{60}', 100% of the vote after 1 sample, 1,200 tokens>",
        repr(shown),
    )
    assert "<script" not in shown._repr_html_()
