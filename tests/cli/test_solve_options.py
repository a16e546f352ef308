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


def test_the_prompt_has_the_system_text_the_examples_and_the_earlier_turns(run: Run, tmp_path: Path) -> None:
    shots, talk, trace = tmp_path / "shots.jsonl", tmp_path / "talk.json", tmp_path / "t.jsonl"
    shots.write_text('{"question": "1+1?", "answer": "2"}\n\n{"question": "2+2?", "answer": "4"}\n')
    turns = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi"), ("user", "What is 3+4?")]
    talk.write_text(json.dumps([{"role": role, "content": text} for role, text in turns]))
    asked = ("solve", "-e", "simulated", "-s", "single", "--messages", str(talk), "--few-shot", str(shots))
    plain = document(run, *ASKED, "-s", "single")
    assert document(run, *asked, "--trace", str(trace))["question_id"] != plain["question_id"]
    [prompted] = [
        event for line in trace.read_text().splitlines() if (event := json.loads(line))["event"] == "prompted"
    ]
    roles = [(turn["role"], turn["content"].partition("\n")[0]) for turn in prompted["messages"]]
    assert roles == [
        ("system", "Be brief."),
        *(("user", "1+1?"), ("assistant", "2"), ("user", "2+2?"), ("assistant", "4")),
        *turns[1:],
    ]
    assert "keep one" in run(*asked, "--system", "Be long.").error
    assert "keep one" in run(*ASKED, "--messages", str(talk)).error


@pytest.mark.parametrize(
    ("option", "content", "problem"),
    [
        ("--few-shot", "[]", "is an empty list"),
        ("--few-shot", '{"question": "q"}', "entry 1: answer must be a text"),
        ("--few-shot", '{"question": "q", "answer": "a"}\nnot json\n', "line 2 is not JSON"),
        ("--few-shot", '["q"]', "entry 1 is not an object"),
        ("--few-shot", "[" * 100_000, "is not JSON"),
        ("--messages", '[{"role": "bot", "content": "q"}]', "role must be system, user or assistant (got 'bot')"),
        ("--messages", '[{"role": "assistant", "content": "q"}]', "the last must be the user's"),
        ("--messages", '[{"role": "user", "content": "q"}, {"role": "system", "content": "s"}]', "must be the first"),
        ("--messages", '[{"role": "system", "content": "s"}]', "the last must be the user's"),
    ],
)
def test_a_file_of_turns_that_cannot_be_used(option: str, content: str, problem: str, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "turns.json"
    file.write_text(content)
    arguments = ("solve", "-e", "simulated", *(["q"] if option == "--few-shot" else []), option, str(file))
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert problem in ended.error
    assert str(file) in ended.error


def test_the_reply_behind_the_answer_is_shown_apart_from_it(run: Run) -> None:
    ended = run(*ASKED, "--show-reasoning")
    assert ended.out == "7\n"
    assert "reply    The answer is 7" in ended.err.splitlines()
    assert document(run, *ASKED)["text"] == "The answer is 7"


def test_quiet_leaves_only_the_answer_or_an_error(run: Run) -> None:
    ended = run(*ASKED, "-q")
    assert (ended.out, ended.err) == ("7\n", "")
    assert run(*ASKED, "-q", "-b", "tokens=10").err.startswith("error: budget tokens=10")
    assert "contradict" in run(*ASKED, "-q", "-v").error


def test_the_answer_goes_to_a_file_as_a_whole(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "answer"
    file.write_text("before")
    assert run(*ASKED, "-o", str(file), "-b", "tokens=10").code == 3
    assert file.read_text() == "before"
    ended = run(*ASKED, "-o", str(file))
    assert (ended.code, ended.out, file.read_text()) == (0, "", "7\n")
    assert run(*ASKED, "-o", str(file), "--json").out == ""
    assert json.loads(file.read_text())["answer"]["text"] == "7"
    assert "cannot write --output" in run(*ASKED, "-o", str(tmp_path)).error
    assert "cannot write --output" in run(*ASKED, "-o", str(tmp_path / "missing" / "x")).error
    assert "give two names" in run(*ASKED, "-o", str(file), "--trace", str(file)).error


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
    for part in ("Exit codes:", "--prices", "--engine"):
        assert part in full
        assert part not in short
