"""The table of a running evaluation, and the lines in its place where there is no terminal."""

import io
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group, RenderableType

from reasoner.budget import Cost
from reasoner.cli.terminal import Terminal
from reasoner_evals.cli.progress import EvalProgress, TaskTally, table
from reasoner_evals.runs.arms import Grid, arms_of
from reasoner_evals.runs.records import Arm, ItemRecord, Outcome

SPENT = Cost(prompt_tokens=100, generated_tokens=20, cached_tokens=999)


def record(question_id: str = "q") -> ItemRecord:
    return ItemRecord(question_id=question_id, status="answered", ended_by="strategy", reason="done", cost=SPENT)


def arms(*tasks: str, seeds: tuple[int, ...] = ()) -> tuple[Arm, ...]:
    return arms_of(Grid(tasks or ("sums",), seeds=seeds))


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
    outcomes: tuple[Outcome, ...] = (
        "right",
        "wrong",
        "no_answer",
        "truncated",
        "timed_out",
        "grader_timeout",
        "error",
        "ungraded",
    )
    for outcome in outcomes:
        tally.add(record(), outcome)
    assert (tally.done, tally.graded, tally.right, tally.errors, tally.tokens) == (8, 6, 1, 1, 8 * 120)
    assert tally.accuracy
    share, low, high = tally.accuracy
    assert share == 1 / 6
    # Wilson's interval of 1 of 6, as scipy's `binomtest(1, 6).proportion_ci(method="wilson")` gives it.
    assert (low, high) == pytest.approx((0.03005, 0.56350), abs=1e-5)


def test_a_rate_counts_this_sitting_alone() -> None:
    live, clock = watching(arms(), 10)
    arm = arms()[0]
    live.arm_started(arm, 10, 4)
    finish(live, arm, ["right"] * 4)
    tally = live.tallies[arm.name]
    clock.now = 2.0
    assert (tally.rate(clock.now), tally.cells(clock.now)["ETA"]) == (None, "")
    finish(live, arm, ["right"])
    assert tally.rate(clock.now) == 0.5
    assert tally.cells(clock.now)["ETA"] == "0:10"
    live.arm_finished(arm)
    clock.now = 1000.0
    assert (tally.rate(clock.now), tally.cells(clock.now)["ETA"]) == (0.5, "")


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


def test_a_large_task_is_reported_about_twenty_times() -> None:
    live, _ = watching(arms(), 1319)
    arm = arms()[0]
    live.arm_started(arm, 1319, 0)
    finish(live, arm, ["right"] * 1319)
    told = [line.removeprefix("sums.single: ").partition(" of ")[0] for line in said(live)[1:]]
    assert told == [str(count) for count in (*(2**power for power in range(8)), *range(132, 1319, 132))]


def test_what_was_finished_earlier_is_reported_once() -> None:
    live, _ = watching(arms(), 4)
    arm = arms()[0]
    live.arm_started(arm, 4, 3)
    finish(live, arm, ["right"] * 3)
    assert said(live) == ["sums.single: 4 questions, 3 of them done earlier"]


def test_before_the_first_arm_the_stage_is_shown() -> None:
    live, clock = watching(arms(), 4)
    live.begin("starting \x1b[31mvllm")
    clock.now = 7.2
    assert lines(live.picture(100, 20), 100) == ["starting [U+001B][31mvllm … 7 s"]


def test_columns_that_say_the_same_in_every_row_are_not_shown() -> None:
    live, _ = watching(arms(), 4)
    live.arm_started(arms()[0], 4, 0)
    assert lines(live.picture(120, 20), 120)[0].split() == ["strategy", "done"]
    several = arms("sums", "products", seeds=(0, 1))
    live, _ = watching(several, 4)
    live.arm_started(several[0], 4, 0)
    finish(live, several[0], ["error"])
    assert lines(live.picture(120, 20), 120)[0].split() == ["task", "strategy", "seed", "done", "tok/q", "errors"]


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
    shown = [line.split()[:2] for line in shown_lines[1:-1]]
    expected = sorted([many[7], *many[43:50]], key=many.index)
    assert shown == [[arm.task, arm.strategy] for arm in expected]
    assert shown_lines[-1] == "49 of 60 arms · 196/240 questions · 42 more rows · 0:50"


ROW = st.fixed_dictionaries(
    {
        name: st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=50)
        for name in (
            "task",
            "strategy",
            "budget",
            "seed",
            "done",
            "accuracy",
            "tok/q",
            "q/s",
            "ETA",
            "errors",
        )
    }
)


@given(st.lists(ROW, min_size=1, max_size=5), st.integers(1, 200), st.sets(st.sampled_from(["task", "seed"])))
def test_a_table_is_never_wider_than_the_terminal(rows: list[dict[str, str]], width: int, hidden: set[str]) -> None:
    shown = lines(table(rows, hidden, width), width)
    assert len(shown) == len(rows) + 1
    assert max(map(len, shown)) <= width


@pytest.mark.parametrize(
    ("columns", "heading"),
    [
        (120, ["task", "strategy", "budget", "done", "accuracy", "tok/q", "q/s", "ETA"]),
        (80, ["task", "strategy", "budget", "done", "accuracy", "tok/q", "q/s", "ETA"]),
        (60, ["task", "strategy", "budget", "done", "accuracy"]),
        (40, ["strategy", "done", "accuracy"]),
    ],
)
def test_a_narrow_terminal_keeps_the_strategy_how_far_it_is_and_its_accuracy(columns: int, heading: list[str]) -> None:
    row = {
        "task": "gsm8k", "strategy": "self_consistency:n=16,temperature=0.9", "budget": "tokens=1000", "seed": "0",
        "done": "400/1319", "accuracy": "62.0 % (57-67)", "tok/q": "1,234", "q/s": "1.5",
        "ETA": "10:13", "errors": "",
    }  # fmt: skip
    first, second = lines(table([row], {"seed"}, columns), columns)
    assert first.split() == heading
    assert "400/1319" in second
    assert "62.0 % (57-67)" in second


@given(st.lists(st.sampled_from(["start", "item", "end"]), max_size=30), st.integers(1, 100), st.integers(1, 20))
def test_whatever_happens_the_table_fits(tree: list[str], columns: int, rows: int) -> None:
    chosen = arms("a", "b")
    live, clock = watching(chosen, 50)
    waiting = itertools.cycle(chosen)
    running: list[Arm] = []
    for step in tree:
        clock.now += 0.5
        if step == "start" and live.tallies[(arm := next(waiting)).name].began is None:
            live.arm_started(arm, 50, 0)
            running.append(arm)
        elif step == "item" and running:
            live.item_done(running[-1], record(), "right")
        elif step == "end" and running:
            live.arm_finished(running.pop())
    shown = lines(live.picture(columns, rows), columns)
    assert len(shown) <= max(rows, 3)
    assert max(map(len, shown)) <= columns
