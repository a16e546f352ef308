"""The engine on one GPU in nine phases, at most 8 minutes, a line of JSON for each phase.

    python bench/gpu.py [--shape qwen3-1.7b] [--minutes 8] [--tokenizer FOLDER] [PHASE...]

The model has no weights: vLLM fills a Qwen3 of the shape with random numbers, which takes no download and runs at the
speed of the real one. Its vocabulary is the embedded tokenizer's, whose folder is `--tokenizer`. Without a GPU a
tiny model runs the same phases with small numbers, which are no figures. A phase that fails has its error in its line,
and the next one runs. A ratio is the first thing named over the second. Exit code 1 if a phase failed.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import psutil
from gpu_rig import (
    SHAPES,
    VOCABULARY,
    CancelHalf,
    MeasuredEngine,
    Rig,
    bare,
    counters,
    draw,
    request,
    write_model,
)
from search import CHAINS, speeds
from search import questions as stories

from reasoner import Question, SamplingParams, solve_many
from reasoner.engine import reset_caches
from reasoner.engines import say_nothing
from reasoner.engines.vllm.build import first_line, installed_build
from reasoner.models.embedded import embedded_path
from reasoner.system.machine import cpu_name, gpus
from reasoner.trace.events import Event
from reasoner_strategies import SelfConsistency

Figures = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much each phase does. `gate` are pairs: `max_tokens`, and the mean length of what is drawn."""

    questions: int
    samples: int
    tokens: int
    sequences: tuple[int, ...]
    rounds: int
    prompt: int
    stories: int
    chains: str
    gate: tuple[tuple[int, int], ...]
    seconds: float


GPU = Size(
    64,
    16,
    256,
    (256, 1024),
    2,
    4096,
    16,
    CHAINS,
    ((512, 280), (8192, 3000), (32_768, 5100)),
    15.0,
)
SHORT_CHAINS = "max_tokens=16,step=,step_tokens=8,max_steps=2,temperature=0.8"
CPU = Size(4, 4, 16, (16,), 1, 512, 1, SHORT_CHAINS, ((32, 16), (512, 64)), 1.0)
LONGEST = 180.0
"""Seconds after which a phase on a GPU has failed."""


def sums(count: int) -> list[Question]:
    return [
        Question.of(f"What is {2 + n % 8} + {3 + n // 8}? This is question {n}.")
        for n in range(count)
    ]


async def starting(rig: Rig, size: Size) -> Figures:
    """Phase 1: seconds until the first token, without and with compilation."""
    figures: Figures = {}
    for way, eager in (("eager", True), ("compiled", False)):
        if rig.cpu and not eager:
            rig.skipped[way] = (
                "compiling for a CPU takes minutes and is not what a CPU runs by default"
            )
            continue
        engine = await rig.engine(enforce_eager=eager, max_num_seqs=size.sequences[0])
        began = time.perf_counter()
        await draw(
            engine, [await request(engine, sums(1)[0], SamplingParams(max_tokens=1), 0)]
        )
        importing, loading, *_ = rig.stages
        figures[way] = {
            "imports": loading - importing,
            "start": began - loading,
            "first_token": time.perf_counter() - began,
            "kv_cache_tokens": engine.capacity,
        }
    return figures


async def against_bare(rig: Rig, size: Size) -> Figures:
    """Phase 2: `solve_many` against AsyncLLM with the same requests. The bar is a ratio of 0.98."""
    params, asked = SamplingParams(max_tokens=size.tokens), sums(size.questions)
    figures: Figures = {"bar": 0.98}
    for sequences in size.sequences:
        engine = await rig.engine(enforce_eager=rig.cpu, max_num_seqs=sequences)
        jobs = [
            await request(engine, question, params, index, priority=number)
            for number, question in enumerate(asked)
            for index in range(size.samples)
        ]
        await bare(engine, jobs[: size.samples])
        rates: dict[str, list[float]] = {"solve_many": [], "bare": []}
        for turn in range(size.rounds):
            for way in list(rates)[:: -1 if turn % 2 else 1]:
                await reset_caches(engine)
                if way == "bare":
                    tokens, seconds = await bare(engine, jobs)
                else:
                    began = time.perf_counter()
                    solutions = await solve_many(
                        asked, SelfConsistency(n=size.samples, params=params), engine
                    )
                    tokens, seconds = (
                        sum(s.cost.generated_tokens for s in solutions),
                        time.perf_counter() - began,
                    )
                rates[way].append(tokens / seconds)
        ratios = [
            mine / theirs
            for mine, theirs in zip(rates["solve_many"], rates["bare"], strict=True)
        ]
        figures[f"max_num_seqs={sequences}"] = {
            **rates,
            "ratio": statistics.median(ratios),
        }
    return figures


async def cached_share(rig: Rig, size: Size) -> Figures:
    """Phase 3: prompt tokens from the cache over those that n=8 samples of one long prompt can share."""
    engine = await common(rig, size)
    await reset_caches(engine)
    question = Question.of(
        "What is it about?",
        context="The harbour was full of ships that day. " * (size.prompt // 9),
    )
    params = SamplingParams(max_tokens=size.tokens)
    drawn = await draw(
        engine, [await request(engine, question, params, index) for index in range(8)]
    )
    block = engine.async_core.started.result().config.cache_config.block_size
    prompt = drawn[0].usage.prompt_tokens
    cached, ideal = (
        sum(each.usage.cached_tokens for each in drawn),
        7 * ((prompt - 1) // block * block),
    )
    return {
        "prompt_tokens": prompt,
        "block": block,
        "cached": cached,
        "ideal": ideal,
        "share": cached / ideal,
    }


async def searching(rig: Rig, size: Size) -> Figures:
    """Phase 4: generated tokens a second of searches against straight sampling. The bar is a ratio of 0.9."""
    engine = await common(rig, size)
    figures: Figures = {"bar": 0.9}
    for search in (
        "beam_search:n=8,width=4",
        "dvts:n=8,width=4",
        "mcts:k=4,simulations=10,concurrency=4",
    ):
        spec = f"{search},{size.chains}"
        ratios, run = await speeds(engine, spec, size.rounds, stories()[: size.stories])
        figures[spec.partition(":")[0]] = {
            "tokens_a_second": run.generated / run.seconds,
            "ratio": statistics.median(ratios.generated),
            "ratio_of_computed": statistics.median(ratios.computed),
        }
    return figures


async def gating(rig: Rig, size: Size) -> Figures:
    """Phase 5: what runs at once, and how full the cache is, where most replies end far below `max_tokens`.

    Random weights make all tokens equally likely, so lengths are geometric: some tokens of the vocabulary end a reply.
    """
    engine = await common(rig, size)
    figures: Figures = {"kv_cache_tokens": engine.capacity}
    for max_tokens, mean in size.gate:
        ends = tuple(range(100, 100 + max(1, VOCABULARY // mean)))
        strategy = SelfConsistency(
            n=size.samples,
            params=SamplingParams(max_tokens=max_tokens, stop_token_ids=ends),
        )
        await reset_caches(engine)
        before, seen = counters(), []
        run = asyncio.ensure_future(
            solve_many(sums(size.questions * 4), strategy, engine)
        )
        began = time.perf_counter()
        while not run.done() and time.perf_counter() - began < size.seconds:
            await asyncio.sleep(0.05)
            seen.append(counters())
        seconds = time.perf_counter() - began
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run
        full = seen[len(seen) // 2 :]
        figures[f"max_tokens={max_tokens}"] = {
            "in_flight": statistics.median(
                each["num_requests_running"] for each in full
            ),
            "kv_used": statistics.median(each["kv_cache_usage_perc"] for each in full),
            "preemptions": seen[-1]["num_preemptions"]
            - before.get("num_preemptions", 0.0),
            "tokens_a_second": (
                seen[-1]["generation_tokens"] - before.get("generation_tokens", 0.0)
            )
            / seconds,
        }
    return figures


async def cancelling(rig: Rig, size: Size) -> Figures:
    """Phase 6: half of all samples are cancelled: their blocks are free again, and the ledger equals vLLM's counts."""
    engine = await common(rig, size)
    short = SamplingParams(max_tokens=size.tokens)
    long = replace(short, max_tokens=4 * size.tokens + 100)
    before = counters()
    solutions = await solve_many(
        sums(size.questions), CancelHalf(size.samples // 2, short, long), engine
    )
    after = counters()
    booked = sum(s.cost.generated_tokens + s.cost.cancelled_tokens for s in solutions)
    counted = after["generation_tokens"] - before.get("generation_tokens", 0.0)
    freed = await asyncio.wrap_future(engine.async_core.reset_caches())
    cancelled = sum(s.cost.cancelled_tokens for s in solutions)
    figures = {
        "generated": booked,
        "cancelled": cancelled,
        "counted_by_vllm": int(counted),
        "blocks_freed": freed,
    }
    if not freed or booked != counted or not cancelled:
        raise AssertionError(f"blocks or books are wrong: {figures}")
    return figures


async def logprobs(rig: Rig, size: Size) -> Figures:
    """Phase 7: tokens a second by the log-probabilities that are asked for."""
    engine = await common(rig, size)
    figures: Figures = {}
    for kept in (None, 0, 5, 20):
        params = SamplingParams(max_tokens=size.tokens, logprobs=kept)
        jobs = [
            await request(engine, question, params, index)
            for question in sums(size.questions // 4)
            for index in range(size.samples)
        ]
        began = time.perf_counter()
        drawn = await draw(engine, jobs)
        figures[str(kept).lower()] = sum(len(each.token_ids) for each in drawn) / (
            time.perf_counter() - began
        )
    return {"tokens_a_second": figures}


async def small_cache(rig: Rig, size: Size) -> Figures:
    """Phase 8: tokens that fit, and tokens a second, with 8 bits for each number of the KV cache and with 16."""
    figures: Figures = {}
    for name in ("auto", "fp8"):
        arguments = {} if name == "auto" else {"kv_cache_dtype": name}
        engine = await common(rig, size, **arguments)
        params = SamplingParams(max_tokens=size.tokens)
        jobs = [
            await request(engine, question, params, 0)
            for question in sums(size.questions * 4)
        ]
        await draw(engine, jobs[:1])
        began = time.perf_counter()
        drawn = await draw(engine, jobs)
        figures[name] = {
            "kv_cache_tokens": engine.capacity,
            "kv_bytes_per_token": engine.model.kv_bytes_per_token,
            "tokens_a_second": sum(len(each.token_ids) for each in drawn)
            / (time.perf_counter() - began),
        }
    return figures


async def hard_cases(rig: Rig, size: Size) -> Figures:
    """Phase 9: watched tokens beside alternatives, a repeated seed, a core that is killed, Ctrl-C."""
    engine = await common(rig, size)
    question, params = sums(1)[0], SamplingParams(max_tokens=size.tokens)
    beside = [
        await request(engine, question, replace(params, logprobs=20), index)
        for index in range(4)
    ]
    watching = [
        await request(engine, question, params, index, watch=(10, 20, 30))
        for index in range(4, 8)
    ]
    drawn = await draw(engine, beside + watching)
    whole = all(
        len(row) == 20
        for each in drawn[:4]
        if each.logprobs
        for row in each.logprobs.top
    )
    watched = all(
        len(row) == 3
        for each in drawn[4:]
        if each.logprobs
        for row in each.logprobs.watched
    )
    alone = [
        (await draw(engine, [await request(engine, question, params, 0)]))[0].token_ids
        for _ in range(2)
    ]
    crowd = (
        await draw(
            engine,
            [await request(engine, question, params, index) for index in range(16)],
        )
    )[0].token_ids
    same = next(
        (n for n, (a, b) in enumerate(zip(alone[0], crowd, strict=True)) if a != b),
        len(crowd),
    )
    figures: Figures = {
        "watched_beside_alternatives": whole and watched,
        "seed_repeats_alone": alone[0] == alone[1],
        "seed_in_a_crowd_equal_until": same,
    }
    began, cores = time.perf_counter(), children()

    def kill(event: Event) -> None:
        while event.event == "prompted" and cores:
            cores.pop().kill()

    strategy = SelfConsistency(n=size.samples, params=params)
    solutions = await solve_many(
        sums(size.questions // 4), strategy, engine, trace=kill
    )
    answered = all(solution.error is None for solution in solutions)
    figures["killed_core"] = {
        "restarts": engine.restarts,
        "all_drawn": answered,
        "seconds": time.perf_counter() - began,
    }
    figures["ctrl_c"] = await asyncio.to_thread(interrupted, rig)
    left = figures["ctrl_c"]["processes_left"]
    if not (
        whole
        and watched
        and alone[0] == alone[1]
        and engine.restarts == 1
        and answered
        and not left
    ):
        raise AssertionError(f"a hard case went wrong: {figures}")
    return figures


def children(of: int | None = None) -> list[psutil.Process]:
    """The processes of vLLM's cores."""
    every = psutil.Process(of).children(recursive=True)
    return [
        each for each in every if "EngineCore" in " ".join(each.cmdline()) + each.name()
    ]


def interrupted(rig: Rig) -> Figures:
    """Seconds that a process with an engine at work takes to end after Ctrl-C, and what is left of it."""
    command = [
        sys.executable,
        __file__,
        "--draw",
        str(rig.folder),
        "--window",
        str(rig.window),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "drawing"
        cores = children(process.pid)
        began = time.perf_counter()
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    finally:
        process.kill()
    _, left = psutil.wait_procs(cores, timeout=10)
    return {
        "seconds": time.perf_counter() - began,
        "exit_code": code,
        "cores": len(cores),
        "processes_left": len(left),
    }


async def draw_without_end(rig: Rig, output: TextIO) -> None:
    """The process that gets Ctrl-C."""
    engine = await rig.engine(enforce_eager=True, max_num_seqs=16)
    params = SamplingParams(max_tokens=rig.window - 200)
    await draw(
        engine, [await request(engine, sums(1)[0], SamplingParams(max_tokens=1), 0)]
    )
    run = asyncio.ensure_future(
        solve_many(sums(64), SelfConsistency(n=4, params=params), engine)
    )
    await asyncio.sleep(0.2)
    print("drawing", file=output, flush=True)
    try:
        await run
    finally:
        await rig.close()


async def common(rig: Rig, size: Size, **arguments: Any) -> MeasuredEngine:
    """The engine that most phases use."""
    return await rig.engine(
        enforce_eager=rig.cpu, max_num_seqs=size.sequences[-1], **arguments
    )


Phase = Callable[[Rig, Size], Awaitable[Figures]]
PHASES: tuple[tuple[int, Phase], ...] = (
    (1, starting),
    (2, against_bare),
    (3, cached_share),
    (4, searching),
    (5, gating),
    (6, cancelling),
    (7, logprobs),
    (9, hard_cases),
    (8, small_cache),
)
"""In the order in which they run: each start of an engine costs half a minute, and phase 8 needs another one."""


async def measure(number: int, phase: Phase, rig: Rig, size: Size) -> dict[str, Any]:
    """The line of one phase."""
    began, rig.skipped = time.perf_counter(), {}
    line: dict[str, Any] = {"phase": number, "name": phase.__name__}
    try:
        if rig.left < 20:
            rig.skipped[phase.__name__] = (
                "no time is left: raise --minutes or name fewer phases"
            )
        else:
            line["figures"] = await asyncio.wait_for(
                phase(rig, size), rig.left if rig.cpu else min(rig.left, LONGEST)
            )
    except Exception as error:
        line["error"] = f"{type(error).__name__}: {first_line(error)}"
        with suppress(Exception):
            await rig.close()
    return {**line, "seconds": time.perf_counter() - began, "skipped": rig.skipped}


def own_output() -> TextIO:
    """Standard output for lines of this script alone: vLLM's log, also on it, goes to standard error from now on."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


async def main(options: argparse.Namespace, output: TextIO) -> int:
    build = installed_build()
    if build is None:
        raise SystemExit("vLLM is not installed: see docs/install.md")
    shape = SHAPES[options.shape or ("tiny" if build.cpu else "qwen3-1.7b")]
    with tempfile.TemporaryDirectory() as scratch:
        folder, window = (
            Path(options.draw or f"{scratch}/model"),
            options.window or shape.window,
        )
        rig = Rig(folder, window, build.cpu, time.monotonic() + options.minutes * 60)
        if options.draw:
            rig.memory = 0.25
            await draw_without_end(rig, output)
            return 0
        write_model(folder, shape, options.tokenizer or embedded_path(say_nothing))
        card = cpu_name() if build.cpu else (gpus() or ("unknown",))[0]
        about = {
            "card": card,
            "vllm": build.version,
            "shape": options.shape or ("tiny" if build.cpu else "qwen3-1.7b"),
        }
        failed = False
        for number, phase in PHASES:
            if not options.phases or number in options.phases:
                line = await measure(number, phase, rig, CPU if build.cpu else GPU)
                failed |= "error" in line
                print(json.dumps({**line, **about}), file=output, flush=True)
        await rig.close()
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("phases", nargs="*", type=int)
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--draw", help=argparse.SUPPRESS)
    parser.add_argument("--window", type=int, help=argparse.SUPPRESS)
    try:
        sys.exit(asyncio.run(main(parser.parse_args(), own_output())))
    except KeyboardInterrupt:
        sys.exit(130)
