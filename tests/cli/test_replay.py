"""A trace, played back, gives the same solution without a model."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Run
from tests.engines.fake_server import FakeServer, Fault


def same(document: str) -> dict[str, Any]:
    """All of a solution that a replay repeats: neither who answered nor how long it took."""
    found: dict[str, Any] = json.loads(document)
    del found["cost"]["seconds"]
    return {key: value for key, value in found.items() if key not in ("engine", "notes", "verifier")}


@pytest.mark.parametrize("budget", [(), ("-b", "tokens=600"), ("-b", "samples=5,generated=700")], ids=str)
@pytest.mark.parametrize(
    "strategy", ["single", "self_consistency:n=12", "best_of_n:n=8", "best_of_n:n=6,selector=weighted"]
)
def test_a_replay_repeats_the_solution(strategy: str, budget: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "out.jsonl"
    asked = ("solve", "What is 3+4?", "--json", "-s", strategy, *budget)
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


def test_a_replay_needs_no_server_and_prints_the_same_answer(run: Run, tmp_path: Path) -> None:
    trace, document = tmp_path / "out.jsonl", tmp_path / "document.txt"
    document.write_text("Two and two.", encoding="utf-8")
    asked = ("solve", "How many?", "-s", "self_consistency:n=3", "--context", str(document))
    with FakeServer(cached=16) as server:
        drawn = run(*asked, "-e", "openai", "--base-url", server.url, "--trace", str(trace))
        requests = len(server.seen)
    played = run(*asked, "-e", f"replay:{trace}")
    assert (drawn.out, played.out) == ("4\n", "4\n")
    assert requests == len(server.seen)
    lines = [
        [line for line in ended.err.splitlines() if line.startswith(("vote", "cost"))] for ended in (drawn, played)
    ]
    assert lines[0] == lines[1]
    assert "48 prompt tokens from cache" in lines[0][1]


def test_an_error_is_played_back_too(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "out.jsonl"
    asked = ("solve", "How many?", "-s", "single")
    with FakeServer(faults=[Fault("cut", after=2)] * 3) as server:
        drawn = run(*asked, "-e", "openai", "--base-url", server.url, "--trace", str(trace))
    played = run(*asked, "-e", f"replay:{trace}")
    assert (drawn.code, played.code) == (4, 4)
    assert "(tried 3 times)" in drawn.error
    assert "(tried 3 times)" in played.error


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("solve", "What is 5+5?"), "it is of 'What is 3+4?'; ask the same question"),
        (("solve", "What is 3+4?", "-s", "self_consistency:n=9"), "holds no sample 8"),
    ],
)
def test_another_run_is_not_in_the_trace(changed: tuple[str, ...], said: str, run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "out.jsonl"
    assert run("solve", "What is 3+4?", "-e", "simulated", "--trace", str(trace)).code == 0
    ended = run(*changed, "-e", f"replay:{trace}")
    assert ended.code == 2
    assert said in ended.error
    assert str(trace) in ended.error


def test_what_is_no_trace_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    for content, said in (
        (b"hello\n", f"{file}:1 is not a line of the trace"),
        (b"caf\xe9\n", f"{file}:1"),
        (b"", "holds no run"),
    ):
        file.write_bytes(content)
        ended = run("solve", "q", "-e", f"replay:{file}")
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.error
