"""`reasoner solve` with an engine that needs no model: what it prints where, and that every option does something."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.calibration.profiles import VOTE, bin_of, calibrated, row
from tests.cli.command import Ended, Run

SIMULATED = ("-e", "simulated")
JSON_KEYS = {
    *(
        "question_id",
        "question",
        "answer",
        "votes",
        "samples",
        "answered",
        "share",
        "tied",
        "tie",
    ),
    *("text", "completions", "cost", "cut", "budget", "ended_by", "reason", "error"),
    *(
        "strategy",
        "verifier",
        "engine",
        "model",
        "notes",
        "remarks",
        "unrated",
        "confidence",
        "seed",
        "proposals",
    ),
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
    counts = [
        line.partition(" ")[0]
        for line in lines
        if " of 2,000 tokens · leading 7 (" in line
    ]
    assert counts == ["1", "2", "4", "8"]
    summary = lines[6:]
    assert [line[:9].strip() for line in summary] == [
        "vote",
        "cost",
        "budget",
        "time",
        "note",
    ]
    assert summary[0].endswith("(8 samples, 0 without an answer)")
    assert summary[2].startswith(
        f"budget   tokens {summary[1].split()[1]} of 2,000; the strategy finished"
    )
    assert summary[4].startswith(
        "note     simulated, no model was run: arithmetic is right in 80% of samples, "
    )


def test_json_is_one_object_that_holds_the_whole_solution(run: Run) -> None:
    found = document(run, *SIMULATED, "-b", "tokens=600", "--seed", "3")
    assert found.keys() == JSON_KEYS
    assert found["question"] == "What is 3+4?"
    assert found["answer"]["text"] == found["votes"][0]["answer"]
    assert found["answer"]["text"] == found["proposals"][-1]["answer"]
    assert (
        found["samples"]
        == found["cost"]["samples"]
        == found["proposals"][-1]["samples"]
    )
    assert sum(vote["count"] for vote in found["votes"]) <= found["samples"]
    cost = found["cost"]
    assert cost["tokens"] == cost["prompt_tokens"] + cost["generated_tokens"] <= 600
    assert found["budget"] == {"tokens": 600}
    assert (found["ended_by"], found["seed"], found["error"]) == ("budget", 3, None)


def test_a_tie_is_said_with_what_decided_it(run: Run) -> None:
    asked = (
        "-s",
        "self_consistency:n=2",
        "-a",
        "number",
        "-e",
        "simulated:answers=[7,8]",
        "--verbose",
    )
    seed = next(
        seed
        for seed in map(str, range(20))
        if len(document(run, *asked, "--seed", seed)["votes"]) == 2
    )
    found = document(run, *asked, "--seed", seed)
    first, other = (vote["answer"] for vote in found["votes"])
    assert found["answer"]["text"] == first
    assert (found["tied"], found["tie"]) == (
        True,
        {"answers": [first, other], "decided_by": "sampled first"},
    )
    lines = run("solve", "What is 3+4?", *asked, "--seed", seed).err.splitlines()
    tie = f"tie of {first} and {other}: {first} was sampled first"
    assert f"leading {first} (1 of 2 votes, a tie)" in lines[3]
    assert (
        f"vote     {first} ×1 · {other} ×1 (2 samples, 0 without an answer); {tie}"
        in lines
    )
    assert f"trust    not calibrated: 1 of 2 votes; {tie}" in lines
    assert document(run, *SIMULATED, "-s", "single")["tie"] is None


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["plain", "json"])
def test_what_an_error_left_unfinished_is_not_given_as_the_answer(
    as_json: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    trace = tmp_path / "t.jsonl"
    assert run("solve", "What is it?", *SIMULATED, "--trace", str(trace)).code == 0
    played = run(
        "solve",
        "What is it?",
        "-s",
        "self_consistency:n=9",
        "-e",
        f"replay:{trace}",
        *as_json,
    )
    assert (played.code, played.out) == (2, "")
    assert played.error
    assert played.err.splitlines()[-2].startswith("so far   7 (")


@pytest.mark.parametrize(
    "given", [b"What is 3+4?\n", "\ufeffWhat is 3+4?\r\n".encode()]
)
def test_a_dash_reads_the_question_from_standard_input(given: bytes, run: Run) -> None:
    ended = run("solve", "-", "--json", *SIMULATED, stdin=given)
    assert json.loads(ended.out)["question"] == "What is 3+4?"
    assert (
        json.loads(ended.out)["question_id"] == document(run, *SIMULATED)["question_id"]
    )


def test_a_context_is_part_of_the_prompt_and_of_the_question_s_identity(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "document.txt"
    file.write_text("Fünf Wörter stehen hier geschrieben.", encoding="utf-8")
    plain, about = (
        document(run, *SIMULATED),
        document(run, *SIMULATED, "--context", str(file)),
    )
    assert about["cost"]["prompt_tokens"] == plain["cost"]["prompt_tokens"] + 8 * 5
    assert about["question"] == plain["question"]
    assert about["question_id"] != plain["question_id"]


def test_a_failing_trace_costs_the_trace_and_not_the_answer(run: Run) -> None:
    ended = run("solve", "What is 3+4?", *SIMULATED, "--trace", "/dev/full")
    assert (ended.code, ended.out) == (1, "7\n")
    assert (
        ended.error
        == "error: cannot write the trace /dev/full: No space left on device"
    )


# A choice by profile

SPLIT = ("-e", "simulated:answers=[7,8],weights=[0.5,0.5]")
SURE = ("-e", "simulated:answers=7,weights=1")


@pytest.fixture
def profile(tmp_path: Path) -> str:
    return calibrated(tmp_path / "profile.json", bin_of(0, 0.5, 0.8))


def labelled(ended: Ended, label: str) -> str:
    [line] = [line for line in ended.err.splitlines() if line.startswith(label)]
    return line[9:]


def test_verbose_explains_what_ran_what_ended_it_and_how_reliable_it_is(
    profile: str, run: Run
) -> None:
    ended = run(
        "solve", "What is 3+4?", "--verbose", *SURE, "-s", f"auto:profile={profile}"
    )
    assert (ended.code, ended.out) == (0, "7\n")
    assert labelled(ended, "ran").startswith(f"chose {VOTE}: ")
    assert "; 16 samples, " in labelled(ended, "ran")
    assert labelled(ended, "stopped") == "the strategy finished"
    assert (
        labelled(ended, "trust")
        == "right with a probability of 0.94, calibrated on 400 questions"
    )


def test_not_sure_is_said_and_is_no_answer(profile: str, run: Run) -> None:
    ended = run(
        "solve",
        "What is 3+4?",
        *SPLIT,
        "-s",
        f"auto:profile={profile},abstain_below=0.85",
    )
    assert (ended.code, ended.out) == (1, "not sure\n")
    assert "the best answer, '" in ended.error
    assert "is right with a probability of 0." in ended.error


def test_what_rates_is_what_was_measured_with(tmp_path: Path, run: Run) -> None:
    measured = "certainty:measure=self_certainty"
    rated = row("best_of_n:n=4", 0.95, 4, vote=0.7).model_copy(
        update={"verifier": measured}
    )
    path = calibrated(tmp_path / "rated.json", (*bin_of(0, 0.7, 0.7), rated))
    used = [
        json.loads(
            run(
                "solve",
                "What is 3+4?",
                "--json",
                *SURE,
                "-s",
                f"auto:profile={path}",
                *others,
            ).out
        )["verifier"]
        for others in ((), ("--verifier", "certainty"))
    ]
    assert used == [measured, "certainty"]


# A server


# A replay


def same(document: str) -> dict[str, Any]:
    """All of a solution that a replay repeats: neither who answered nor how long it took."""
    found: dict[str, Any] = json.loads(document)
    del found["cost"]["seconds"]
    return {
        key: value
        for key, value in found.items()
        if key not in ("engine", "notes", "verifier")
    }


def test_a_replay_repeats_the_solution(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "out.jsonl"
    asked = (
        "solve",
        "What is 3+4?",
        "--json",
        "-s",
        "best_of_n:n=6",
        "-b",
        "tokens=600",
    )
    drawn = run(*asked, "-e", "simulated", "--trace", str(trace))
    played = run(*asked, "-e", f"replay:{trace}")
    assert (drawn.code, played.code) == (0, 0)
    packed = trace.with_name("out.jsonl.gz")
    assert run(*asked, "-e", f"replay:{trace}", "--trace", str(packed)).code == 0
    assert packed.read_bytes()[:2] == b"\x1f\x8b"
    assert same(run(*asked, "-e", f"replay:{packed}").out) == same(drawn.out)
    assert same(played.out) == same(drawn.out)
    assert json.loads(played.out)["notes"] == ["replayed: no model was run"]
    assert json.loads(played.out)["cost"]["samples"] > 0
