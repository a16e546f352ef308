"""`reasoner solve` as a newcomer runs it, on real vLLM and the embedded model, each time in a new process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from reasoner.trace import read_trace

REASONER = str(Path(sys.executable).with_name("reasoner"))
QUESTION = "What is 3 + 4?"


def solve(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([REASONER, "solve", *arguments], cwd=cwd, capture_output=True, text=True)


def test_a_trace_of_a_real_run_replays_bit_for_bit(embedded_model: Path, tmp_path: Path) -> None:
    live = solve(QUESTION, "-s", "best_of_n:n=4", "-b", "tokens=600", "--trace", "run.jsonl", "--json", cwd=tmp_path)
    assert live.returncode == 0, live.stderr
    again = solve(QUESTION, "-s", "best_of_n:n=4", "-b", "tokens=600", "-e", "replay:run.jsonl", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    first, second = json.loads(live.stdout), json.loads(again.stdout)
    for field in (
        "question_id",
        "answer",
        "votes",
        "samples",
        "tied",
        "proposals",
        "ended_by",
        "reason",
        "model",
        "seed",
    ):
        assert first[field] == second[field], field
    first["cost"].pop("seconds")
    second["cost"].pop("seconds")
    assert first["cost"] == second["cost"]
    assert 0 < first["cost"]["tokens"] <= 600


def test_nothing_but_ours_reaches_the_terminal(embedded_model: Path, tmp_path: Path) -> None:
    """vLLM and torch print from Python, from C++ and from other processes; none of it may show."""
    run = solve(QUESTION, "-s", "single", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 1
    stages = ["starting", "importing vLLM", "loading SmolLM2-135M-Instruct", "warming up vLLM", "solving"]
    lines = run.stderr.splitlines()
    assert [line for line, stage in zip(lines, stages, strict=False) if not line.startswith(stage)] == []
    known = (*stages, "1 sample", "vote ", "cost ", "time ")
    assert [line for line in run.stderr.splitlines() if not line.startswith(known)] == []


def test_a_document_longer_than_the_window_says_by_how_much(embedded_model: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("word " * 9000)
    run = solve(QUESTION, "--context", "long.txt", "--model", str(embedded_model), cwd=tmp_path)
    assert run.returncode == 2
    assert run.stdout == ""
    assert "context window is 8,192: shorten it by at least" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("moment", ["starting", "solving"])
def test_an_interrupt_ends_it_and_leaves_no_process(moment: str, embedded_model: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [REASONER, "solve", QUESTION, "-s", "self_consistency:n=64", "--trace", "t.jsonl"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("starting" if moment == "starting" else "1 sample"):
            break
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    # It took the engine up to half a minute to close, which nobody needs who leaves.
    out, err = process.communicate(timeout=8)
    assert process.returncode == 130
    assert bool(out) == ("leading" in err.splitlines()[-1])
    assert "interrupted" in err
    assert "Traceback" not in err
    assert psutil.wait_procs(children, timeout=8)[1] == []
    events = list(read_trace(tmp_path / "t.jsonl"))
    if moment == "solving":
        assert events[-1].event == "ended"
        assert sum(event.event == "dropped" for event in events) > 0
