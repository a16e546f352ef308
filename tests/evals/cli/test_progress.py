"""The table of a running evaluation, and the lines in its place where there is no terminal."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console, Group, RenderableType

from reasoner.budget import Cost
from reasoner.cli.terminal import Terminal
from reasoner_evals.cli.progress import EvalProgress, TaskTally
from reasoner_evals.runs.arms import Grid, arms_of
from reasoner_evals.runs.records import Arm, ItemRecord, Outcome

SPENT = Cost(prompt_tokens=100, generated_tokens=20, cached_tokens=999)


def record(question_id: str = "q") -> ItemRecord:
    return ItemRecord(question_id=question_id, status="answered", ended_by="strategy", reason="done", cost=SPENT)


def arms(*tasks: str) -> tuple[Arm, ...]:
    return arms_of(Grid(tasks or ("sums",)))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def watching(chosen: Sequence[Arm], total: int) -> tuple[EvalProgress, Clock]:
    clock = Clock()
    live = EvalProgress(Terminal(io.StringIO(), io.StringIO()), clock=clock)
    live.expect(chosen, {arm.task: total for arm in chosen})
    return live, clock


def lines(picture: RenderableType, columns: int) -> list[str]:
    """What a terminal of so many columns shows."""
    console = Console(file=io.StringIO(), width=columns, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(Group(picture))
    return [line.rstrip() for line in captured.get().split("\n")[:-1]]


def said(live: EvalProgress) -> list[str]:
    assert isinstance(live.terminal.err, io.StringIO)
    return live.terminal.err.getvalue().splitlines()


def finish(live: EvalProgress, arm: Arm, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        live.item_done(arm, record(), outcome)


def test_errors_and_what_is_not_graded_count_neither_as_right_nor_as_wrong() -> None:
    tally = TaskTally(arms()[0], 8)
    for outcome in ("right", "wrong", "no_answer", "truncated", "timed_out", "grader_timeout", "error", "ungraded"):
        tally.add(record(), outcome)
    assert (tally.done, tally.graded, tally.right, tally.errors, tally.tokens) == (8, 6, 1, 1, 8 * 120)
    assert tally.accuracy
    share, low, high = tally.accuracy
    assert share == 1 / 6
    # Wilson's interval of 1 of 6, as scipy's `binomtest(1, 6).proportion_ci(method="wilson")` gives it.
    assert (low, high) == pytest.approx((0.03005, 0.56350), abs=1e-5)


def test_without_a_terminal_lines_come_at_doublings_tenths_and_the_end() -> None:
    live, _ = watching(arms(), 60)
    arm = arms()[0]
    live.arm_started(arm, 60, 0)
    finish(live, arm, ["right", "wrong"] * 30)
    live.arm_finished(arm)
    told = [line.removeprefix("sums.single: ").partition(" · ")[0] for line in said(live)]
    counts = [1, 2, 4, *range(8, 60, 8)]
    assert told == ["60 questions", *(f"{count} of 60" for count in counts), "60 of 60"]
    assert said(live)[-1] == "sums.single: 60 of 60 · accuracy 50.0 % (38-62) · 120 tokens per question"


def test_empty_columns_are_not_shown_and_a_narrow_terminal_cuts_the_name() -> None:
    live, _ = watching(arms(), 4)
    arm = arms()[0]
    live.arm_started(arm, 4, 0)
    assert lines(live.picture(120, 20), 120)[0].split() == ["arm", "done"]
    finish(live, arm, ["right", "error"])
    for columns, name in ((120, "sums.single"), (50, "sums")):
        heading, row, _ = lines(live.picture(columns, 20), columns)
        assert heading.split()[:4] == ["arm", "done", "accuracy", "tok/q"]
        assert row.startswith(name)
        assert "2/4" in row
        assert "100.0 % (21-100)" in row


def test_many_arms_stay_within_the_rows_and_those_that_run_come_first() -> None:
    many = arms(*(f"task{number}" for number in range(30)))
    live, clock = watching(many, 4)
    for arm in many[:50]:
        clock.now += 1
        live.arm_started(arm, 4, 0)
        if arm is not many[7]:
            finish(live, arm, ["right"] * 4)
            live.arm_finished(arm)
    shown_lines = lines(live.picture(100, 10), 100)
    assert len(shown_lines) == 10
    expected = sorted([many[7], *many[43:50]], key=many.index)
    assert [line.split()[0] for line in shown_lines[1:-1]] == [arm.name for arm in expected]
    assert shown_lines[-1] == "49 of 60 arms · 196/240 questions · 42 more rows · 0:50"
