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
    given = ("-s", "best_of_n:n=4,temperature=1", "-n", "2", "--temperature", "0.5", "--max-tokens", "700")
    assert document(run, *ASKED, *given)["strategy"] == "best_of_n:n=2,temperature=0.5,max_tokens=700"
    assert "n must be from 1" in run(*ASKED, "-n", "0").error


def test_the_prompt_has_the_system_text_and_the_earlier_turns(run: Run, tmp_path: Path) -> None:
    talk, trace = tmp_path / "talk.json", tmp_path / "t.jsonl"
    turns = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi"), ("user", "What is 3+4?")]
    messages = [{"role": role, "content": text} for role, text in turns]
    talk.write_text(json.dumps(messages))
    asked = ("solve", "-e", "simulated", "-s", "single", "--messages", str(talk))
    found = document(run, *asked, "--trace", str(trace))
    assert found["question_id"] != document(run, *ASKED, "-s", "single")["question_id"]
    [prompted] = [
        event for line in trace.read_text().splitlines() if (event := json.loads(line))["event"] == "prompted"
    ]
    assert [(turn["role"], turn["content"].partition("\n")[0]) for turn in prompted["messages"]] == turns
    assert "keep one" in run(*asked, "--system", "Be long.").error
    assert "keep one" in run(*ASKED, "--messages", str(talk)).error
    talk.write_text("\n\n".join(map(json.dumps, messages)))
    assert document(run, *asked)["question_id"] == found["question_id"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "is an empty list"),
        ('{"role": "user"}', "line 1 is not a turn: write"),
        ('{"role": "user", "content": "a"}\nnot json\n', "line 2 is not JSON"),
        ('["q"]', "entry 1 is not a turn: write"),
        ("[" * 100_000, "is not JSON"),
        ('[{"role": "bot", "content": "q"}]', "entry 1 is not a turn: write"),
        ('[{"role": "assistant", "content": "q"}]', "the last must be the user's"),
        ('[{"role": "user", "content": "q"}, {"role": "system", "content": "s"}]', "must be the first"),
        ('[{"role": "system", "content": "s"}]', "the last must be the user's"),
    ],
)
def test_a_file_of_turns_that_cannot_be_used(content: str, problem: str, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "turns.json"
    file.write_text(content)
    ended = run("solve", "-e", "simulated", "--messages", str(file))
    assert (ended.code, ended.out) == (2, "")
    assert problem in ended.error
    assert str(file) in ended.error


def test_the_reply_behind_the_answer_is_shown_apart_from_it(run: Run) -> None:
    ended = run(*ASKED, "-v")
    assert ended.out == "7\n"
    assert "reply    The answer is 7" in ended.err.splitlines()
    assert document(run, *ASKED)["text"] == "The answer is 7"


def test_quiet_leaves_only_the_answer_or_an_error(run: Run) -> None:
    ended = run(*ASKED, "-q")
    assert (ended.out, ended.err) == ("7\n", "")
    assert run(*ASKED, "-q", "-b", "tokens=10").err.startswith("error: budget tokens=10")
    assert "contradict" in run(*ASKED, "-q", "-v").error


def test_an_option_goes_before_its_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONER_SOLVE_ENGINE", "simulated")
    monkeypatch.setenv("REASONER_SOLVE_N", "3")
    assert document(run, *ASKED[:2])["samples"] == 3
    assert document(run, *ASKED[:2], "-n", "4")["samples"] == 4
    monkeypatch.setenv("REASONER_SOLVE_N", "0")
    assert run(*ASKED[:2]).error.endswith("; set by variables: REASONER_SOLVE_N, REASONER_SOLVE_ENGINE")


@pytest.mark.parametrize("command", ["solve", "eval"])
def test_the_short_help_fits_a_screen_and_leads_to_the_long_one(
    command: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short, full = run(command, "-h").out, run(command, "--help-all").out
    assert len(short.splitlines()) <= 24
    assert "--help-all" in short
    assert run(command, "--help").out == short
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, run(command, "-h").out.splitlines())) <= 40
    for part in ("Exit codes:", "--prices", "--engine"):
        assert part in full
        assert part not in short
