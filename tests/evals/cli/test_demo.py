"""`reasoner demo` without a model."""

import gzip
import json
import re
from pathlib import Path

import pytest

from reasoner_evals.cli.tour import RECORDINGS
from tests.cli.command import Run
from tests.cli.conftest import _plain_environment, run

__all__ = ["_plain_environment", "run"]

ROOT = Path(__file__).resolve().parents[3]


def test_the_tour_fits_a_narrow_pipe_and_agrees_with_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    [(gained, lost)] = re.findall(
        r"Greedy wrong and vote right: (\d+)\. The reverse: (\d+)", words
    )
    greedy, vote, *replayed = (
        int(count) for count in re.findall(r"(\d+) of 24 right", words)
    )
    assert int(gained) - int(lost) == vote - greedy > 0
    # A full dot for each right answer, and the recorded gain of the vote at the price that it has.
    assert [dots.count("●") for dots in re.findall(r"[●○]{24}", words)] == replayed
    once, sample, _, full, settled = replayed
    assert sample < full == settled
    assert (
        f"{full - sample} more questions right than one sample, and {full - once} more than greedy"
        in words
    )
    costs = [
        int(tokens.replace(",", ""))
        for tokens in re.findall(r"([\d,]+) tokens each", words)
    ]
    assert costs[1] < costs[2] < costs[4] < costs[3]


def test_without_vllm_the_tour_is_simulated_and_ends_as_the_first_page_shows(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reasoner.engines.vllm.build.installed_build", lambda: None)
    ended = run("demo")
    assert ended.code == 0
    assert "simulated was asked" in " ".join(ended.out.split())
    [shown] = re.findall(
        r"^A real benchmark.*?(?=^```)",
        (ROOT / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert shown in ended.out


@pytest.mark.parametrize(
    ("pool", "indices"), [("greedy", [-1]), ("samples", range(16))]
)
def test_its_pools_are_the_first_questions_of_the_recording(
    pool: str, indices: list[int]
) -> None:
    with gzip.open(
        ROOT / "bench/recordings/gsm8k-qwen2.5-coder-0.5b.jsonl.gz", "rt"
    ) as lines:
        replies = {
            (reply["question_id"], reply["index"]): reply
            for reply in map(json.loads, lines)
        }
    first = list(dict.fromkeys(name for name, _ in replies))[:24]
    recorded = [[replies[name, index] for index in indices] for name in first]
    assert [
        json.loads(line)
        for line in (RECORDINGS / f"{pool}.jsonl").read_text().splitlines()
    ] == [
        {
            "question_id": name,
            "gold": row[0]["gold"],
            "answers": [reply["answer"] for reply in row],
            "tokens": [reply["tokens"] for reply in row],
        }
        for name, row in zip(first, recorded, strict=True)
    ]


def test_an_unknown_engine_is_one_line(run: Run) -> None:
    assert "did you mean 'simulated'?" in run("demo", "-e", "simulatd").error
