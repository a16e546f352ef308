"""`reasoner solve` as a newcomer runs it: real vLLM and the embedded model in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from reasoner.trace.events import read_trace
from tests.waiting import PATIENCE, all_end

REASONER = str(Path(sys.executable).with_name("reasoner"))
QUESTION = "What is 3 + 4?"


class Live(NamedTuple):
    """A run on real vLLM that has ended: its folder, and what it wrote."""

    folder: Path
    out: str
    err: str


def solve(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [REASONER, "solve", *arguments], cwd=cwd, capture_output=True, text=True
    )


ASKED = (
    QUESTION,
    "-s",
    "best_of_n:n=6,selector=weighted",
    "--verifier",
    "prm",
    "-b",
    "tokens=2000",
    "--json",
)


@pytest.fixture(scope="module")
def live(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Live:
    """One run with the head that comes along, and its trace in the folder as run.jsonl."""
    folder = tmp_path_factory.mktemp("live")
    ended = solve(*ASKED, "--trace", "run.jsonl", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return Live(folder, ended.stdout, ended.stderr)


def test_a_trace_of_a_real_run_replays_bit_for_bit(live: Live) -> None:
    again = solve(*ASKED, "-e", "replay:run.jsonl", cwd=live.folder)
    assert again.returncode == 0, again.stderr
    first, second = json.loads(live.out), json.loads(again.stdout)
    fields = (
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
    )
    for field in fields:
        assert first[field] == second[field], field
    first["cost"].pop("seconds")
    second["cost"].pop("seconds")
    assert first["cost"] == second["cost"]
    assert 0 < first["cost"]["verifier_tokens"] < first["cost"]["tokens"] <= 2000


def test_nothing_but_ours_reaches_the_terminal(live: Live) -> None:
    """vLLM and torch print from Python, from C++ and from other processes; none of it may show."""
    assert len(live.out.splitlines()) == 1
    stages = ["starting", "importing vLLM", "loading SmolLM2-135M-Instruct"]
    # Only the first start on a machine builds it.
    lines = [
        line
        for line in live.err.splitlines()
        if not line.startswith("building the reward model")
    ]
    assert [
        line
        for line, stage in zip(lines, stages, strict=False)
        if not line.startswith(stage)
    ] == []
    known = (
        *stages,
        "warming up ",
        "solving ",
        "1 sample",
        "2 samples",
        "3 samples",
        "4 samples",
        "5 samples",
        "6 samples",
        "vote ",
        "cost ",
        "budget ",
        "time ",
        "note ",
    )
    assert [line for line in lines if not line.startswith(known)] == []


@pytest.mark.parametrize("moment", ["solving"])
def test_an_interrupt_ends_it_and_leaves_no_process(
    moment: str, embedded_model: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [
            REASONER,
            "solve",
            QUESTION,
            "-s",
            "self_consistency:n=64",
            "--trace",
            "t.jsonl",
        ],
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
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert bool(out) == ("leading" in err.splitlines()[-1])
    assert "interrupted" in err
    assert "Traceback" not in err
    all_end(children)
    events = list(read_trace(tmp_path / "t.jsonl"))
    if moment == "solving":
        assert events[-1].event == "ended"
        assert sum(event.event == "dropped" for event in events) > 0
