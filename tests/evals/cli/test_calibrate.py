"""`reasoner calibrate`: what it draws and writes, what it adds to, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from reasoner.calibration.profile import read_profile
from reasoner.cli.terminal import printable
from reasoner_evals.runs.manifest import read_manifest
from reasoner_evals.runs.records import RunFolder
from tests.cli.command import Run
from tests.engines.fake_server import FakeServer, Fault

SIMULATED = ("-e", "simulated:answers=[4,6,6,8],silent=0.1,tokens=20")
VOTE = ("-s", "self_consistency:n=4")


def sums(path: Path, count: int) -> Path:
    rows = [
        {"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * (i % 5))}
        for i in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return sums(tmp_path / "sums.jsonl", 40)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "profile.json"


@pytest.fixture
def asked(data: Path, out: Path, tmp_path: Path) -> tuple[str, ...]:
    """A calibration of forty questions, whose run goes into `tmp_path / "run"`."""
    return (
        "calibrate",
        f"jsonl:{data}",
        *SIMULATED,
        *VOTE,
        "--out",
        str(out),
        "--runs",
        str(tmp_path / "run"),
    )


def undated(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    document.pop("created")
    return document


def test_a_profile_is_written_and_a_line_a_row_goes_out(
    asked: tuple[str, ...], run: Run, out: Path, data: Path, tmp_path: Path
) -> None:
    ended = run(*asked, "-s", "single")
    assert ended.code == 0, ended.err
    profile = read_profile(out)
    family = profile.family(f"jsonl:path={data}")
    assert (profile.model, family.questions, family.baseline) == (
        "simulated",
        40,
        "self_consistency:n=4",
    )
    lines = ended.out.splitlines()
    assert len(lines) == len(family.arms) == 19
    pattern = r"jsonl:path=\S+  \S+ +\d+\.\d % \(\d+-\d+\), \d+ tokens, \d+ sequential per question, eligible"
    assert all(re.fullmatch(pattern, line) for line in lines)
    made, curve, *kept, alarm, written = ended.err.splitlines()[-7:]
    assert (made, written) == (f"run: {tmp_path / 'run'}", f"profile: {out}")
    covered = [
        family.safest(0).trust.answers_above(threshold)
        for threshold in (0, 0.5, 0.7, 0.9)
    ]
    shown = [
        f"{100 * part:.0f} %, {100 * right:.0f} % of them right" if part else "none"
        for part, right in covered
    ]
    assert curve.endswith(
        f" with --abstain-below 0 answers {shown[0]}; 0.5 answers {shown[1]}; 0.7 answers {shown[2]}; "
        f"0.9 answers {shown[3]}"
    )
    assert [
        f"--risk {risk} promises" in line
        for risk, line in zip((0.05, 0.02, 0.01), kept, strict=True)
    ] == [True] * 3
    agreement = family.safest(0).agreement
    assert agreement
    assert sum(agreement.questions) == 40
    assert alarm.endswith(
        f"100 questions raise the alarm in {agreement.power:.0%} of runs"
    )
    assert [
        arm.strategy for arm in read_manifest(RunFolder(tmp_path / "run")).arms
    ] == [
        "self_consistency:n=4",
        "single",
    ]


def test_finished_runs_are_read_without_a_model(
    asked: tuple[str, ...], run: Run, out: Path, tmp_path: Path
) -> None:
    run(*asked)
    drawn = undated(out)
    out.unlink()
    read = run("calibrate", "--from", str(tmp_path / "run"), "--out", str(out))
    assert read.code == 0, read.err
    assert "starting" not in read.err
    assert undated(out) == drawn
    first = out.read_text(encoding="utf-8")
    again = run("calibrate", "--from", str(tmp_path / "run"), "--out", str(out))
    assert f"replaces the rows that {out} held of it" in again.err
    strip = re.compile(r'"created": "[^"]*"')
    assert strip.sub("", out.read_text(encoding="utf-8")) == strip.sub("", first)


def test_a_run_that_is_there_is_continued_and_another_is_refused(
    asked: tuple[str, ...], run: Run, tmp_path: Path, out: Path
) -> None:
    first = run(*asked)
    trace = tmp_path / "run" / "arms" / "jsonl.self_consistency-n4" / "trace.jsonl"
    before = trace.read_bytes()
    again = run(*asked)
    assert (again.code, again.out) == (0, first.out)
    assert "40 questions, 40 of them done earlier" in again.err
    assert trace.read_bytes() == before
    written = out.read_bytes()
    other = run(*asked, "--limit", "35")
    assert (other.code, other.out) == (2, "")
    assert "the subset of jsonl" in other.error
    assert out.read_bytes() == written


def test_other_tasks_stay_in_a_profile_and_other_models_are_refused(
    asked: tuple[str, ...], run: Run, out: Path, data: Path, tmp_path: Path
) -> None:
    run(*asked)
    (first,) = read_profile(out).families
    more = sums(tmp_path / "more.jsonl", 31)
    added = run(
        "calibrate",
        f"jsonl:{more}",
        *SIMULATED,
        *VOTE,
        "--out",
        str(out),
        "--runs",
        str(tmp_path / "two"),
    )
    assert added.code == 0, added.err
    assert "takes the place" not in added.err
    assert all(
        line.startswith(printable(f"jsonl:path={more}"))
        for line in added.out.splitlines()
    )
    kept, fresh = read_profile(out).families
    assert kept == first
    assert (fresh.task, fresh.questions) == (f"jsonl:path={more}", 31)
    written = out.read_bytes()
    with FakeServer() as server:
        engine = ("-e", "openai", "--base-url", server.url)
        other = run(
            "calibrate",
            f"jsonl:{data}",
            *engine,
            *VOTE,
            "--limit",
            "2",
            "--out",
            str(out),
            "--runs",
            str(tmp_path / "three"),
        )
    assert (other.code, other.out) == (2, "")
    assert re.search(
        rf"{out} is the profile of simulated, not of .*: .* give --out another file",
        other.error,
    )
    assert out.read_bytes() == written


def test_questions_that_fail_leave_a_run_and_no_profile(
    data: Path, out: Path, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    refused, answered = (
        Fault("status", 400, "no"),
        Fault("send", after=99, body="data: [DONE]\n\n"),
    )
    with FakeServer(faults=[refused] * 4 + [answered] + [refused] * 2) as server:
        engine = ("-e", "openai:patience=0", "--base-url", server.url)
        asked = (
            "calibrate",
            f"jsonl:{data}",
            *engine,
            "-s",
            "self_consistency:n=1",
            "--limit",
            "5",
        )
        ended = run(*asked, "--out", str(out), "--runs", str(folder))
    assert (ended.code, ended.out) == (4, "")
    assert f"`reasoner calibrate --from {folder}`" in ended.error
    assert not out.exists()
    read = run("calibrate", "--from", str(folder), "--out", str(out))
    assert read.code == 0, read.err
    assert "of 5 questions lack a result in every arm and are left out" in read.err
    assert read_profile(out).families[0].questions < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no task is given"),
        (("nope",), "no task named 'nope'"),
        (
            ("jsonl:FILE", "-s", "single"),
            "none of the strategies is a vote over a pool",
        ),
        (
            ("jsonl:FILE", "-s", "self_consistency:stop=lossless"),
            "none of the strategies is a vote over a pool",
        ),
        (("jsonl:FILE", "--bins", "length"), "--bins must be one of"),
        (
            ("jsonl:FILE", "-s", "self_consistency:n=3", "--bins", "split"),
            "looks at the first 4 samples of a vote",
        ),
        (("--from",), "no run is given"),
        (("--from", "gone"), "cannot read the manifest gone/manifest.json"),
        (("--from", "gone", "--limit", "3"), "--limit has no effect with --from"),
        (("--from", "gone", "--runs", "there"), "--runs has no effect with --from"),
        (("--from", "gone", "-s", "single"), "--strategy has no effect with --from"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    arguments: tuple[str, ...],
    message: str,
    data: Path,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = () if "--from" in arguments else ("-e", "simulated")
    ended = run(
        "calibrate",
        *(one.replace("FILE", str(data)) for one in arguments),
        *engine,
        "--out",
        "p.json",
    )
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.error
    assert [path.name for path in tmp_path.iterdir()] == ["sums.jsonl"]


def test_a_profile_is_neither_read_from_nor_written_over_what_is_not_a_file(
    run: Run,
) -> None:
    ended = run("calibrate", "arithmetic", "-e", "simulated", "--out", "/dev/zero")
    assert (ended.code, ended.out) == (2, "")
    assert "cannot read the profile /dev/zero: it is not a regular file" in ended.error
