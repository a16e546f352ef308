"""`reasoner eval --dry-run`: a prediction that the run then keeps."""

import json
from pathlib import Path

import pytest

from tests.cli.command import Run

SPECS = ("-s", "self_consistency:n=4", "-s", "adaptive_consistency:n=8", "-s", "beam_search:n=4,width=2")


@pytest.mark.process
def test_the_run_costs_what_was_predicted(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("eval", "arithmetic", *SPECS, "-e", "simulated", "--budgets", "2k", "--json")
    few = (*asked, "--limit", "8")
    predicted = json.loads(run(*few, "--dry-run").out)
    assert list(tmp_path.iterdir()) == []
    measured = json.loads(run(*few, "--out", "run").out)["arms"]
    assert [arm["name"] for arm in predicted["arms"]] == [arm["name"] for arm in measured]
    for prediction, arm in zip(predicted["arms"], measured, strict=True):
        assert prediction["mean"]["tokens"] == arm["tokens"]
        assert arm["tokens"] <= prediction["longest"]["tokens"]
    longest = {arm["strategy"]: arm["longest"]["tokens"] for arm in predicted["arms"]}
    assert longest["self_consistency:n=4"] >= 8 * 4 * 512
    assert all(tokens <= 8 * 2000 for spec, tokens in longest.items() if not spec.startswith("self_consistency"))


def test_the_shards_of_a_run_are_predicted_to_cost_what_the_run_does(run: Run) -> None:
    asked = ("eval", "arithmetic", *SPECS, "-e", "simulated", "--budgets", "2k", "--limit", "2", "--dry-run", "--json")
    whole, *shards = (json.loads(run(*asked, *part).out) for part in ((), *(("--shard", f"{i}/3") for i in (1, 2, 3))))
    for arm, *parts in zip(whole["arms"], *(shard["arms"] for shard in shards), strict=True):
        # The third shard has no question.
        assert [part["questions"] for part in parts] == [1, 1, 0]
        for which in ("mean", "longest"):
            assert sum(part[which]["tokens"] for part in parts) == arm[which]["tokens"] > 0


def test_a_shard_is_predicted_within_its_part_of_a_total(run: Run) -> None:
    asked = ("eval", "arithmetic", "-s", "adaptive_consistency", "-e", "simulated", "--limit", "6", "--totals", "1001")
    longest = [
        json.loads(run(*asked, "--dry-run", "--json", "--shard", shard).out)["longest"]["tokens"]
        for shard in ("1/2", "2/2")
    ]
    assert longest[0] <= 501
    assert longest[1] <= 500
    assert min(longest) > 400


def test_it_says_what_it_rests_on_and_starts_nothing(run: Run) -> None:
    shown = run(
        "eval", "arithmetic", "--limit", "20", "-e", "openai", "--base-url", "http://127.0.0.1:9/v1", "--dry-run"
    )
    assert (shown.code, shown.err) == (0, "")
    for part in ("mean tokens", "longest", "replies of 100 tokens on average", "seconds are not predicted"):
        assert part in " ".join(shown.out.split())
    assert "keep one" in run("eval", "--resume", "x", "--dry-run").error
