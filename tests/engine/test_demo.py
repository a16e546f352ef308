"""`reasoner demo` on real vLLM: what it prints agrees with itself, whatever the model answers."""

import re
import sys
from pathlib import Path

import pytest

from reasoner.cli import main
from reasoner_evals.cli import demo


def test_the_tour_agrees_with_itself(
    embedded_model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # As on a machine where little time is enough for few questions.
    monkeypatch.setattr(demo, "SECONDS", 1.0)
    # It would end this process at once, as vLLM is imported.
    monkeypatch.setattr("reasoner.cli._leave", sys.exit)
    with pytest.raises(SystemExit) as left:
        main(["demo"])
    out, err = capfd.readouterr()
    assert left.value.code == 0, err
    shown = " ".join(out.split())
    rates = dict(re.findall(r"(greedy|vote) (\d+) of \d+ right", shown))
    gained = int((re.findall(r"Greedy wrong and vote right: (\d+)", shown) or ["0"])[0])
    [lost] = re.findall(r"[Tt]he reverse[^:]*: (\d+)", shown)
    # A question without a greedy answer counts as wrong, and is not one that the vote put right.
    assert gained - int(lost) <= int(rates["vote"]) - int(rates["greedy"])
