"""The progress of a running evaluation: one live line, and plain lines where there is no terminal."""

import io

import pytest

from reasoner.budget import Cost
from reasoner.cli.terminal import Terminal
from reasoner_evals.cli.progress import EvalProgress, TaskTally
from reasoner_evals.runs.arms import Grid, arms_of
from reasoner_evals.runs.records import ItemRecord, Outcome

ARM = arms_of(Grid(("sums",)))[0]
SPENT = Cost(prompt_tokens=100, generated_tokens=20, cached_tokens=999)


def record() -> ItemRecord:
    return ItemRecord(question_id="q", status="answered", ended_by="strategy", reason="done", cost=SPENT)


def test_errors_and_what_is_not_graded_count_neither_as_right_nor_as_wrong() -> None:
    tally = TaskTally(ARM, 8)
    for outcome in ("right", "wrong", "no_answer", "truncated", "timed_out", "grader_timeout", "error", "ungraded"):
        tally.add(record(), outcome)
    assert (tally.done, tally.graded, tally.right, tally.errors, tally.tokens) == (8, 6, 1, 1, 8 * 120)
    assert tally.accuracy
    share, low, high = tally.accuracy
    assert share == 1 / 6
    # Wilson's upper limit of 1 of 6, as scipy's `binomtest(1, 6).proportion_ci(method="wilson")` gives it; the lower one
    # is exact, of which one or more right answers have a probability of 5 %.
    assert (low, high) == pytest.approx((1 - 0.95 ** (1 / 6), 0.56350), abs=1e-5)


def test_without_a_terminal_lines_come_at_doublings_tenths_and_the_end() -> None:
    written = io.StringIO()
    live = EvalProgress(Terminal(io.StringIO(), written), clock=lambda: 0.0)
    live.arm_started(ARM, 60, 0)
    outcomes: tuple[Outcome, ...] = ("right", "wrong") * 30
    for outcome in outcomes:
        live.item_done(ARM, record(), outcome)
    live.arm_finished(ARM)
    said = written.getvalue().splitlines()
    told = [line.removeprefix("sums.single: ").partition(" · ")[0] for line in said]
    counts = [1, 2, 4, *range(8, 60, 8)]
    assert told == ["60 questions", *(f"{count} of 60" for count in counts), "60 of 60"]
    assert said[-1] == "sums.single: 60 of 60 · accuracy 50.0 % (38-62) · 120 tokens per question"
