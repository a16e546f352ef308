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


def test_the_answer_is_all_that_standard_output_gets(run: Run) -> None:
    ended = run("solve", "What is 3+4?", *SIMULATED)
    assert (ended.code, ended.out) == (0, "7\n")


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


def test_each_plain_line_counts_what_its_samples_cost(run: Run) -> None:
    ended = run("solve", "What is 3+4?", *SIMULATED)
    told = [line.split(" · ")[:2] for line in ended.err.splitlines() if " · leading " in line]
    curve = {point["samples"]: point["tokens"] for point in document(run, *SIMULATED)["proposals"]}
    assert told == [[f"{n} sample{'s' if n > 1 else ''}", f"{curve[n]:,} tokens"] for n in (1, 2, 4, 8)]


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


def test_json_says_why_there_is_no_answer(run: Run) -> None:
    ended = run("solve", "q", "--json", "-b", "tokens=10", *SIMULATED)
    found = json.loads(ended.out)
    assert ended.code == 3
    assert (found["answer"], found["ended_by"]) == (None, "budget")
    assert "budget tokens=10" in found["reason"]


def test_the_strategy_is_the_one_that_was_asked_for(run: Run) -> None:
    assert document(run, *SIMULATED)["strategy"] == "self_consistency"
    assert document(run, *SIMULATED, "-s", "single")["samples"] == 1
    assert document(run, *SIMULATED, "-s", "self_consistency:n=3")["samples"] == 3
    found = document(run, *SIMULATED, "-s", "best_of_n:n=4")
    assert (found["samples"], found["verifier"]) == (4, "certainty")
    assert (
        document(run, *SIMULATED, "-s", "best_of_n", "--verifier", "certainty:top_k=3")["verifier"]
        == "certainty:top_k=3"
    )


def test_budgets_hold(run: Run) -> None:
    assert document(run, *SIMULATED, "-b", "samples=3")["samples"] == 3
    assert document(run, *SIMULATED, "-b", "generated=200")["cost"]["generated_tokens"] <= 200
    assert document(run, *SIMULATED, "-b", "flops=1e11")["cost"]["flops"] <= 1e11
    prices = ("--prices", "prompt=1,generated=2")
    cost = document(run, *SIMULATED, *prices, "-b", "usd=0.001")["cost"]
    assert (cost["prompt_tokens"] + 2 * cost["generated_tokens"]) / 1e6 <= 0.001


def test_amounts_are_shown_in_full(run: Run) -> None:
    ended = run("solve", "q", *SIMULATED, "-b", "tokens=1234567,usd=0.5", "--prices", "prompt=1,generated=2")
    budget = next(line for line in ended.err.splitlines() if line.startswith("budget"))
    assert " of 1,234,567, usd 0.00" in budget
    assert " of 0.5; " in budget
    cost = next(line for line in ended.err.splitlines() if line.startswith("cost"))
    assert ", $0.00" in cost


def test_the_seed_repeats_a_run_and_another_changes_it(run: Run) -> None:
    first, again, other = (document(run, *SIMULATED, "--seed", seed)["proposals"] for seed in ("1", "1", "2"))
    assert first == again != other


def test_the_answer_kind_decides_how_samples_are_read(run: Run) -> None:
    engine = ("-e", "simulated:answers=[0.50,1/2],weights=[1,1]")
    assert [vote["count"] for vote in document(run, *engine, "-a", "number")["votes"]] == [8]
    assert len(document(run, *engine, "-a", "text")["votes"]) == 2


def test_the_vote_line_names_a_few_classes_and_counts_the_rest(run: Run) -> None:
    answers = ",".join(str(n) for n in range(10))
    engine = f"simulated:answers=[{answers}],weights=[{','.join(10 * '1')}]"
    ended = run("solve", "q", "-a", "number", "-s", "self_consistency:n=200", "-e", engine)
    vote = next(line for line in ended.err.splitlines() if line.startswith("vote"))
    assert vote.count("×") == 6
    assert " · 4 more (200 samples, " in vote


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


def test_ratings_are_shown_as_weights(run: Run) -> None:
    vote = next(line for line in run("solve", "q", *SIMULATED, "-s", "best_of_n:n=4").err.splitlines() if "×" in line)
    assert "(weight 0." in vote


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
