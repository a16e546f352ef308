"""What one driver, its files and its commands take as a run grows, as a Markdown table.

    python bench/scale.py [SAMPLES ...]
    python bench/scale.py --trace TRACE

One greedy sample and 15 more per question, on the simulated engine with replies of 50 tokens on average: processor
seconds and peak memory of the runner alone (without a trace, a journal or grades), of `reasoner eval`, of `eval
--resume` on the finished run, and of `report` on two shards of it, each a process; and the bytes of its files.
Subtract two rows for a slope: each process starts Python, and loads what it needs, in the same time. With --trace, the
bytes of a trace by kind of event, and a line through those of samples: bytes = a + b x generated tokens.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reasoner import Question, solve_each

POOL = 15
ENGINE = "simulated:tokens=50"


class Usage(NamedTuple):
    """Processor time in seconds and peak memory in MiB of a process."""

    cpu: float
    mib: float

    def __str__(self) -> str:
        return f"{self.cpu:.1f} s, {self.mib:.0f} MiB"


def used(*arguments: str, program: tuple[str, ...] = ("-m", "reasoner")) -> Usage:
    process = subprocess.Popen(
        [sys.executable, *program, *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments[0]} exited with status {process.returncode}")
    return Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


async def runner_alone(questions: int) -> None:
    for strategy in ("single", f"self_consistency:n={POOL}"):
        asked = (
            Question.of(f"{number} + 7", space="number", id=f"q{number}")
            for number in range(questions)
        )
        async for _, solution in solve_each(asked, strategy, ENGINE):
            assert solution.error is None


def megabytes(run: Path, name: str) -> float:
    return sum(path.stat().st_size for path in run.rglob(name)) / 1e6


def row(samples: int, parent: Path) -> str:
    questions = samples // (POOL + 1)
    data = parent / "questions.jsonl"
    with data.open("w") as file:
        for number in range(questions):
            file.write(
                json.dumps(
                    {
                        "id": f"q{number:07d}",
                        "question": f"{number} + 7",
                        "answer": number + 7,
                    }
                )
                + "\n"
            )
    common = (
        "eval",
        f"jsonl:{data}",
        "-e",
        ENGINE,
        "-q",
        "-s",
        "single",
        "-s",
        f"self_consistency:n={POOL}",
    )
    run, shards = parent / "run", parent / "shards"
    alone = used("--alone", str(samples), program=(__file__,))
    evaluated = used(*common, "--out", str(run))
    resumed = used("eval", "--resume", str(run), "-q")
    for index in (1, 2):
        used(*common, "--shard", f"{index}/2", "--out", str(shards / str(index)))
    reported = used("report", str(shards))
    sizes = [
        megabytes(run, name)
        for name in ("trace.jsonl", "journal.jsonl", "grades.jsonl", "verdicts.jsonl")
    ]
    steps = (alone, evaluated, resumed, reported)
    return (
        " | ".join(
            [f"| {samples:,}", *map(str, steps), *(f"{size:.1f}" for size in sizes)]
        )
        + " |"
    )


def by_kind(trace: Path) -> None:
    kinds: dict[str, list[tuple[int, int]]] = defaultdict(list)
    with trace.open("rb") as file:
        for line in file:
            event = json.loads(line)
            tokens = (
                event.get("usage", {}).get("generated_tokens", 0)
                if event["event"] == "sampled"
                else 0
            )
            kinds[event["event"]].append((len(line), tokens))
    for kind, lengths in kinds.items():
        print(
            f"{kind:12} {len(lengths):8,} events, {np.mean([length for length, _ in lengths]):8,.0f} bytes each"
        )
    length, tokens = np.array(kinds["sampled"]).T
    slope, intercept = np.polyfit(tokens, length, 1)
    print(
        f"a sample takes {intercept:.0f} + {slope:.1f} x tokens bytes ({tokens.min()} to {tokens.max()} tokens)"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "samples", nargs="*", type=int, default=[1_600, 16_000, 160_000]
    )
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        asyncio.run(runner_alone(options.alone // (POOL + 1)))
        return
    if options.trace:
        by_kind(options.trace)
        return
    print(
        "| samples | runner alone | eval | resume | report | traces, MB | journals | grades | verdicts |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for samples in options.samples:
        with tempfile.TemporaryDirectory() as parent:
            print(row(samples, Path(parent)), flush=True)


if __name__ == "__main__":
    main()
