"""Stopped votes over recorded samples are what the strategy does with them on the virtual clock."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.stopping.rules import LAUNCH_WINDOW, Order
from reasoner.strategy import StopRule
from reasoner_evals.calibration.clock import SampleMatrix, StoppedVote
from reasoner_evals.runs.reading import SILENT
from reasoner_strategies import SelfConsistency
from tests.strategies.driving import Course, follow
from tests.strategies.test_self_consistency import PARAMS, QUESTION, RULES, Clock

CLASSES = {"7": 0, "8": 1, "9": 2, "-": SILENT}


@pytest.mark.parametrize("order", ["length", "launch"])
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from("777889-")),
        min_size=1,
        max_size=24,
    ),
    st.integers(1, 30) | st.none(),
    st.sampled_from(RULES),
)
def test_a_vote_over_recordings_is_the_strategy_itself(
    order: Order, drawn: list[tuple[int, str]], window: int | None, rule: StopRule
) -> None:
    n, clock = len(drawn), Clock(drawn)
    strategy = SelfConsistency(n, PARAMS, stop=rule, order=order, window=window)
    course = follow(
        strategy.plan(QUESTION), clock.reply, Course(), which=clock.next_to_end
    )
    now, finished = clock.ended[-1][0], {index for _, index, _ in clock.ended}
    spent = [
        drawn[at][0] + 1 if at in finished else now - began
        for at, began in enumerate(clock.starts)
    ]
    state = course.vote_states[-1]

    lengths = np.array([[length for length, _ in drawn]] * 2, dtype=np.float64)
    classes = np.array([[CLASSES[key] for _, key in drawn]] * 2)
    vote = StoppedVote(
        rule, order, n, window or (n if order == "length" else LAUNCH_WINDOW)
    )
    ended = vote.follow(SampleMatrix(classes == 0, classes, lengths, lengths + 1))
    for row in range(2):
        assert ended.samples[row] == state.samples == len(course.vote_states)
        assert ended.launched[row] == len(course.samples)
        assert ended.right[row] == (course.key == "7")
        assert ended.sequential[row] == now
        assert ended.length[row] == pytest.approx(state.length)
        # Those that end at the stop itself have all of their tokens, and count as cancelled or not.
        assert sum(spent) <= ended.tokens[row] <= sum(spent) + n - len(finished)
        assert ended.share[row] == (
            (state.votes[0].count if state.votes else 0) + 1
        ) / (state.samples + 2)
