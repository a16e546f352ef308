"""`reasoner demo` without a model."""

import re

import pytest

from tests.cli.command import Run
from tests.cli.conftest import _plain_environment, run

__all__ = ["_plain_environment", "run"]


def test_the_tour_fits_a_narrow_pipe_and_agrees_with_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ended = run("demo", "-e", "simulated")
    assert ended.code == 0
    assert "\x1b" not in ended.out
    tour, _, commands = ended.out.partition("What to type next")
    # Each can be copied whole.
    assert (
        "\nreasoner eval arithmetic --limit 12 -s single -s self_consistency --out first --engine simulated\n"
        in commands
    )
    assert max(map(len, tour.splitlines())) <= 40
    # The example and the totals count the same questions.
    words = " ".join(ended.out.split())
    [(gained, lost)] = re.findall(r"Greedy wrong and vote right: (\d+)\. The reverse: (\d+)", words)
    greedy, vote, *thought = (int(count) for count in re.findall(r"(\d+) of 24 right", words))
    assert int(gained) - int(lost) == vote - greedy > 0
    single, full, settled = thought
    assert single <= full == settled
    costs = [(int(tokens), int(waited)) for tokens, waited in re.findall(r"(\d+)k tokens each, (\d+)k in a row", words)]
    assert costs[2] < costs[1]


def test_an_unknown_engine_is_one_line(run: Run) -> None:
    assert "did you mean 'simulated'?" in run("demo", "-e", "simulatd").error
