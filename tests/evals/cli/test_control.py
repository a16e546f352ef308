"""The controller in evaluations: what it decides is what was measured, knows no gold, and says when it no longer holds."""

from pathlib import Path

import numpy as np
import pytest

from reasoner.registry import build, spec_of
from reasoner_evals.calibration.outcomes import (
    BY_LENGTH,
    RULES,
    pooled_arm,
    stopped,
    usable,
)
from reasoner_evals.runs.measures import ArmReading
from reasoner_evals.runs.reading import RIGHT, open_run, read_arm
from reasoner_evals.runs.records import ItemRecord, RunFolder, read_journal
from tests.cli.command import Run
from tests.evals.calibration.pools import recorded_order
from tests.evals.pools import write_pool

VOTE = "self_consistency:n=16,max_tokens=60"


def records(run: Path, name: str) -> dict[str, ItemRecord]:
    return {
        record.question_id: record for record in read_journal(RunFolder(run).arm(name))
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("control")


@pytest.fixture
def profile(shared: Path, run: Run) -> Path:
    """A profile of questions that are nearly always answered rightly, made by the first test that uses it."""
    profile = shared / "easy.profile.json"
    if not profile.exists():
        easy = write_pool(shared / "easy.jsonl", questions=200, right=0.9)
        ended = run(
            "tune",
            f"pool:{easy}",
            "-e",
            f"pool:{easy}",
            "-s",
            VOTE,
            "--out",
            str(shared / "easy.toml"),
        )
        assert ended.code == 0, ended.err
    return profile


def test_the_vote_of_an_answer_that_is_withheld_is_kept(
    profile: Path, tmp_path: Path, run: Run
) -> None:
    pool, out = (
        write_pool(tmp_path / "pool.jsonl", questions=20, right=0.5),
        tmp_path / "run",
    )
    auto = f"auto:profile={profile},abstain_below=1"
    assert (
        run(
            "eval", f"pool:{pool}", "-e", f"pool:{pool}", "-s", auto, "--out", str(out)
        ).code
        == 0
    )
    [arm] = open_run(out).manifest.arms
    withheld = [
        one
        for one in records(out, arm.name).values()
        if one.confidence is not None and not one.answer
    ]
    assert withheld
    assert all(one.share > 0 for one in withheld)


def test_what_a_rule_was_measured_to_do_is_what_it_does(
    tmp_path: Path, run: Run
) -> None:
    """The replay that profiles are made of, and the runner: the same samples looked at, the same answer."""
    pool = write_pool(tmp_path / "pool.jsonl", questions=40, right=0.5)
    rules = (*RULES, "esc:window=3", "ppr", "dirichlet")
    votes = [f"{VOTE},order=launch,stop={rule}" for rule in rules]
    votes += [f"{VOTE},window=16,stop={rule}" for rule in BY_LENGTH]
    words = [word for vote in votes for word in ("-s", vote)]
    out = tmp_path / "run"
    assert (
        run(
            "eval",
            f"pool:{pool}",
            "-e",
            f"pool:{pool}",
            "-s",
            VOTE,
            *words,
            "--out",
            str(out),
        ).code
        == 0
    )
    opened = open_run(out)
    drawn, *arms = opened.manifest.arms
    one = ArmReading(opened, read_arm(opened, drawn.name))
    samples = pooled_arm(one, np.flatnonzero(usable(one)))
    ids = opened.tasks[drawn.task].ids
    assert len(arms) == len(votes)
    for arm in arms:
        vote, orders = build("strategy", arm.strategy), recorded_order(samples.samples)
        told = stopped(
            samples.samples,
            orders,
            build("strategy", VOTE),
            spec_of(vote.stop),
            vote.order,
        )
        assert told.way.strategy == arm.strategy
        data = read_arm(opened, arm.name)
        found = records(out, arm.name)
        assert [found[name].cost.samples for name in ids] == told.samples[
            :, 0
        ].tolist(), arm.strategy
        assert [found[name].cost.sequential_tokens for name in ids] == told.sequential[
            :, 0
        ].tolist(), arm.strategy
        # Samples of a pool come whole, and what is cancelled at the stop counts in full.
        spent = np.array([found[name].cost.tokens for name in ids])
        assert np.all(told.tokens[:, 0] <= spent)
        assert vote.order == "length" or spent.tolist() == told.tokens[:, 0].tolist()
        assert (data.outcome == RIGHT).tolist() == told.right[:, 0].tolist()


def test_decisions_are_the_same_with_the_gold_taken_away(
    profile: Path, tmp_path: Path, run: Run
) -> None:
    arms = (f"{VOTE},stop=lock_in", f"auto:profile={profile}")
    total = ("--totals", "tokens=9000,samples=150")
    told = []
    for gold in ("7", "12345"):
        pool = write_pool(tmp_path / "pool.jsonl", questions=30, right=0.6, gold=gold)
        out = tmp_path / f"run-{gold}"
        words = [word for arm in arms for word in ("-s", arm)]
        assert (
            run(
                "eval",
                f"pool:{pool}",
                "-e",
                f"pool:{pool}",
                *words,
                *total,
                "--out",
                str(out),
            ).code
            == 0
        )
        names = [arm.name for arm in open_run(out).manifest.arms]
        told.append(
            [
                {
                    name: (
                        one.answer,
                        one.cost.taking(0),
                        one.ended_by,
                        one.reason,
                        one.confidence,
                    )
                    for name, one in arm.items()
                }
                for arm in (records(out, name) for name in names)
            ]
        )
    assert told[0] == told[1]
    assert len(told[0]) == 4
