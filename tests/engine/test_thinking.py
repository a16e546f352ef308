"""A model that thinks on real vLLM with its core in a process, as on a GPU: parts, levels, limits, stops, kills."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from reasoner import Prompt, Question, SamplingParams, solve_sync
from reasoner.engine import SampleRequest, TextPiece
from reasoner.engines.vllm import VllmEngine
from reasoner.models.thinking import split
from reasoner.trace.events import Event, Sampled
from reasoner.types import Completion, ThinkingLevel, TokenIds
from reasoner_strategies import SelfConsistency, Single
from tests.engine.test_vllm import check_watching_beside_alternatives
from tests.engine.thinking_model import END, END_ID, START, START_ID
from tests.sweeps import widths
from tests.waiting import all_end

STORY = Prompt.chat("Write a long story about a ship and a storm.")
GREEDY = SamplingParams(temperature=0.0, max_tokens=48)
LIVELY = SamplingParams(temperature=1.0, max_tokens=48)


@pytest.fixture(scope="module")
def thinker(thinking_folder: Path) -> Iterator[VllmEngine]:
    """The re-tokenised model, which begins inside thinking unless it is rendered without; its core is a process."""
    started = VllmEngine(str(thinking_folder), 1024, 0.5, dtype="float32", core="async")
    asyncio.run(started.start())
    yield started
    asyncio.run(started.close())


async def draw(
    engine: VllmEngine,
    prompt: Prompt,
    params: SamplingParams,
    count: int = 1,
    level: ThinkingLevel | None = None,
) -> list[Completion]:
    prompt = prompt.at_level(level)
    rendered = await engine.render(prompt)
    requests = [
        SampleRequest("q", prompt, rendered, params, index, index)
        for index in range(count)
    ]
    return list(await asyncio.gather(*(engine.sample(request) for request in requests)))


def drawn(
    engine: VllmEngine,
    prompt: Prompt,
    params: SamplingParams,
    level: ThinkingLevel | None = None,
) -> Completion:
    [one] = asyncio.run(draw(engine, prompt, params, level=level))
    return one


def ids_of(engine: VllmEngine, text: str) -> TokenIds:
    return asyncio.run(engine.encode(text)) or ()


def test_the_profile_is_found_from_the_tokenizer_and_the_template(
    thinker: VllmEngine,
) -> None:
    profile = thinker.model.thinking
    assert profile is not None
    assert (profile.when, profile.start, profile.end) == (
        "on_request",
        (START_ID,),
        (END_ID,),
    )
    assert (profile.start_text, profile.end_text) == (START, END)
    assert profile.levels["none"] == {"enable_thinking": False}
    assert profile.closing.strip() == END


def test_the_parts_of_a_completion_are_split_by_ids(thinker: VllmEngine) -> None:
    completions = asyncio.run(draw(thinker, STORY, LIVELY, count=24))
    assert {one.unclosed for one in completions} == {True, False}
    profile = thinker.model.thinking
    assert profile is not None
    for one in completions:
        thinking, unclosed = split(one.token_ids, profile, opened=True)
        assert (one.usage.thinking_tokens, one.unclosed) == (thinking, unclosed)
        assert one.usage.generated_tokens == len(one.token_ids)
        assert unclosed == (END_ID not in one.token_ids)
        assert one.truncated or not one.unclosed
        assert START not in one.thinking
        assert END not in one.thinking
        final = one.final_token_ids[: len(one.continuation) - thinking]
        assert one.text == thinker._prompts.tokenizer.decode(
            final, skip_special_tokens=True
        )


def test_a_level_without_thinking_is_rendered_closed(thinker: VllmEngine) -> None:
    rendered = asyncio.run(thinker.render(STORY.at_level("none")))
    assert thinker._prompts.decode(rendered.token_ids or ()).endswith(
        "assistant\n<think>\n\n</think>\n\n"
    )
    one = drawn(thinker, STORY, GREEDY, level="none")
    assert (one.thinking, one.unclosed, one.usage.thinking_tokens) == ("", False, 0)
    high = asyncio.run(thinker.render(STORY.at_level("high")))
    assert high == asyncio.run(thinker.render(STORY))


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_thinking_is_closed_at_its_limit_as_it_would_have_gone_on(
    thinker: VllmEngine, limit: int
) -> None:
    few = replace(GREEDY, max_tokens=20)
    free = drawn(thinker, STORY, few)
    assert free.unclosed
    question = Question("q", "a story", STORY, Question.of("?", space="free").space)
    strategy, events = Single(replace(few, thinking=limit)), list[Event]()
    solve_sync(question, strategy, thinker, trace=events.append)
    [limited] = [event for event in events if isinstance(event, Sampled)]
    profile = thinker.model.thinking
    assert profile
    expected = free.token_ids[:limit] + ids_of(thinker, profile.closing)
    assert limited.token_ids[: len(expected)] == expected
    assert not limited.unclosed
    assert limited.usage.thinking_tokens == expected.index(END_ID) + 1


def test_a_stop_string_holds_outside_thinking(thinker: VllmEngine) -> None:
    params = replace(LIVELY, max_tokens=96, logprobs=2)
    whole = asyncio.run(draw(thinker, STORY, params, count=8, level=16))
    stopped = asyncio.run(
        draw(thinker, STORY, replace(params, stop=("\n",)), count=8, level=16)
    )
    assert any("\n" in one.thinking for one in stopped)
    assert any(one.stop == "\n" for one in stopped)
    for one, other in zip(stopped, whole, strict=True):
        assert one.token_ids == other.token_ids[: len(one.token_ids)]
        assert one.text == other.text.partition("\n")[0]
        assert one.thinking == other.thinking
        assert (one.finish_reason, one.stop) == (
            ("stop", "\n") if "\n" in other.text else (other.finish_reason, None)
        )
        assert one.logprobs is not None
        assert other.logprobs is not None
        assert (
            len(one.logprobs.sampled)
            == len(one.logprobs.top)
            == len(one.token_ids)
            <= one.usage.generated_tokens
        )


def test_both_parts_are_passed_on_while_they_are_generated(thinker: VllmEngine) -> None:
    async def heard(seed: int) -> tuple[Completion, list[TextPiece]]:
        pieces: list[TextPiece] = []
        request = SampleRequest(
            "q",
            STORY,
            await thinker.render(STORY),
            LIVELY,
            0,
            seed,
            on_text=pieces.append,
        )
        return await thinker.sample(request), pieces

    async def all_of_them() -> list[tuple[Completion, list[TextPiece]]]:
        return list(await asyncio.gather(*map(heard, range(12))))

    drawn = asyncio.run(all_of_them())
    assert {completion.unclosed for completion, _ in drawn} == {True, False}
    for completion, pieces in drawn:
        for thinking, whole in ((True, completion.thinking), (False, completion.text)):
            text = "".join(piece.text for piece in pieces if piece.thinking == thinking)
            assert whole.startswith(text)
            assert len(whole) - len(text) < 12


def test_a_json_schema_holds_for_the_final_part(thinker: VllmEngine) -> None:
    params = replace(LIVELY, max_tokens=96, json_schema='{"enum": [true, false]}')
    completions = asyncio.run(draw(thinker, STORY, params, count=12))
    final = [
        completion
        for completion in completions
        if completion.ended and not completion.unclosed
    ]
    assert final
    assert {completion.text.strip() for completion in final} <= {"true", "false"}
    assert any(
        completion.thinking.strip() not in ("", "true", "false") for completion in final
    )


def _core_processes() -> list[psutil.Process]:
    # Its own: the core of a server that other tests share is a child of that server.
    children = psutil.Process().children()
    return [
        child
        for child in children
        if "EngineCore" in " ".join(child.cmdline()) or "EngineCore" in child.name()
    ]


def test_a_request_that_watches_tokens_takes_nothing_from_those_beside_it(
    thinker: VllmEngine,
) -> None:
    asyncio.run(check_watching_beside_alternatives(thinker))


def test_what_is_cancelled_before_vllm_has_read_it_is_never_drawn(
    thinker: VllmEngine,
) -> None:
    async def cancelled() -> list[SampleRequest]:
        prompt = Prompt.chat("Write a long story about a ship and a storm.")
        rendered = await thinker.render(prompt)
        params = SamplingParams(max_tokens=900)
        requests = [
            SampleRequest("q", prompt, rendered, params, index, index)
            for index in range(32)
        ]
        drawing = [
            asyncio.ensure_future(thinker.sample(request)) for request in requests
        ]
        await asyncio.sleep(
            0
        )  # Each has been handed to vLLM's thread, and to nothing behind it.
        for task in drawing:
            task.cancel()
        await asyncio.gather(*drawing, return_exceptions=True)
        assert all(task.cancelled() for task in drawing)
        return requests

    for request in asyncio.run(cancelled()):
        assert request.meter.usage is not None
        assert request.meter.usage.generated_tokens < 900
    core = thinker._core
    assert core is not None
    # vLLM empties its cache only if no request holds a block.
    assert core.reset_caches().result()


def test_a_killed_core_is_started_again_and_its_work_drawn_again(
    thinker: VllmEngine,
) -> None:
    core = max(
        _core_processes(), key=lambda process: process.create_time()
    )  # that of this module
    told: list[str] = []
    thinker.notify = told.append
    killed: list[int] = []

    def kill_once(event: Event) -> None:
        if event.event == "prompted" and not killed:
            killed.append(core.pid)
            os.kill(core.pid, signal.SIGKILL)

    strategy = SelfConsistency(n=3, params=SamplingParams(max_tokens=48))
    solution = solve_sync(
        Question.of("What is 4 + 4?"), strategy, thinker, trace=kill_once
    )
    assert solution.error is None
    assert solution.cost.samples >= 3
    assert thinker.restarts == 1
    assert "it is restarted" in told[0]


PROGRAMS = """
import json, os, sys
import psutil
from reasoner import Question, SamplingParams, solve_sync
from reasoner.engines.vllm import VllmEngine
from reasoner_strategies import SelfConsistency, Single

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
    command = [
        sys.executable,
        str(script),
        str(embedded_model),
        *(signum.name for signum in signals),
    ]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with launcher:
        assert launcher.stdout
        for signum in signals:
            program, *children = [
                psutil.Process(pid) for pid in json.loads(launcher.stdout.readline())
            ]
            assert any(child.memory_info().rss > 2**28 for child in children)
            program.send_signal(signum)
            all_end(children)
