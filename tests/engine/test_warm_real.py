"""Commands that use the engine of one `reasoner serve`: what they get, what they load, and how either side ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner import Question, SamplingParams, solve
from reasoner.cli.given import GivenOptions
from reasoner.engine import Engine, SampleRequest, continuation
from reasoner.engines.remote.warm import WarmEngine
from reasoner.engines.vllm import VllmEngine
from reasoner.testing.support import number_question
from reasoner.types import Completion, Prompt, Usage
from tests.cli.command import Ended, finish, read_until, start
from tests.waiting import PATIENCE

BLOCK = 32
OPTIONS = "vllm:max_model_len=2048,kv_gib=0.5,dtype=float32"
REASONER = str(Path(sys.executable).with_name("reasoner"))
LONG = "Count from one to five hundred in words, and leave out no number: " * 8


@pytest.fixture(scope="module")
def server(
    embedded_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["subprocess.Popen[str]"]:
    """A server in a cache folder of its own, so that no other test's command finds it."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "models").symlink_to(embedded_model.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONER_CACHE", str(cache))
        process = start("serve", "--port", "0", "-e", OPTIONS)
        try:
            read_until(process, lambda line: line.startswith("ready "))
            yield process
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe
                pipe.close()


@pytest.fixture
def engine(server: "subprocess.Popen[str]") -> WarmEngine:
    found = GivenOptions(engine=OPTIONS, no_server=False).to_engine()
    assert isinstance(found, WarmEngine)
    assert found.process == server.pid
    return found


def reasoner(*arguments: str, cwd: Path) -> Ended:
    ended = subprocess.run(
        [REASONER, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


async def draw(
    engine: Engine, prompt: Prompt, index: int = 0, **options: object
) -> Completion:
    params = SamplingParams(temperature=0, **{"max_tokens": 24, **options})  # type: ignore[arg-type]
    return await engine.sample(
        SampleRequest("q", prompt, await engine.render(prompt), params, index, 1)
    )


def test_tokens_and_counts_are_exact(engine: WarmEngine) -> None:
    async def test() -> None:
        await engine.start()
        assert (engine.capacity, continuation(engine)) == (engine.model.room, "exact")
        await engine.reset_caches()
        prompt = Question.of(LONG).prompt
        rendered = await engine.render(prompt)
        assert rendered.token_ids is not None
        whole_blocks = (rendered.tokens - 1) // BLOCK * BLOCK
        first = await draw(engine, prompt, logprobs=2)
        again = await draw(engine, prompt, 1, logprobs=2)
        assert first.usage == Usage(rendered.tokens, 0, len(first.token_ids))
        assert again.usage == Usage(rendered.tokens, whole_blocks, len(first.token_ids))
        assert again.token_ids == first.token_ids
        assert first.logprobs
        # A continuation appends ids, and measures them as they were measured when they were drawn.
        half = await draw(engine, prompt, 2, max_tokens=8)
        rest = await draw(engine, prompt.then(half), 3, max_tokens=16)
        assert half.token_ids + rest.token_ids == first.token_ids
        assert (
            await engine.render(prompt.then(half))
        ).token_ids == rendered.token_ids + half.token_ids
        watched = SampleRequest(
            "q",
            prompt,
            rendered,
            SamplingParams(temperature=0, max_tokens=1),
            4,
            1,
            watch=first.token_ids[:1],
        )
        measured = await engine.sample(watched)
        assert measured.logprobs
        assert measured.logprobs.watched[0][0] == pytest.approx(
            first.logprobs.sampled[0], abs=1e-4
        )
        raw = await engine.render(Prompt(raw="two words"))
        assert raw.token_ids == await engine.encode("two words")
        solution = await solve(
            number_question(),
            "self_consistency:n=4,max_tokens=16",
            engine,
            budget="tokens=600",
        )
        assert solution.error is None
        assert solution.cost.tokens <= 600
        await engine.close()

    asyncio.run(test())


def test_cancelling_says_what_it_cost_and_frees_the_engine(engine: WarmEngine) -> None:
    async def test() -> None:
        await engine.start()
        prompt = number_question().prompt
        rendered = await engine.render(prompt)
        params = SamplingParams(temperature=1, max_tokens=1500)
        request = SampleRequest("q", prompt, rendered, params, 0, 1)
        seen = asyncio.Event()
        streamed = replace(request, on_text=lambda _: seen.set())
        task = asyncio.ensure_future(engine.sample(streamed))
        await seen.wait()
        while not (any(engine.lengths) or task.done()):
            await asyncio.wait([task], timeout=0.01)
        assert 0 < sum(engine.lengths) < 1500
        task.cancel()
        await asyncio.wait([task])
        assert engine.lengths == []
        usage = streamed.meter.usage
        assert usage
        assert usage.prompt_tokens == rendered.tokens
        assert 0 < usage.generated_tokens < 1500
        await engine.close()

    asyncio.run(test())


def test_commands_use_it_and_load_neither_torch_nor_vllm(
    server: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    said = f"using the engine of the server {server.pid}; --no-server starts another"
    code = (
        "import sys, atexit; atexit.register(lambda: print(sorted({'torch', 'vllm'} & set(sys.modules))));"
        "from reasoner.cli import main; main()"
    )
    solving = start(
        "solve",
        "What is 3 + 4?",
        "-e",
        OPTIONS,
        "--max-tokens",
        "32",
        command=(sys.executable, "-c", code),
    )
    ended = finish(solving)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "[]"), ended.err
    assert ended.err.splitlines()[0] == said
    ended = reasoner("demo", "-e", OPTIONS, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert said in ended.err
    arguments = ("-e", OPTIONS, "-s", "single:max_tokens=16")
    ended = reasoner(
        "eval", "arithmetic", "--limit", "2", *arguments, "--out", "run", cwd=tmp_path
    )
    assert ended.code == 0, ended.err
    assert said in ended.err
    assert (
        json.loads((tmp_path / "run" / "manifest.json").read_text())["engine"]
        == OPTIONS
    )
    (tmp_path / "questions.jsonl").write_text('{"question": "What is 3 + 4?"}\n')
    ended = reasoner("batch", "questions.jsonl", *arguments, cwd=tmp_path)
    assert (ended.code, len(ended.out.splitlines())) == (0, 1), ended.err
    assert isinstance(
        GivenOptions(engine=OPTIONS, no_server=True).to_engine(), VllmEngine
    )
    assert isinstance(
        GivenOptions(engine=f"{OPTIONS},max_num_seqs=8", no_server=False).to_engine(),
        VllmEngine,
    )


def test_either_side_may_end_first(
    server: "subprocess.Popen[str]", engine: WarmEngine
) -> None:
    arguments = (
        "solve",
        LONG,
        "-e",
        OPTIONS,
        "-s",
        "self_consistency:n=8,temperature=1,max_tokens=1500",
    )
    client = start(*arguments)
    read_until(client, lambda line: line.startswith("solving "))
    client.send_signal(signal.SIGINT)
    assert finish(client).code == 130

    async def idle() -> None:
        await engine.start()
        await draw(engine, number_question().prompt)
        await engine.close()

    asyncio.run(idle())
    client = start(*arguments)
    read_until(client, lambda line: line.startswith("solving "))
    os.kill(server.pid, signal.SIGKILL)
    ended = finish(client)
    assert ended.code == 4
    assert ended.error.startswith(
        f"error: the server that kept the engine (process {server.pid}) has ended: run "
    )


def test_the_seconds_of_a_start_are_shown_by_stage(tmp_path: Path) -> None:
    ended = reasoner("doctor", "--start", "--json", "-e", OPTIONS, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    seconds = {
        name: value
        for name, value in json.loads(ended.out).items()
        if name.startswith("seconds_")
    }
    assert list(seconds) == [
        f"seconds_{stage}"
        for stage in (
            "command",
            "model",
            "imports",
            "engine",
            "first_reply",
            "second_reply",
        )
    ]
    assert all(value >= 0 for value in seconds.values())
