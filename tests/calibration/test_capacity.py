"""What a run on GPUs takes: closed forms, what must grow with what, and files of rates that others wrote."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.calibration import capacity as constants
from reasoner.calibration.capacity import Rate, capacity, read_rate
from reasoner.calibration.planning import outlook
from reasoner.errors import UsageError
from tests.calibration.test_planning import MANY, family, published

FORECAST = outlook(family((MANY, [(400.0, 0.5)]))).maximum
"""One arm: 400 tokens per question, one sample."""


def test_one_arm_in_closed_form() -> None:
    took = capacity(FORECAST, 1_000_000, 8, Rate((2000.0, 2500.0), "here"))
    # 4e8 tokens at 8 x 2,250 a second.
    assert took.hours == pytest.approx(4e8 / (8 * 2250) / 3600)
    # No spread between questions, so that the rates alone make the interval.
    assert took.shortest == pytest.approx(4e8 / (8 * 2500) / 3600, rel=1e-3)
    assert took.longest == pytest.approx(4e8 / (8 * 2000) / 3600, rel=1e-3)
    assert took.samples == pytest.approx(8 * 2250 / 400)
    assert took.driver_cores == pytest.approx(took.samples * constants.SAMPLE_SECONDS)
    own, per_token = constants.TRACE_BYTES
    assert took.trace_bytes == pytest.approx(1e6 * (constants.TRACE_QUESTION_BYTES + own + 400 * per_token))
    assert took.journal_bytes == pytest.approx(1e6 * sum(constants.JOURNAL_BYTES))


GPUS, QUESTIONS = st.integers(1, 10**6), st.integers(1, 10**9)
RATES = st.lists(st.floats(0.01, 1e8), min_size=1, max_size=5).map(lambda rates: Rate(tuple(rates), "here"))


@given(GPUS, QUESTIONS, RATES, st.floats(2.3, 8.8))
def test_the_interval_holds_the_hours_and_drivers_have_room(
    gpus: int, questions: int, rate: Rate, tokens: float
) -> None:
    took = capacity(outlook(published()).at(tokens), questions, gpus, rate)
    assert 0 <= took.shortest <= took.hours * (1 + 1e-9)
    assert took.hours <= took.longest * (1 + 1e-9)
    assert took.driver_cores <= took.drivers * constants.BUSY * (1 + 1e-9)
    twice = capacity(outlook(published()).at(tokens), questions, 2 * gpus if gpus <= 500_000 else gpus, rate)
    assert twice.gpu_hours == pytest.approx(took.gpu_hours)
    assert (twice.trace_bytes, twice.journal_bytes) == (took.trace_bytes, took.journal_bytes)


@pytest.mark.parametrize("measured", [(), (0,), (-1.0,), (float("nan"),), (float("inf"),), ("x",), (True,), (10**400,)])
def test_what_is_no_rate_is_refused(measured: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        Rate(measured, "here")


def line(**changes: object) -> str:
    figures = {"bar": 0.98, "max_num_seqs=256": {"solve_many": [1900.0, 2100.0, 2000.0], "bare": [1.0], "ratio": 1.0},
               "max_num_seqs=1024": {"solve_many": [2500, 2400], "bare": [1.0], "ratio": 1.0}}  # fmt: skip
    return json.dumps({"phase": 2, "figures": figures, "card": "A card", "shape": "qwen3-1.7b", **changes})


def test_the_rate_of_a_file_is_that_of_the_setting_that_gives_most(tmp_path: Path) -> None:
    file = tmp_path / "gpu.jsonl"
    file.write_text(f".venv/bin/python bench/gpu.py\n{json.dumps({'phase': 1, 'figures': {}})}\n{line()}\n")
    rate = read_rate(file)
    assert (rate.measured, rate.median) == ((2500, 2400), 2450)
    assert rate.source == f"measured: qwen3-1.7b on A card, max_num_seqs=1024 ({file})"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rate"),
        (line(phase=3), "holds no rate"),
        (line(figures=[]), "holds no rate"),
        (line(figures={"max_num_seqs=256": {"solve_many": "fast"}}), "holds no rate"),
        (line(figures={"x": {"solve_many": []}}), "at least one measurement"),
        (line(figures={"x": {"solve_many": [None]}}), "each of them a number"),
        (line(figures={"x": {"solve_many": [0]}}), "a rate in tokens per second must be above 0"),
        (line(figures={"x": {"solve_many": [[1]]}}), "a rate in tokens per second must be a number"),
        (line(shape="tiny"), "was measured without a GPU"),
        (line()[:-5], "is not what `python bench/gpu.py` printed"),
        ('{"a":' * 10**5, "is not what `python bench/gpu.py` printed: it is nested too deeply"),
    ],
)
def test_a_file_without_rates_is_refused_in_a_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "gpu.jsonl"
    file.write_text(text)
    with pytest.raises(UsageError, match=message) as refused:
        read_rate(file)
    assert "\n" not in str(refused.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "gone", tmp_path / "pipe"):
        with pytest.raises(UsageError, match="cannot read the rates"):
            read_rate(path)
