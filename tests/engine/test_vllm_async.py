"""The vLLM engine with its core in a process of its own, as on a GPU: it answers, cancels, and survives a kill."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from reasoner import Prompt, Question, SamplingParams, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.vllm import VllmEngine
from reasoner.stopping.confidence import ConfidenceFloor
from reasoner.trace.events import Dropped, Event
from reasoner.types import Completion, ThinkingLevel
from reasoner_strategies import SelfConsistency
from tests.engine.test_vllm import CancelHalf, check_watching_beside_alternatives
from tests.engine.thinking_model import END, END_ID
from tests.sweeps import widths


@pytest.fixture(scope="module")
def engine(thinking_folder: Path) -> Iterator[VllmEngine]:
    """A model that thinks."""
    started = VllmEngine(str(thinking_folder), 1024, 0.5, dtype="float32", core="async")
    asyncio.run(started.start())
    yield started
    asyncio.run(started.close())


def _core_processes() -> list[psutil.Process]:
    # Its own: the core of a server that other tests share is a child of that server.
    children = psutil.Process().children()
    return [child for child in children if "EngineCore" in " ".join(child.cmdline()) or "EngineCore" in child.name()]


def test_it_answers_with_shared_prefixes(engine: VllmEngine) -> None:
    strategy = SelfConsistency(n=4, params=SamplingParams(max_tokens=32))
    solution = solve_sync(Question.of("What is 3 + 4?", context="Some words come first. " * 30), strategy, engine)
    assert solution.error is None
    assert solution.cost.samples == 4
    assert solution.cost.cached_tokens >= 3 * 32


def test_a_request_that_watches_tokens_takes_nothing_from_those_beside_it(engine: VllmEngine) -> None:
    asyncio.run(check_watching_beside_alternatives(engine))


def test_it_frees_and_books_cancelled_work(engine: VllmEngine) -> None:
    events: list[Event] = []
    solution = solve_sync(Question.of("What is 3 + 4?"), CancelHalf(), engine, trace=events.append)
    assert solution.error is None
    dropped = [event for event in events if isinstance(event, Dropped)]
    assert len(dropped) == 8
    assert all(event.usage is not None for event in dropped)
    assert 8 <= solution.cost.cancelled_tokens < 8 * 400


def test_what_is_cancelled_before_vllm_has_read_it_is_never_drawn(engine: VllmEngine) -> None:
    async def cancelled() -> list[SampleRequest]:
        prompt = Prompt.chat("Write a long story about a ship and a storm.")
        rendered = await engine.render(prompt)
        params = SamplingParams(max_tokens=900)
        requests = [SampleRequest("q", prompt, rendered, params, index, index) for index in range(32)]
        drawing = [asyncio.ensure_future(engine.sample(request)) for request in requests]
        await asyncio.sleep(0)  # Each has been handed to vLLM's thread, and to nothing behind it.
        for task in drawing:
            task.cancel()
        await asyncio.gather(*drawing, return_exceptions=True)
        assert all(task.cancelled() for task in drawing)
        return requests

    for request in asyncio.run(cancelled()):
        assert request.meter.usage is not None
        assert request.meter.usage.generated_tokens < 900
    core = engine._core
    assert core is not None
    # vLLM empties its cache only if no request holds a block.
    assert core.reset_caches().result()


def test_its_configuration_of_thinking_reaches_it_and_a_stream_ends_at_a_stop_string(engine: VllmEngine) -> None:
    async def drawn(level: ThinkingLevel, **params: Any) -> Completion:
        prompt = Prompt.chat("Write a long story about a ship and a storm.").at_level(level)
        sampling = SamplingParams(temperature=0.0, max_tokens=48, **params)
        return await engine.sample(SampleRequest("q", prompt, await engine.render(prompt), sampling, 0, 0))

    limited, closing = asyncio.run(drawn(7)), asyncio.run(engine.encode(f"\n{END}")) or ()
    assert (limited.unclosed, limited.token_ids[limited.usage.thinking_tokens - 1]) == (False, END_ID)
    assert limited.usage.thinking_tokens <= 7 + len(closing)
    stopped = asyncio.run(drawn(7, stop=("\n",)))
    assert (stopped.stop, stopped.text) == ("\n", limited.text.partition("\n")[0])
    assert asyncio.run(drawn("none")).thinking == ""


def test_it_cuts_what_falls_below_the_floor(engine: VllmEngine) -> None:
    async def drawn() -> Completion:
        prompt = Prompt.chat("Write a long story about a ship and a storm.")
        params = SamplingParams(temperature=1.0, max_tokens=300, logprobs=5)
        floor = ConfidenceFloor(8, 1e9, top_k=5)
        return await engine.sample(SampleRequest("q", prompt, await engine.render(prompt), params, 0, 1, floor=floor))

    one = asyncio.run(drawn())
    assert (one.finish_reason, len(one.token_ids), one.usage.generated_tokens) == ("abort", 8, 8)


def test_a_killed_core_is_started_again_and_its_work_drawn_again(engine: VllmEngine) -> None:
    [core] = _core_processes()
    told: list[str] = []
    engine.notify = told.append
    killed: list[int] = []

    def kill_once(event: Event) -> None:
        if event.event == "prompted" and not killed:
            killed.append(core.pid)
            os.kill(core.pid, signal.SIGKILL)

    strategy = SelfConsistency(n=3, params=SamplingParams(max_tokens=48))
    solution = solve_sync(Question.of("What is 4 + 4?"), strategy, engine, trace=kill_once)
    assert solution.error is None
    assert solution.cost.samples >= 3
    assert engine.restarts == 1
    assert "it is restarted" in told[0]


PROGRAMS = """
import json, os, sys
import psutil
from reasoner import Question, SamplingParams, solve_sync
from reasoner.engines.vllm import VllmEngine
from reasoner_strategies import SelfConsistency

def program():
    def sampling(event):
        if event.event == "prompted":
            children = [child.pid for child in psutil.Process().children(recursive=True)]
            os.write(1, (json.dumps([os.getpid(), *children]) + "\\n").encode())

    engine = VllmEngine(model_id=sys.argv[1], core="async", max_model_len=1024, kv_gib=0.1)
    strategy = SelfConsistency(n=64, params=SamplingParams(max_tokens=900))
    solve_sync(Question.of("Write a long story."), strategy, engine, trace=sampling)

if __name__ == "__main__":
    # vLLM is imported once for all of them.
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    import vllm.v1.engine.async_llm
    for _ in sys.argv[2:]:
        if os.fork() == 0:
            program()
    for _ in sys.argv[2:]:
        os.wait()
"""


@widths("signals", [signal.SIGKILL], [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_core_ends_with_its_program_whatever_ends_that(
    embedded_model: Path, signals: list[signal.Signals], tmp_path: Path
) -> None:
    script = tmp_path / "programs.py"
    script.write_text(PROGRAMS)
    command = [sys.executable, str(script), str(embedded_model), *(signum.name for signum in signals)]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with launcher:
        assert launcher.stdout
        for signum in signals:
            program, *children = [psutil.Process(pid) for pid in json.loads(launcher.stdout.readline())]
            assert any(child.memory_info().rss > 2**28 for child in children)
            program.send_signal(signum)
            assert psutil.wait_procs(children, timeout=5)[1] == []
