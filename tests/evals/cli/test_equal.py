"""`reasoner eval --equal`: strategies in sizes of equal cost."""

from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner_evals.runs.arms import Subset
from reasoner_evals.runs.equal import pilot, read_goal
from reasoner_evals.runs.manifest import read_manifest
from reasoner_evals.runs.measures import ArmReading, as_run
from reasoner_evals.runs.reading import open_run, read_arm
from reasoner_evals.runs.records import RunFolder
from reasoner_evals.tasks.arithmetic import Arithmetic
from tests.cli.command import Run

ASKED = (
    "eval",
    "arithmetic:split=practice",
    "-e",
    "simulated:accuracy=0.6,tokens=60",
    "--subset-seed",
    "1",
    "--equal",
)
FORTY = ("--limit", "40")


def costs(path: Path, kind: str = "tokens") -> dict[str, float]:
    run = open_run(path)
    return {
        arm.strategy: float(
            as_run(ArmReading(run, read_arm(run, arm.name)))[kind].mean()
        )
        for arm in run.manifest.arms
    }


@pytest.mark.process
def test_each_strategy_costs_about_the_same_and_the_run_continues_with_its_sizes(
    run: Run, tmp_path: Path
) -> None:
    named = (
        "-s",
        "vote8",
        "-s",
        "adaptive_consistency",
        "-s",
        "revise:revisions=1",
        "-s",
        "refine",
        "-s",
        "single",
    )
    verified = ("--verifier", "rules:pattern=1")
    ended = run(*ASKED, "1k", *named, *verified, *FORTY, "--out", str(tmp_path / "run"))
    assert ended.code == 0, ended.err
    found = costs(tmp_path / "run")
    assert found.pop("single") < 200
    assert len(found) == 4
    assert all(600 < cost < 1500 for cost in found.values()), found
    assert any(
        spec.startswith("self_consistency:n=") and spec.endswith(",of=refine")
        for spec in found
    )
    assert run("eval", "--resume", str(tmp_path / "run")).code == 0
    assert list(costs(tmp_path / "run")) == [*found, "single"]


@pytest.mark.process
def test_without_strategies_all_that_apply_are_compared(
    run: Run, tmp_path: Path
) -> None:
    ended = run(*ASKED, "2k", "--limit", "4", "--out", str(tmp_path / "run"))
    assert ended.code == 0, ended.err
    names = [
        arm.strategy.partition(":")[0]
        for arm in read_manifest(RunFolder(tmp_path / "run")).arms
    ]
    assert names[:2] == ["single", "self_consistency"]
    assert {"aggregate", "swiss", "deepconf", "universal"} <= set(names)
    # The simulator tells no likelihoods, and nobody asked for a verifier.
    assert not {"likelihood", "best_of_n", "refine"} & set(names)
    assert "likelihood is left out: simulated has no token ids" in ended.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("1k", "-n", "4"), "-n has no effect with --equal"),
        (("1k", "--budgets", "1k"), "--budgets has no effect with --equal"),
        (("1k", "arithmetic"), "--equal finds the sizes for one task (got 2)"),
        (("samples=4",), "--equal must be tokens or sequential tokens"),
        (("1k", "--resume", "gone"), "--equal 1k has no effect with --resume"),
        (("1k", "-s", "likelihood"), "simulated has no token ids"),
        (("1k", "--limit", "800"), "add --limit, or lower it"),
    ],
)
def test_what_cannot_be_sized_is_refused(
    given: tuple[str, ...], message: str, run: Run, tmp_path: Path
) -> None:
    limit = () if "--limit" in given else FORTY
    ended = run(
        *ASKED,
        *given,
        *limit,
        *(() if "--resume" in given else ("--out", str(tmp_path / "run"))),
    )
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.error


def test_sizes_are_found_on_questions_unrelated_to_those_of_the_run() -> None:
    whole = Arithmetic().load()
    kept = Subset(limit=45).cut(whole)
    others = {question.id for question in pilot(whole, kept)}
    groups = {item.question.id: item.group for item in whole.items}
    assert others
    assert not {groups[name] for name in others} & {item.group for item in kept.items}
    with pytest.raises(UsageError, match="other questions"):
        pilot(whole, Subset(limit=50).cut(whole))


def test_a_goal_may_be_sequential() -> None:
    assert read_goal("2k").tokens == 2000
    assert read_goal("sequential=300").sequential == 300
    with pytest.raises(UsageError, match="as in 4k or sequential=2k"):
        read_goal("tokens=4,sequential=2")
