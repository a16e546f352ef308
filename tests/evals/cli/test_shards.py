"""`reasoner eval --shard` and `reasoner runs merge`: as one process, and as the processes of a Slurm array."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reasoner.budget import Cost
from reasoner.journal.lines import sealed_line
from reasoner.trace.events import read_trace
from reasoner_evals.runs.manifest import read_manifest
from reasoner_evals.runs.records import RunFolder, read_journal
from tests.cli.command import Run
from tests.test_docs import blocks
from tests.waiting import PATIENCE

EVAL = (
    "eval",
    "arithmetic",
    "--limit",
    "7",
    "--subset-seed",
    "1",
    "-e",
    "simulated",
    "-q",
    "-s",
    "single",
    "-s",
    "self_consistency:n=5",
    "-s",
    "best_of_n:n=5",
    "-s",
    "adaptive_consistency:n=5",
    "-s",
    "beam_search:n=4,width=2",
    "--budgets",
    "600",
)


def without_times(folder: Path, **manifest: str) -> None:
    """Remove what may differ: all seconds, and when and by which command the run was made."""
    run = RunFolder(folder)
    run.manifest.write_text(
        read_manifest(run).model_copy(update=manifest).model_dump_json()
    )
    for path in folder.glob("arms/*"):
        files = run.arm(path.name)
        records = [
            record.model_copy(update=timeless(record)) for record in read_journal(files)
        ]
        events = [
            event.model_copy(update={"t": 0.0, **timeless(event)})
            for event in read_trace(files.trace)
        ]
        files.journal.write_bytes(b"".join(map(sealed_line, records)))
        files.trace.write_bytes(b"".join(map(sealed_line, events)))


def timeless(entry: object) -> dict[str, Cost]:
    """The cost of a record or an event, without seconds."""
    return (
        {"cost": cost.taking(0)}
        if isinstance(cost := getattr(entry, "cost", None), Cost)
        else {}
    )


def report_of(folder: Path, run: Run) -> dict[str, bytes]:
    """All files of the report, by name."""
    report = folder.parent / "report"
    ended = run("report", str(folder), "--out", str(report))
    assert ended.code == 0, ended.err
    return {
        str(path.relative_to(report)): path.read_bytes()
        for path in report.rglob("*")
        if path.is_file()
    }


def test_the_report_of_the_merge_is_that_of_the_unsharded_run_byte_for_byte(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("whole", "merged"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert run(*EVAL, "--out", "run").code == 0
    for index in range(1, 4):
        assert (
            run(*EVAL, "--shard", f"{index}/3", "--out", f"../shard{index}").code == 0
        )
    monkeypatch.chdir(tmp_path / "merged")
    ended = run("runs", "merge", "../shard1", "../shard2", "../shard3", "-o", "run")
    assert (ended.code, ended.out) == (0, "run\n")
    assert ended.err == "3 shards, 7 questions; report: reasoner report run\n"
    reports = []
    for folder in ("whole", "merged"):
        monkeypatch.chdir(tmp_path / folder)
        without_times(
            Path("run"), created="2026-01-01T00:00:00+00:00", command="reasoner eval"
        )
        reports.append(report_of(Path("run"), run))
    whole, merged = reports
    assert {"report.html", "results.csv", "results.md"} < whole.keys() == merged.keys()
    assert [name for name in whole if whole[name] != merged[name]] == []


def test_some_shards_make_a_run_that_later_ones_complete(
    run: Run, tmp_path: Path
) -> None:
    shards = [str(tmp_path / f"shard{index}") for index in range(1, 4)]
    for index, shard in enumerate(shards, 1):
        assert run(*EVAL, "--shard", f"{index}/3", "--out", shard).code == 0
    some, whole = str(tmp_path / "some"), str(tmp_path / "whole")
    refused = run("runs", "merge", shards[2], shards[0], "-o", some)
    assert (
        refused.code,
        "missing shard 2/3" in refused.err,
        "--partial" in refused.err,
    ) == (2, True, True)
    ended = run("runs", "merge", shards[2], shards[0], "--partial", "-o", some)
    assert (
        ended.err
        == f"2 shards (1 missing), 5 questions; report: reasoner report {some}\n"
    )
    [source] = read_manifest(RunFolder(Path(some))).sources
    assert (source.subset, source.items) == (
        "first 7 in the order of seed 1, shard 1+3/3",
        5,
    )
    # It continues and is graded as these questions, and nothing is left to do.
    assert run("eval", "--resume", some, "-q").code == 0
    assert run("runs", "grade", some).code == 0
    assert run("runs", "merge", some, shards[0], "-o", whole).code == 2
    assert run("runs", "merge", some, shards[1], "-o", whole).code == 0
    [source] = read_manifest(RunFolder(Path(whole))).sources
    assert (source.subset, source.items) == ("first 7 in the order of seed 1", 7)


def test_the_array_job_of_the_page_runs_and_is_merged(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tasks are processes that run at the same time, with the variables that Slurm sets."""
    [script] = [
        block for block in blocks("docs/evaluation.md", "bash") if "#SBATCH" in block
    ]
    script = script.replace("gsm8k", "arithmetic").replace(
        "--model Qwen/Qwen3-8B", "--limit 5 --engine simulated"
    )
    monkeypatch.chdir(tmp_path)

    def array() -> list[int]:
        paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        tasks = [
            subprocess.Popen(
                ["bash", "-c", script],
                env={
                    **os.environ,
                    "PATH": paths,
                    "SLURM_ARRAY_TASK_ID": str(at),
                    "SLURM_ARRAY_TASK_COUNT": "3",
                },
            )
            for at in (1, 2, 3)
        ]
        try:
            return [task.wait(PATIENCE) for task in tasks]
        finally:
            for task in tasks:
                task.kill()

    assert array() == [0, 0, 0]
    # Slurm starts the task of a failed machine again: it continues its run.
    assert array() == [0, 0, 0]
    [folder] = (tmp_path / "runs").iterdir()
    assert (
        run("runs", "merge", *map(str, folder.iterdir()), "--out", "merged").code == 0
    )
    assert [
        source.items for source in read_manifest(RunFolder(Path("merged"))).sources
    ] == [5]
