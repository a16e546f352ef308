"""`reasoner plan --gpus`: hours, dollars, drivers and disk."""

import pytest

from tests.cli.command import Run
from tests.cli.test_plan import Save, _no_vllm, family, planned, save

__all__ = ["_no_vllm", "save"]


def test_hours_dollars_drivers_and_disk(run: Run, save: Save) -> None:
    file = save(family(scale=100))
    on = ("--gpus", "8", "--rate", "2400,2600", "--usd-per-gpu-hour", "2")
    run_of = planned(run, "--profile", file, "-b", "tokens=300m", "--questions", "1e6", *on)["run"]
    assert run_of["hours"] == pytest.approx(3e8 / (8 * 2500) / 3600)
    assert run_of["hours_low"] < run_of["hours"] < run_of["hours_high"]
    assert run_of["usd"] == pytest.approx(16 * run_of["hours"])
    assert run_of["operations_per_second"] == pytest.approx(3 * run_of["samples_per_second"])
    shown = run("plan", "--profile", file, "-b", "tokens=300m", "--questions", "1e6", *on).out
    assert "hours    4.17 on 8 GPUs, 4 to 4.35\n" in shown
    assert "rate     2,500 tokens per second and GPU, 2,400 to 2,600; given by --rate\n" in shown
    assert "price    $66.67, $64.01 to $69.54\n" in shown
    assert "give --usd-per-gpu-hour" in run("plan", "--profile", file, "-b", "tokens=300", *on[:4]).out


def test_without_a_budget_it_is_the_most_accurate_way(run: Run, save: Save) -> None:
    told = planned(run, "--profile", save(), "--gpus", "8", "--rate", "10", "--questions", "200k")
    assert (told["questions"], told["tokens"]) == (200_000, pytest.approx(8.8))
    assert told["remarks"] == ["the most accurate way that was measured"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "8"], "--gpus needs one measured rate, and neither is given: give --rate TOKENS"),
        (["--gpus", "8", "--rate", "1", "--rates", "x"], "both are given"),
        (["--gpus", "0", "--rate", "1"], "--gpus must be from 1 to 1,000,000 (got 0)"),
        (["--gpus", "8", "--rate", "fast"], "--rate must be tokens per second"),
        (["--gpus", "8", "--rate", "0"], "a rate in tokens per second must be above 0"),
        (["--gpus", "8", "--rate", "nan"], "a rate in tokens per second must be above 0"),
        (["--gpus", "8", "--rates", "gone"], "cannot read the rates gone"),
        (["--gpus", "8", "--rate", "1", "--usd-per-gpu-hour", "-1"], "--usd-per-gpu-hour must be from 0"),
        (["--rate", "1"], "--rate has no effect without --gpus"),
        (["--usd-per-gpu-hour", "1"], "--usd-per-gpu-hour has no effect without --gpus"),
        (["--gpus", "8", "--rate", "1", "--questions", "1.5"], "--questions must be from 1 to 1,000,000,000 (got 1.5)"),
    ],
)
def test_bad_options_about_gpus_are_told_in_a_line(arguments: list[str], message: str, run: Run, save: Save) -> None:
    ended = run("plan", "--profile", save(), *arguments)
    assert ended.code == 2
    assert message in ended.error
