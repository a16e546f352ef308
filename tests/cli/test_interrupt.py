"""Ctrl-C, at any moment: exit code 130, no traceback, and the best answer so far."""

import io
import json
import signal
from pathlib import Path

import pytest

from reasoner.trace import Ended as EndedEvent
from reasoner.trace import Sampled, read_trace
from tests.cli.command import GatedServer, Run, finish, read_until, start
from tests.engines.fake_server import FakeServer, Fault


def test_before_the_command_line_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def importing(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("reasoner.cli.group.run", importing)
    assert run("solve", "q") == (130, "", "interrupted\n")


def test_while_the_engine_starts() -> None:
    with FakeServer(start_fault=Fault("silent")) as server:
        process = start("solve", "q", "-e", "openai", "--base-url", server.url)
        read_until(process, lambda line: line.startswith("starting openai"))
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    assert (ended.code, ended.out, ended.err) == (130, "", "interrupted\n")


def test_before_any_sample() -> None:
    with GatedServer() as server:
        process = start("solve", "How many?", "-e", "openai", "--base-url", server.url)
        assert server.asked.wait(60)
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("as_json", [False, True])
def test_after_some_samples(as_json: bool, tmp_path: Path) -> None:
    trace = tmp_path / "out.jsonl"
    asked = ("solve", "How many?", "--trace", str(trace), *(("--json",) if as_json else ()))
    with GatedServer(free=2) as server:
        process = start(*asked, "-e", "openai", "--base-url", server.url)
        read_until(process, lambda line: line.startswith("2 samples"))
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    assert ended.code == 130
    if as_json:
        solution = json.loads(ended.out)
        assert (solution["answer"]["text"], solution["samples"], solution["reason"]) == ("4", 2, "interrupted")
        assert solution["cost"]["samples"] == 2
    else:
        assert ended.out == "4\n"
    assert ended.err.startswith("interrupted; until then: 2 samples · ")
    assert ended.err.endswith("leading 4 (100%)\n")
    events = list(read_trace(trace))
    assert len([event for event in events if isinstance(event, Sampled)]) == 2
    last = events[-1]
    assert isinstance(last, EndedEvent)
    assert last.answer
    assert (last.answer.text, last.reason) == ("4", "interrupted")


def test_an_impatient_second_one() -> None:
    with GatedServer() as server:
        process = start("solve", "How many?", "-e", "openai", "--base-url", server.url)
        assert server.asked.wait(60)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == "interrupted"


def test_while_the_question_is_typed(run: Run) -> None:
    class Typing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise KeyboardInterrupt

    ended = run("solve", "-", "-e", "simulated", stdin=Typing())
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.split() == ["interrupted"]
