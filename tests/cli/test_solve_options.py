"""The options of `reasoner solve` that change its sampling, its prompt and its output, and their defaults from outside."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Run

ASKED = ("solve", "What is 3+4?", "-e", "simulated")


def document(run: Run, *arguments: str) -> dict[str, Any]:
    ended = run(*arguments, "--json")
    assert ended.code == 0, ended.err
    loaded: dict[str, Any] = json.loads(ended.out)
    return loaded


def test_sampling_options_replace_those_of_the_strategy(run: Run) -> None:
    assert document(run, *ASKED, "-n", "3")["samples"] == 3
    given = (
        "-s",
        "best_of_n:n=4,temperature=1",
        "-n",
        "2",
        "--temperature",
        "0.5",
        "--max-tokens",
        "700",
    )
    assert (
        document(run, *ASKED, *given)["strategy"]
        == "best_of_n:n=2,temperature=0.5,max_tokens=700"
    )
    assert "n must be from 1" in run(*ASKED, "-n", "0").error


def test_the_prompt_has_the_system_text(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "t.jsonl"
    document(
        run, *ASKED, "-s", "single", "--system", "Be brief.", "--trace", str(trace)
    )
    [prompted] = [
        event
        for line in trace.read_text().splitlines()
        if (event := json.loads(line))["event"] == "prompted"
    ]
    turns = [
        (turn["role"], turn["content"].partition("\n")[0])
        for turn in prompted["messages"]
    ]
    assert turns == [("system", "Be brief."), ("user", "What is 3+4?")]
    assert "--system is empty" in run(*ASKED, "--system", " ").error


def test_quiet_leaves_only_the_answer_or_an_error(run: Run) -> None:
    ended = run(*ASKED, "-q")
    assert (ended.out, ended.err) == ("7\n", "")
    assert run(*ASKED, "-q", "-b", "tokens=10").err.startswith(
        "error: budget tokens=10"
    )
    assert "contradict" in run(*ASKED, "-q", "--verbose").error


def test_an_option_goes_before_its_variable(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REASONER_SOLVE_ENGINE", "simulated")
    monkeypatch.setenv("REASONER_SOLVE_N", "3")
    assert document(run, *ASKED[:2])["samples"] == 3
    assert document(run, *ASKED[:2], "-n", "4")["samples"] == 4
