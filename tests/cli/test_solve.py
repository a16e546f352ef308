"""`reasoner solve` with an engine that needs no model: what it prints where, and that every option does something."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Run

SIMULATED = ("-e", "simulated")
JSON_KEYS = {
    *("question_id", "question", "answer", "votes", "samples", "answered", "share", "tied", "tie"),
    *("text", "completions", "cost", "cut", "budget", "ended_by", "reason", "error"),
    *("strategy", "verifier", "engine", "model", "notes", "remarks", "unrated", "confidence", "seed", "proposals"),
}


def document(run: Run, *arguments: str) -> dict[str, Any]:
    """The solution as JSON."""
    ended = run("solve", "What is 3+4?", "--json", *arguments)
    assert (ended.code, ended.out.count("\n")) == (0, 1), ended.err
    loaded: dict[str, Any] = json.loads(ended.out)
    return loaded


def test_progress_and_summary_are_lines_on_standard_error(run: Run) -> None:
    lines = run("solve", "What is 3+4?", "-b", "tokens=2k", *SIMULATED).err.splitlines()
    assert lines[:2] == ["starting simulated", "solving with simulated"]
    counts = [line.partition(" ")[0] for line in lines if " of 2,000 tokens · leading 7 (" in line]
    assert counts == ["1", "2", "4", "8"]
    summary = lines[6:]
    assert [line[:9].strip() for line in summary] == ["vote", "cost", "budget", "time", "note"]
    assert summary[0].endswith("(8 samples, 0 without an answer)")
    assert " of 2,000; the strategy finished" in summary[2]
    assert summary[4].startswith("note     simulated, no model was run: arithmetic is right in 80% of samples, ")


def test_json_is_one_object_that_holds_the_whole_solution(run: Run) -> None:
    found = document(run, *SIMULATED, "-b", "tokens=600", "--seed", "3")
    assert found.keys() == JSON_KEYS
    assert found["question"] == "What is 3+4?"
    assert found["answer"]["text"] == found["votes"][0]["answer"]
    assert found["answer"]["text"] == found["proposals"][-1]["answer"]
    assert found["samples"] == found["cost"]["samples"] == found["proposals"][-1]["samples"]
    assert sum(vote["count"] for vote in found["votes"]) <= found["samples"]
    cost = found["cost"]
    assert cost["tokens"] == cost["prompt_tokens"] + cost["generated_tokens"] <= 600
    assert found["budget"] == {"tokens": 600}
    assert (found["ended_by"], found["seed"], found["error"]) == ("budget", 3, None)


def test_amounts_are_shown_in_full(run: Run) -> None:
    ended = run("solve", "q", *SIMULATED, "-b", "tokens=1234567,usd=0.5", "--prices", "prompt=1,generated=2")
    budget = next(line for line in ended.err.splitlines() if line.startswith("budget"))
    assert " of 1,234,567, usd 0.00" in budget
    assert " of 0.5; " in budget
    cost = next(line for line in ended.err.splitlines() if line.startswith("cost"))
    assert ", $0.00" in cost


def test_all_lines_count_the_same_votes(run: Run) -> None:
    asked = ("solve", "What is it?", "-a", "number", "-s", "self_consistency:n=16", "-v")
    ended = run(*asked, "-e", "simulated:answers=[7,8],weights=[3,1],silent=0.4")
    progress, vote, trust = (
        next(line for line in reversed(ended.err.splitlines()) if mark in line)
        for mark in (" · leading ", "×", "trust")
    )
    found = json.loads(run(*asked, "-e", "simulated:answers=[7,8],weights=[3,1],silent=0.4", "--json").out)
    lead, votes = found["votes"][0]["count"], found["answered"]
    assert 0 < lead < votes < found["samples"] == 16
    assert found["share"] == lead / votes
    assert progress.endswith(f" · leading 7 ({lead} of {votes} votes)")
    assert vote.startswith(f"vote     7 ×{lead} · 8 ×{votes - lead} (16 samples, {16 - votes} without an answer)")
    assert trust == f"trust    not calibrated: {lead} of {votes} votes"


def test_a_tie_is_said_with_what_decided_it(run: Run) -> None:
    asked = ("-s", "self_consistency:n=2", "-a", "number", "-e", "simulated:answers=[7,8]", "-v")
    seed = next(seed for seed in map(str, range(20)) if len(document(run, *asked, "--seed", seed)["votes"]) == 2)
    found = document(run, *asked, "--seed", seed)
    first, other = (vote["answer"] for vote in found["votes"])
    assert found["answer"]["text"] == first
    assert (found["tied"], found["tie"]) == (True, {"answers": [first, other], "decided_by": "sampled first"})
    lines = run("solve", "What is 3+4?", *asked, "--seed", seed).err.splitlines()
    tie = f"tie of {first} and {other}: {first} was sampled first"
    assert f"leading {first} (1 of 2 votes, a tie)" in lines[3]
    assert f"vote     {first} ×1 · {other} ×1 (2 samples, 0 without an answer); {tie}" in lines
    assert f"trust    not calibrated: 1 of 2 votes; {tie}" in lines
    assert document(run, *SIMULATED, "-s", "single")["tie"] is None


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["plain", "json"])
def test_what_an_error_left_unfinished_is_not_given_as_the_answer(
    as_json: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    trace = tmp_path / "t.jsonl"
    assert run("solve", "What is it?", *SIMULATED, "--trace", str(trace)).code == 0
    played = run("solve", "What is it?", "-s", "self_consistency:n=9", "-e", f"replay:{trace}", *as_json)
    weighed = run("solve", "What is it?", "-a", "text", "-s", "likelihood", *SIMULATED, *as_json)
    for ended in (played, weighed):
        assert (ended.code, ended.out) == (2, "")
        assert ended.error
        assert ended.err.splitlines()[-2].startswith("so far   7 (")


@pytest.mark.parametrize("given", [b"What is 3+4?\n", "\ufeffWhat is 3+4?\r\n".encode()])
def test_a_dash_reads_the_question_from_standard_input(given: bytes, run: Run) -> None:
    ended = run("solve", "-", "--json", *SIMULATED, stdin=given)
    assert json.loads(ended.out)["question"] == "What is 3+4?"
    assert json.loads(ended.out)["question_id"] == document(run, *SIMULATED)["question_id"]


def test_a_context_is_part_of_the_prompt_and_of_the_question_s_identity(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "document.txt"
    file.write_text("Fünf Wörter stehen hier geschrieben.", encoding="utf-8")
    plain, about = document(run, *SIMULATED), document(run, *SIMULATED, "--context", str(file))
    assert about["cost"]["prompt_tokens"] == plain["cost"]["prompt_tokens"] + 8 * 5
    assert about["question"] == plain["question"]
    assert about["question_id"] != plain["question_id"]


def test_a_failing_trace_costs_the_trace_and_not_the_answer(run: Run) -> None:
    ended = run("solve", "What is 3+4?", *SIMULATED, "--trace", "/dev/full")
    assert (ended.code, ended.out) == (1, "7\n")
    assert ended.error == "error: cannot write the trace /dev/full: No space left on device"
