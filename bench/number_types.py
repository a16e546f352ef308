"""Tokens per second of each number type on this processor, as it is or limited to AVX2, and what compiling buys.

    python bench/number_types.py [--avx2] [--questions 16] [--tokens 48] [ROUNDS]

QUESTIONS x 4 samples of up to TOKENS tokens, temperature 0.7, seed 0. Each setting runs in a process of its own: it
starts, answers one question to warm up, then all of them with an empty prefix cache. The settings alternate, ROUNDS
times. `--avx2` hides AVX-512 from vLLM (which then loads its AVX2 kernels), from oneDNN and from ATen. On a busy
machine set OMP_NUM_THREADS=1 and compare tokens per second of processor time, which waiting does not change.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from typing import Any

SETTINGS = (
    ("bfloat16", True),
    ("float32", True),
    ("float16", True),
    ("float32", False),
    ("bfloat16", False),
)
"""Number types, each with `enforce_eager`."""
ENVIRONMENT = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def hide_avx512() -> None:
    """Make vLLM in this process take the processor for one with AVX2 alone."""
    import torch

    for asked in (
        "_is_avx512_supported",
        "_is_avx512_bf16_supported",
        "_is_amx_tile_supported",
    ):
        setattr(torch.cpu, asked, lambda: False)


async def measure(
    dtype: Any, *, eager: bool, count: int, tokens: int
) -> dict[str, float]:
    """Start an engine and answer the questions; seconds of its start, and tokens per second, of wall and processor."""
    from reasoner import Question, SamplingParams, solve_many
    from reasoner.engines.vllm import VllmEngine
    from reasoner_strategies import SelfConsistency

    engine = VllmEngine(
        max_model_len=1024, kv_gib=1.0, dtype=dtype, args={"enforce_eager": eager}
    )
    began, worked = time.perf_counter(), time.process_time()
    await engine.start()
    strategy = SelfConsistency(n=4, params=SamplingParams(max_tokens=tokens))
    questions = [
        Question.of(f"What is {2 + n % 4} + {3 + n // 4}? Explain your steps.")
        for n in range(count)
    ]
    await solve_many(questions[:1], strategy, engine)
    start, start_work = time.perf_counter() - began, time.process_time() - worked
    await engine.reset_caches()
    began, worked = time.perf_counter(), time.process_time()
    solutions = await solve_many(questions, strategy, engine)
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    await engine.close()
    drawn = sum(solution.cost.generated_tokens for solution in solutions)
    return {
        "start": start,
        "start_work": start_work,
        "rate": drawn / seconds,
        "work_rate": drawn / work,
    }


def child(dtype: str, *, eager: bool, options: argparse.Namespace) -> dict[str, float]:
    """One setting, in a process of its own."""
    avx2: bool = options.avx2
    size = [f"--questions={options.questions}", f"--tokens={options.tokens}"]
    command = [
        sys.executable,
        __file__,
        "--dtype",
        dtype,
        *size,
        *(["--eager"] if eager else []),
        *(["--avx2"] if avx2 else []),
    ]
    output = subprocess.run(  # this file
        command,
        env={**os.environ, **(ENVIRONMENT if avx2 else {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", nargs="?", type=int, default=2)
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--dtype")
    parser.add_argument("--eager", action="store_true")
    options = parser.parse_args()
    if options.dtype:
        if options.avx2:
            hide_avx512()
        print(
            json.dumps(
                asyncio.run(
                    measure(
                        options.dtype,
                        eager=options.eager,
                        count=options.questions,
                        tokens=options.tokens,
                    )
                )
            )
        )
        return
    from reasoner.system.machine import cpu_name, usable_cores

    print(
        f"{cpu_name()}, {usable_cores()} cores{', limited to AVX2' if options.avx2 else ''}",
        flush=True,
    )
    for turn in range(options.rounds):
        for dtype, eager in SETTINGS if turn % 2 == 0 else SETTINGS[::-1]:
            figures = child(dtype, eager=eager, options=options)
            how = "eager" if eager else "compiled"
            print(
                f"{dtype:9} {how:9} {figures['rate']:6.1f} tok/s, "
                f"{figures['work_rate']:6.1f} per second of processor time, start {figures['start']:5.1f} s, "
                f"{figures['start_work']:5.1f} of processor time",
                flush=True,
            )


if __name__ == "__main__":
    main()
