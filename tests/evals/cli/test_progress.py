"""The progress of a running evaluation: one live line, and plain lines where there is no terminal."""

import io

import numpy as np
import pytest

from reasoner.budget import Cost
from reasoner.cli.terminal import Terminal
from reasoner_evals.cli.progress import EvalProgress, TaskTally
from reasoner_evals.cli.tuning_progress import TuneProgress
from reasoner_evals.runs.arms import Grid, arms_of
from reasoner_evals.runs.records import ItemRecord
from reasoner_evals.tuning.race import Race

ARM = arms_of(Grid(("sums",)))[0]
SPENT = Cost(prompt_tokens=100, generated_tokens=20, cached_tokens=999)


def record() -> ItemRecord:
    return ItemRecord(
        question_id="q",
        status="answered",
        ended_by="strategy",
        reason="done",
        cost=SPENT,
    )


def test_errors_and_what_is_not_graded_count_neither_as_right_nor_as_wrong() -> None:
    tally = TaskTally(ARM, 8)
    for outcome in (
        "right",
        "wrong",
        "no_answer",
        "truncated",
        "timed_out",
        "grader_timeout",
        "error",
        "ungraded",
    ):
        tally.add(record(), outcome)
    assert (tally.done, tally.graded, tally.right, tally.errors, tally.tokens) == (
        8,
        6,
        1,
        1,
        8 * 120,
    )
    assert tally.accuracy
    share, low, high = tally.accuracy
    assert share == 1 / 6
    # Wilson's upper limit of 1 of 6, as scipy's `binomtest(1, 6).proportion_ci(method="wilson")` gives it; the lower one
    # is exact, of which one or more right answers have a probability of 5 %.
    assert (low, high) == pytest.approx((1 - 0.95 ** (1 / 6), 0.56350), abs=1e-5)


def test_the_time_left_counts_the_samples_and_tokens_of_questions_in_flight() -> None:
    [single, pool] = arms_of(Grid(("sums",)))
    now = 100.0
    # A quarter of the samples of a pool are drawn, and no question is finished.
    drawn, samples = TaskTally(pool, 30, began=0.0), 30 * pool.pool
    for _ in range(samples // 4):
        drawn.paid(Cost(samples=1, generated_tokens=400))
    assert drawn.done == 0
    assert drawn.left(now) == pytest.approx(300, rel=0.01)
    # Others are known by what a finished question cost: 2 of 10, and as many tokens again in flight.
    tally = TaskTally(single, 10, began=0.0)
    assert tally.left(now) is None
    for _ in range(2):
        tally.add(record(), "right")
    tally.now = Cost(prompt_tokens=4 * 120)
    assert tally.left(now) == pytest.approx(150)
    tally.ended = now
    assert tally.left(now) is None


def test_the_time_left_counts_ratings_and_grades_that_are_still_to_run() -> None:
    best = arms_of(Grid(("sums",), ("best_of_n:n=8",), verifier="code"))[-1]
    tally, samples, now = TaskTally(best, 30, began=0.0), 30 * 8, 100.0
    for _ in range(samples):
        tally.paid(Cost(samples=1, generated_tokens=400))
    # All were drawn in 100 s. Each program takes half a second and waits for one of two processors.
    for _ in range(samples // 2):
        now += 0.25
        tally.check(now, now - 100, 1)
    left = samples // 2 + samples
    assert tally.left(now) == pytest.approx(left * 0.25)
    for _ in range(samples // 2):
        now += 0.25
        tally.check(now, now - 100, 1)
    for _ in range(15):
        now += 8 * 0.25
        tally.check(now, now - 130, 8)
        tally.add(record(), "right")
    assert tally.left(now) == pytest.approx(15 * 8 * 0.25)


def test_samples_of_unfinished_questions_are_kept_and_counted() -> None:
    written = io.StringIO()
    live = EvalProgress(Terminal(io.StringIO(), written), clock=lambda: 1.0)
    live.expect([ARM], {"sums": dict.fromkeys("abc", "")})
    assert live.kept == []
    live.arm_started(ARM, 3, 0)
    live.samples_kept(ARM, 5)
    live.spent(ARM, Cost(samples=2, generated_tokens=9))
    assert live.kept == ["7 samples of unfinished questions"]
    sampled = record().model_copy(update={"cost": Cost(samples=4, generated_tokens=9)})
    live.item_done(ARM, sampled, "right")
    assert live.kept == ["1 finished question", "3 samples of unfinished questions"]
    assert (
        "greedy: 5 samples of unfinished questions are reused"
        in written.getvalue().splitlines()
    )


def test_a_race_takes_as_long_as_its_tokens_and_earlier_sessions_no_time() -> None:
    now = 0.0
    live = TuneProgress(Terminal(io.StringIO(), io.StringIO()), clock=lambda: now)
    race = Race(np.ones((2, 10)), np.ones((2, 10)), np.ones((2, 10)), 100.0)
    live.expect(race, ["one", "two"], 40, 0.0)
    live.round(2, 4, 10)
    live.looked([], 900.0)
    assert "left" not in live.summary()
    # Ten questions of this session took 100 s and 1,000 tokens; half of the next ten are paid.
    now = 150.0
    live.spent(ARM, Cost(generated_tokens=1000))
    race.right = np.ones((2, 20))
    live.looked([], 1900.0)
    live.spent(ARM, Cost(generated_tokens=500))
    assert "at most 2:30 left" in live.summary()
