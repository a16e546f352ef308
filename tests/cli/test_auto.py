"""`reasoner solve` that chooses by itself: its options, what it tells of its choice, and when it is not sure."""

import json
from pathlib import Path

import pytest

from reasoner.calibration.profile import Bins
from tests.calibration.profiles import VOTE, bin_of, calibrated, row
from tests.cli.command import Ended, Run

SPLIT = ("-e", "simulated:answers=[7,8],weights=[0.5,0.5]")
SURE = ("-e", "simulated:answers=7,weights=1")


@pytest.fixture
def profile(tmp_path: Path) -> str:
    return calibrated(tmp_path / "profile.json", bin_of(0, 0.5, 0.8))


def told(ended: Ended, label: str) -> str:
    [line] = [line for line in ended.err.splitlines() if line.startswith(label)]
    return line[9:]


def strategy_of(ended: Ended) -> str:
    return str(json.loads(ended.out)["strategy"])


@pytest.mark.parametrize(
    ("arguments", "spec"),
    [
        ((), "self_consistency"),
        (("--effort", "low"), "auto:effort=low"),
        (("-s", "auto:n=9", "--effort", "high"), "auto:effort=high,n=9"),
        (("-s", "auto"), "auto"),
    ],
)
def test_options_of_auto_choose_it(arguments: tuple[str, ...], spec: str, run: Run) -> None:
    assert strategy_of(run("solve", "What is 3+4?", "--json", *SURE, *arguments)) == spec


def test_verbose_explains_what_ran_what_ended_it_and_how_reliable_it_is(profile: str, run: Run) -> None:
    ended = run("solve", "What is 3+4?", "-v", *SURE, "--profile", profile)
    assert (ended.code, ended.out) == (0, "7\n")
    assert told(ended, "ran").startswith(f"chose {VOTE}: ")
    assert "; 16 samples, " in told(ended, "ran")
    assert told(ended, "stopped") == "strategy: the strategy finished"
    assert told(ended, "trust") == "right with a probability of 0.90, calibrated on 400 questions"


def test_verbose_without_a_calibration_counts_the_votes(run: Run) -> None:
    ended = run("solve", "What is 3+4?", "-v", "-s", "self_consistency:n=40,stop=beta", *SURE)
    assert told(ended, "ran").startswith(r"self_consistency:n=40,stop=beta; ")
    assert told(ended, "stopped").startswith("rule: 4 to 0 votes: ")
    assert told(ended, "trust") == "not calibrated: 4 of 4 votes"


def test_not_sure_is_said_and_is_no_answer(profile: str, run: Run) -> None:
    ended = run("solve", "What is 3+4?", *SPLIT, "--profile", profile, "--abstain-below", "0.85")
    assert (ended.code, ended.out) == (1, "not sure\n")
    assert "the best answer, '" in ended.error
    assert "is right with a probability of 0." in ended.error


def test_what_rates_is_what_was_measured_with(tmp_path: Path, run: Run) -> None:
    measured = "certainty:measure=self_certainty"
    rated = row("best_of_n:n=4", 0.95, 4, vote=0.7).model_copy(update={"verifier": measured})
    path = calibrated(tmp_path / "rated.json", (*bin_of(0, 0.7, 0.7), rated))
    used = [
        json.loads(run("solve", "What is 3+4?", "--json", *SURE, "--profile", path, *others).out)["verifier"]
        for others in ((), ("--verifier", "certainty"))
    ]
    assert used == [measured, "certainty"]


def test_several_that_were_measured_with_are_asked_about(tmp_path: Path, run: Run) -> None:
    rows = [
        row("best_of_n:n=4", 0.95, 4, bin=place, vote=0.7).model_copy(update={"verifier": verifier})
        for place, verifier in enumerate(("certainty", "judge"))
    ]
    bins = Bins(signal="prompt", edges=(40.0,))
    path = calibrated(tmp_path / "rated.json", (*bin_of(0, 0.7, 0.7), *bin_of(1, 0.7, 0.7), *rows), bins)
    ended = run("solve", "What is 3+4?", *SURE, "--profile", path)
    assert (ended.code, ended.error) == (
        2,
        "error: the profile was measured with certainty and judge: choose one of them as the verifier",
    )
