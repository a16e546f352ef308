"""`reasoner eval --shard`: its shards in a folder are the run of one process, also as the processes of a Slurm array."""

import re
from pathlib import Path

import pytest

from reasoner.budget import Cost
from reasoner.journal.lines import sealed_line
from reasoner.trace.events import read_trace
from reasoner_evals.runs.manifest import read_manifest
from reasoner_evals.runs.reading import open_run
from reasoner_evals.runs.records import RunFolder, read_journal
from reasoner_evals.view.arms import open_arms
from tests.cli.command import Run

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
    "-b",
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


def test_the_report_of_all_shards_is_that_of_the_unsharded_run_byte_for_byte(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "one" / "run", tmp_path / "three" / "run"
    whole.parent.mkdir()
    monkeypatch.chdir(whole.parent)
    assert run(*EVAL, "--out", "run").code == 0
    for index in range(1, 4):
        shard = str(parts / str(index))
        assert run(*EVAL, "--shard", f"{index}/3", "--out", shard).code == 0
    for folder in (whole, *parts.iterdir()):
        without_times(
            folder, created="2026-01-01T00:00:00+00:00", command="reasoner eval"
        )
    reports = []
    for folder in (whole, parts):
        monkeypatch.chdir(folder.parent)
        reports.append(report_of(Path("run"), run))
    alone, together = reports
    assert {"report.html", "results.csv"} < alone.keys() == together.keys()
    # The manifests have digests of their own, and the traces of failures lie in the shards.
    ours, theirs = (open_run(folder).manifest_hash for folder in (whole, parts))
    for name, content in together.items():
        placed = re.sub(rb"run/\d/arms/", b"run/arms/", content)
        for length in (64, 12):
            placed = placed.replace(theirs[:length].encode(), ours[:length].encode())
        assert placed == alone[name], name
    assert run("compare", str(whole), str(parts)).out.count("as much as B") == 5
    assert run("runs", "export", str(parts), "--out", "all.csv").code == 0
    assert [str(arm.run.folder.path) for arm in open_arms([parts])[::5]] == [
        str(parts / str(index)) for index in range(1, 4)
    ]
