"""Memory and time over inputs without end, on the simulated engine; each line is a process of its own.

    python bench/stream.py [QUESTIONS...] [MODE...]

A generator yields the questions to `solve_each` with one sample each; nothing is kept of the solutions. "free" has no
budget, "shared" one budget of 150 tokens per question with the length known. "batch" is `reasoner batch` from a JSONL
file to a JSONL file, with its trace and progress.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

from reasoner import Budget, Question, solve_each
from reasoner.engines.simulated import SimulatedEngine

SIZES = (10_000, 100_000, 1_000_000)
MODES = ("free", "shared", "batch")


def questions(count: int) -> Iterator[Question]:
    return (
        Question.of(f"What is {index} + 4?", space="number", id=f"q{index}")
        for index in range(count)
    )


async def drain(count: int, budget: Budget | None) -> None:
    stream = solve_each(
        questions(count),
        "single",
        SimulatedEngine(),
        budget=budget,
        length=count if budget else None,
    )
    answered = 0
    async with aclosing(stream):
        async for _ in stream:
            answered += 1
    assert answered == count


def measure(mode: str, count: int) -> None:
    """Run one mode in this process, and print its wall time and the most memory that it had."""
    if mode == "batch":
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "q.jsonl"
            with file.open("w") as rows:
                rows.writelines(
                    json.dumps({"question": f"What is {index} + 4?"}) + "\n"
                    for index in range(count)
                )
            began = time.perf_counter()
            command = [
                sys.executable,
                "-m",
                "reasoner",
                "batch",
                str(file),
                "-o",
                f"{folder}/a.jsonl",
            ]
            subprocess.run(
                [*command, "-e", "simulated", "-s", "single", "-q"], check=True
            )
            seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    else:
        began = time.perf_counter()
        asyncio.run(
            drain(count, Budget(tokens=150 * count) if mode == "shared" else None)
        )
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{mode:8}{count:>10,}{peak / 1024:>10.0f} MiB{seconds / count * 1e6:>10.0f} us/question",
        flush=True,
    )


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:] if word not in MODES] or SIZES
    modes = [word for word in sys.argv[1:] if word in MODES] or MODES
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    for count in sizes:
        for mode in modes:
            subprocess.run(
                [sys.executable, __file__, "--one", mode, str(count)], check=True
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
