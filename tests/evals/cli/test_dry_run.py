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


def test_it_says_what_it_rests_on_and_starts_nothing(run: Run) -> None:
    shown = run(
        "eval", "arithmetic", "--limit", "20", "-e", "openai", "--base-url", "http://127.0.0.1:9/v1", "--dry-run"
    )
    assert (shown.code, shown.err) == (0, "")
    for part in ("mean tokens", "longest", "replies of 100 tokens on average", "seconds are not predicted"):
        assert part in " ".join(shown.out.split())
    assert "keep one" in run("eval", "--resume", "x", "--dry-run").error
