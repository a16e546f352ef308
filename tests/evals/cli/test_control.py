"""The controller in evaluations: what it decides is what was measured, knows no gold, and says when it no longer holds."""

from pathlib import Path

import numpy as np
import pytest

from reasoner.registry import build
from reasoner_evals.calibration.outcomes import RULES, pooled_arm, replay, stops, usable
from reasoner_evals.runs.measures import ArmRead
from reasoner_evals.runs.reading import RIGHT, open_run, read_arm
from reasoner_evals.runs.records import ItemRecord, RunFolder, read_journal
from tests.cli.command import Run
from tests.evals.calibration.pools import recorded_order
from tests.evals.pools import write_pool

VOTE = "self_consistency:n=16,max_tokens=60"


def records(run: Path, name: str) -> dict[str, ItemRecord]:
    return {record.question_id: record for record in read_journal(RunFolder(run).arm(name))}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("control")


@pytest.fixture
def profile(shared: Path, run: Run) -> Path:
    """A profile of questions that are nearly always answered rightly, made by the first test that uses it."""
    profile = shared / "profile.json"
    if not profile.exists():
        easy = write_pool(shared / "easy.jsonl", questions=200, right=0.9)
        ended = run(
            "calibrate", f"pool:{easy}", "-e", f"pool:{easy}", "-s", VOTE,
            "--out", str(profile), "--runs", str(shared / "calibration"),
        )  # fmt: skip
        assert ended.code == 0, ended.err
    return profile


def test_calibrated_on_easy_questions_and_used_on_hard_ones_it_raises_the_alarm(
    profile: Path, tmp_path: Path, run: Run
) -> None:
    for name, right, alarmed in (("like", 0.9, False), ("hard", 0.35, True)):
        pool = write_pool(tmp_path / f"{name}.jsonl", questions=120, right=right, seed=1)
        out = tmp_path / name
        ended = run("eval", f"pool:{pool}", "-e", f"pool:{pool}", "-s", f"auto:profile={profile}", "--out", str(out))
        assert ended.code == 0, ended.err
        assert run("report", str(out)).code == 0
        assert ("Warning" in (out / "results.md").read_text()) == alarmed


def test_what_a_rule_was_measured_to_do_is_what_it_does(tmp_path: Path, run: Run) -> None:
    """The replay that profiles are made of, and the runner: the same samples looked at, the same answer."""
    pool = write_pool(tmp_path / "pool.jsonl", questions=40, right=0.5)
    rules = (*RULES, "esc:window=3", "ppr", "dirichlet")
    words = [word for rule in rules for word in ("-s", f"{VOTE},order=launch,stop={rule}")]
    out = tmp_path / "run"
    assert run("eval", f"pool:{pool}", "-e", f"pool:{pool}", "-s", VOTE, *words, "--out", str(out)).code == 0
    opened = open_run(out)
    drawn, *stopped = opened.manifest.arms
    one = ArmRead(opened, read_arm(opened, drawn.name))
    samples = pooled_arm(one, np.flatnonzero(usable(one)))
    told = replay(samples.samples, recorded_order(samples.samples))
    ids = opened.tasks[drawn.task].ids
    assert len(stopped) == len(rules)
    for arm in stopped:
        rule = build("strategy", arm.strategy).stop
        looked = stops(told, rule)[:, 0]
        right = np.take_along_axis(told.right[:, 0, :], looked[:, None] - 1, axis=1)[:, 0]
        data = read_arm(opened, arm.name)
        found = records(out, arm.name)
        assert [found[name].cost.samples for name in ids] == looked.tolist(), arm.strategy
        assert (data.outcome == RIGHT).tolist() == right.tolist()


def test_decisions_are_the_same_with_the_gold_taken_away(profile: Path, tmp_path: Path, run: Run) -> None:
    arms = (f"{VOTE},stop=lock_in", f"auto:profile={profile}")
    total = ("--totals", "tokens=9000,samples=150")
    told = []
    for gold in ("7", "12345"):
        pool = write_pool(tmp_path / "pool.jsonl", questions=30, right=0.6, gold=gold)
        out = tmp_path / f"run-{gold}"
        words = [word for arm in arms for word in ("-s", arm)]
        assert run("eval", f"pool:{pool}", "-e", f"pool:{pool}", *words, *total, "--out", str(out)).code == 0
        names = [arm.name for arm in open_run(out).manifest.arms]
        told.append([
            {name: (one.answer, one.cost.taking(0), one.ended_by, one.reason, one.confidence) for name, one in arm.items()}
            for arm in (records(out, name) for name in names)
        ])  # fmt: skip
    assert told[0] == told[1]
    assert len(told[0]) == 4
