"""Measure a large run: time and size of its journals, and of `reasoner report` on it, as a Markdown table.

    python bench/report_scale.py [QUESTIONS ...]

The arms are a greedy sample and a pool of 15, so that 12,500 questions are 200,000 samples. Replies are random;
records, writers and the command are the product's own. Each report runs in a separate process; its time includes the
start of Python.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reasoner.budget import Cost
from reasoner.journal.folder import write_whole
from reasoner.journal.lines import JournalWriter, sealed_line
from reasoner.models.info import ModelInfo
from reasoner_evals.runs.manifest import this_machine, write_manifest
from reasoner_evals.runs.records import Arm, AskedItem, GradedAnswer, ItemRecord, Manifest, PooledReply, RunFolder
from reasoner_evals.tasks.data import Source

TASK = "arithmetic"
MODEL = ModelInfo("small-135m", context=2048, parameters=134_515_008, layers=30, heads=9, kv_heads=3, head_dim=64)
WRONG = 4
POOL = 15
ARMS = (
    Arm(name="greedy", task=TASK, strategy="single", verifier="", budget="", seed=0),
    Arm(name="vote", task=TASK, strategy=f"self_consistency:n={POOL}", verifier="", budget="", seed=0, pool=POOL,
        rule="majority"),
)  # fmt: skip


class Usage(NamedTuple):
    """Time in seconds and peak memory of a step."""

    wall: float
    cpu: float
    mib: float


def begin(folder: RunFolder, questions: int) -> None:
    """Write all of a run except its journals."""
    source = Source(task=TASK, origin="made on the spot", data_hash="0", prompt="plain@1", prompt_hash="0",
                    licence="CC0", items=questions, subset="all")  # fmt: skip
    manifest = Manifest(created="2026-01-01T00:00:00Z", command="bench/report_scale.py", engine="random", model=MODEL,
                        sources=(source,), arms=ARMS, prices=None, machine=this_machine())  # fmt: skip
    folder.path.mkdir()
    write_manifest(folder, manifest)
    items = (AskedItem(task=TASK, question_id=name(number), text=f"What is {number} + 7?", gold=str(number + 7))
             for number in range(questions))  # fmt: skip
    write_whole(folder.items, map(sealed_line, items))
    write_whole(folder.verdicts, (sealed_line(verdict) for number in range(questions) for verdict in verdicts(number)))


def name(number: int) -> str:
    return f"q{number:06d}"


def verdicts(number: int) -> Iterator[GradedAnswer]:
    for offset in range(WRONG + 1):
        yield GradedAnswer(task=TASK, question_id=name(number), answer=str(number + 7 + offset),
                      status="wrong" if offset else "right", grader="reference@1")  # fmt: skip


def journal(arm: Arm, questions: int) -> Iterator[ItemRecord]:
    """Random replies: each question has its own chance, from Beta(2, 2); wrong replies share a few answers."""
    source = np.random.default_rng(len(arm.name))
    for number, chance in enumerate(np.random.default_rng(0).beta(2, 2, questions)):
        size = arm.pool or 1
        offsets = np.where(source.random(size) < chance, 0, source.integers(1, WRONG + 1, size))
        tokens = source.integers(60, 240, size).tolist()
        answers = [str(number + 7 + int(offset)) for offset in offsets]
        yield record(number, answers, tokens)


def record(number: int, answers: list[str], tokens: list[int]) -> ItemRecord:
    answer = max(answers, key=answers.count)
    pool = tuple(
        PooledReply(index=index, status="read", answer=text, key=text, prompt_tokens=8 if index else 40,
              cached_tokens=32 if index else 0, generated_tokens=generated)
        for index, (text, generated) in enumerate(zip(answers, tokens, strict=True))
    )  # fmt: skip
    prompt, cached = 32 + 8 * len(pool), 32 * (len(pool) - 1)
    cost = Cost(prompt_tokens=prompt, cached_tokens=cached, generated_tokens=sum(tokens), requests=len(pool),
                samples=len(pool), flops=2 * MODEL.parameters * (prompt + sum(tokens)),
                seconds=sum(tokens) / 100)  # fmt: skip
    return ItemRecord(question_id=name(number), status="answered", answer=answer, key=answer,
                      share=answers.count(answer) / len(answers), ended_by="strategy", reason="voted", cost=cost,
                      pool=pool)  # fmt: skip


def write_journals(folder: RunFolder, questions: int) -> Usage:
    """Write the journals; only the writer is timed, with its flush after each line and its sync."""
    wall = cpu = 0.0
    for arm in ARMS:
        files = folder.arm(arm.name)
        files.path.mkdir(parents=True)
        lines = JournalWriter(files.journal, "journal", resume=True)
        for item in journal(arm, questions):
            began, used = time.perf_counter(), time.process_time()
            lines.write(item)
            wall, cpu = wall + time.perf_counter() - began, cpu + time.process_time() - used
        lines.close()
    return Usage(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def report(run: Path) -> Usage:
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "reasoner", "report", str(run)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the report exited with status {process.returncode}")
    return Usage(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    sizes = [int(given) for given in sys.argv[1:]] or [1250, 12_500]
    print("| samples | journals, MB | written in, s (CPU) | report, s (CPU) | report's peak RSS, MiB |")
    print("|---|---|---|---|---|")
    for questions in sizes:
        with tempfile.TemporaryDirectory() as parent:
            folder = RunFolder(Path(parent) / "run")
            begin(folder, questions)
            written = write_journals(folder, questions)
            size = sum(folder.arm(arm.name).journal.stat().st_size for arm in ARMS) / 1e6
            reported = report(folder.path)
        print(f"| {questions * (POOL + 1):,} | {size:.1f} | {written.wall:.1f} ({written.cpu:.1f}) "
              f"| {reported.wall:.1f} ({reported.cpu:.1f}) | {reported.mib:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
