"""`reasoner demo` without a model."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

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
    words = " ".join(ended.out.split())
    rows = re.findall(r"([●○]{12,}) (\d+) of (\d+) right", words)
    # A full dot for each right answer.
    assert [(dots.count("●"), len(dots)) for dots, _, _ in rows] == [
        (int(right), int(asked)) for _, right, asked in rows
    ]
    greedy, vote, first, one, four, sixteen, once, sample, _, settled, full = (
        int(right) for _, right, _ in rows
    )
    differences = [
        int(gained) - int(lost)
        for gained, lost in re.findall(r"wrong: (\d+)\. The reverse: (\d+)", words)
    ]
    assert differences == [vote - greedy, sixteen - first, full - once]
    assert vote > greedy
    # The recorded gains at the prices that they have.
    assert sample < full == settled
    assert one <= first < four < sixteen
    costs = [
        int(tokens.replace(",", ""))
        for tokens in re.findall(r"%\), ([\d,]+) tokens", words)
    ]
    assert costs[3] < costs[4] < costs[5]
    assert costs[7] < costs[8] < costs[9] < costs[10]


def test_without_vllm_the_tour_is_simulated_and_ends_as_the_first_page_shows(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reasoner.engines.vllm.build.installed_build", lambda: None)
    ended = run("demo")
    assert ended.code == 0
    assert ended.out.startswith("simulated on simulated, asked now")
    [shown] = re.findall(
        r"^A real benchmark.*?(?=^```)",
        (ROOT / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert shown in ended.out


def recording(name: str) -> dict[tuple[str, int], dict[str, Any]]:
    """The lines of a recording by question and index."""
    with gzip.open(ROOT / f"bench/recordings/{name}.jsonl.gz", "rt") as lines:
        return {
            (line["question_id"], line["index"]): line
            for line in map(json.loads, lines)
        }


@pytest.mark.parametrize(("benchmark", "count"), [("gsm8k", 24), ("humaneval", 21)])
def test_its_recordings_are_the_first_questions_of_the_recording(
    benchmark: str, count: int
) -> None:
    replies = recording(f"{benchmark}-qwen2.5-coder-0.5b")
    shown_tests = recording("humaneval-shown-tests")

    def answer(reply: dict[str, Any]) -> str:
        passes = "passes" if reply["right"] else "fails"
        return reply["answer"] if benchmark == "gsm8k" else passes

    def score(name: str, index: int) -> dict[str, float]:
        if benchmark == "gsm8k" or index < 0:
            return {}
        values = [shown_tests[name, each]["value"] for each in range(16)]
        # Where no test of the question can be read, all samples are alike.
        unread = 0.001 if any(value is not None for value in values) else 0.5
        return {"score": round(values[index] or unread, 3)}

    lines = (RECORDINGS / f"{benchmark}.jsonl").read_text().splitlines()
    first = list(dict.fromkeys(name for name, _ in replies))[:count]
    shown = {
        (line["question_id"], line["index"]): line for line in map(json.loads, lines)
    }
    assert len(shown) == len(lines)
    assert shown == {
        (name, index): {
            "question_id": name,
            "gold": replies[name, 0].get("gold", "passes"),
            "index": index,
            "answer": answer(replies[name, index]),
            "tokens": replies[name, index]["tokens"],
        }
        | score(name, index)
        for name in first
        for index in range(-1, 16)
    }


def test_an_unknown_engine_is_one_line(run: Run) -> None:
    assert "did you mean 'simulated'?" in run("demo", "-e", "simulatd").error
