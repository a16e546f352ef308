"""The controller in evaluations: what it decides is what was measured, knows no gold, and says when it no longer holds."""

from pathlib import Path

import pytest

from reasoner_evals.runs.reading import open_run
from reasoner_evals.runs.records import ItemRecord, RunFolder, read_journal
from tests.cli.command import Run
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


def test_decisions_are_the_same_with_the_gold_taken_away(
    profile: Path, tmp_path: Path, run: Run
) -> None:
    arms = (f"{VOTE},stop=lock_in", f"auto:profile={profile}")
    total = ("--total", "9k", "--total", "samples=150")
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
