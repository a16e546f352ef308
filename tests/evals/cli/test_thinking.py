"""How much a model thinks, as an axis: of an evaluation, of a profile, of a prediction, and of `auto`."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import UsageError
from reasoner.models.thinking import ThinkingProfile
from reasoner.trace.events import Began, Prompted, Sampled, read_trace
from reasoner.types import Completion
from reasoner_evals.cli.setup import RunOptions
from reasoner_evals.runs.arms import Grid, arms_of
from tests.cli.command import Run

PROFILE = ThinkingProfile("on_request", (1,), (2,), "<think>", "</think>", "</think>\n")


@pytest.fixture
def thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of the simulated engine is one that thinks, for half of its tokens."""
    sample = SimulatedEngine.sample

    async def start(self: SimulatedEngine) -> None:
        self.model = replace(self.model, thinking=PROFILE)

    async def thinking(self: SimulatedEngine, request: SampleRequest) -> Completion:
        drawn = await sample(self, request)
        usage = replace(drawn.usage, thinking_tokens=drawn.usage.generated_tokens // 2)
        return replace(drawn, usage=usage)

    monkeypatch.setattr(SimulatedEngine, "start", start)
    monkeypatch.setattr(SimulatedEngine, "sample", thinking)


def test_each_strategy_that_draws_is_there_once_for_each_level() -> None:
    options = RunOptions(thinking="512, 2k,high", max_tokens=99)
    assert options.with_sampling(
        ["single", "self_consistency(n=2, of=refine)", "beam_search:n=2"]
    )[:3] == (
        "single:max_tokens=99,thinking=512",
        "single:max_tokens=99,thinking=2000",
        "single:max_tokens=99,thinking=high",
    )
    with pytest.raises(
        UsageError,
        match="thinking must be none, low, medium, high, or a number of tokens",
    ):
        RunOptions(thinking="512,").with_sampling(["single"])


def test_one_sample_that_thinks_is_not_greedy_so_that_every_seed_counts() -> None:
    arms = arms_of(
        Grid(
            ("t",),
            ("single", "single:thinking=none", "single:thinking=512"),
            seeds=(1, 2),
        )
    )
    assert [arm.strategy for arm in arms] == [
        "single",
        "single:thinking=none",
        "single:thinking=512",
        "single:thinking=512",
    ]


@pytest.mark.usefixtures("thinks")
def test_levels_are_an_axis_of_an_evaluation_and_its_report(
    run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    asked = (
        "eval",
        "arithmetic",
        "-e",
        "simulated",
        "-s",
        "self_consistency:n=2",
        "--limit",
        "3",
        "-q",
    )
    ended = run(*asked, "--thinking", "64,2k", "--out", str(folder), "--json")
    assert ended.code == 0, ended.err
    strategies = [
        "self_consistency:n=2,thinking=64",
        "self_consistency:n=2,thinking=2000",
    ]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [arm["strategy"] for arm in manifest["arms"]] == strategies
    for arm, level in zip(manifest["arms"], (64, 2000), strict=True):
        events = list(read_trace(folder / "arms" / arm["name"] / "trace.jsonl"))
        assert {
            event.thinking_level for event in events if isinstance(event, Prompted)
        } == {level}
        assert {event.strategy for event in events if isinstance(event, Began)} == {
            arm["strategy"]
        }
        # Samples at another level are other samples: none was taken from the other arm.
        assert sum(isinstance(event, Sampled) for event in events) == 6
    assert run("eval", "--resume", str(folder), "-q").code == 0
    assert run("report", str(folder)).code == 0
    for row in csv.DictReader((folder / "results.csv").open()):
        assert 0 < float(row["thinking_tokens"]) <= float(row["generated_tokens"]) / 2
