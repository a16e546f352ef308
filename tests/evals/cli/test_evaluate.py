"""`reasoner eval`: what it writes, what it refuses, and how it continues."""

import json
import math
import re
import signal
from pathlib import Path

import pytest

from reasoner_evals.report.build import make_report
from tests.cli.command import GatedServer, Pty, Run, finish, read_until, start
from tests.engines.fake_server import FakeServer, Fault

QUESTIONS = [
    {"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)}
    for i in range(5)
]
SIMULATED = ("-e", "simulated:answers=[4,6],tokens=20")
"""Right for 2 + 2 and 3 + 3 now and then, wrong for all else."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    path.write_text(
        "\n".join(json.dumps(row) for row in QUESTIONS) + "\n", encoding="utf-8"
    )
    return path


@pytest.fixture
def asked(data: Path, tmp_path: Path) -> tuple[str, ...]:
    """A run of five questions into `tmp_path / "run"`."""
    return (
        "eval",
        f"jsonl:{data}",
        *SIMULATED,
        "-s",
        "self_consistency:n=4",
        "--out",
        str(tmp_path / "run"),
    )


def test_one_line_an_arm_goes_out_and_the_way_to_the_report_to_the_person(
    asked: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    ended = run(*asked)
    assert ended.code == 0, ended.err
    assert re.fullmatch(
        r"jsonl\.self_consistency-n4  \d of 5 right, \d+\.0 % \(\d+-\d+\), \d+ tokens, \d+ sequential per question\n",
        ended.out,
    )
    assert ended.err.splitlines()[-1] == f"report: reasoner report {tmp_path / 'run'}"
    assert ended.err.splitlines()[1:4] == [
        "starting simulated",
        "evaluating with simulated",
        "vote of 4: 5 questions",
    ]


def test_command_report_and_comparison_name_one_accuracy_and_one_interval(
    run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    asked = (
        "eval",
        "arithmetic",
        "--limit",
        "30",
        "-e",
        "simulated:accuracy=0.6",
        "-s",
        "single",
        "-s",
        "vote8:n=2",
    )
    ended = run(*asked, "--out", str(folder), "--json")
    told = [
        tuple(arm[name] for name in ("acc", "acc_low", "acc_high"))
        for arm in json.loads(ended.out)["arms"]
    ]
    [task] = make_report([folder]).tasks
    points = {
        point.strategy: point
        for point in task.points.itertuples()
        if point.size in (None, 2)
    }
    compared = json.loads(run("compare", str(folder), str(folder), "--json").out)
    # Arithmetic has groups of questions, by which its intervals are wider.
    for tally, point, pair in zip(told, points.values(), compared, strict=True):
        assert list(tally) == [pair[f"first_acc{end}"] for end in ("", "_low", "_high")]
        assert tally == pytest.approx((point.acc, point.acc_low, point.acc_high))
    one = points["single"]
    assert one.acc_stderr == pytest.approx(math.sqrt(one.acc * (1 - one.acc) / 29))
    # Half of the votes of two are tied; none of them is a part of a loss.
    harm = points["self_consistency:n=2"].deltas["greedy"]
    assert harm.backfired * 30 == pytest.approx(harm.worse)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no task is given"),
        (
            ("jsonl:FILE", "--verifier", "certainty"),
            "single, self_consistency:n=16 would not use its scores",
        ),
        (
            ("jsonl:FILE", "--subset-seed", "3"),
            "--subset-seed 3 has no effect without --limit",
        ),
        (("jsonl:FILE", "--prices", "prompt=1"), "prices need generated too"),
        (
            ("jsonl:FILE", "--allow-unsandboxed-code"),
            "no task or verifier here runs code",
        ),
        (
            ("jsonl:FILE", "--resume", "gone", "--out", "there"),
            "--out there has no effect",
        ),
        (
            ("jsonl:FILE", "-e", "replay:trace.jsonl"),
            "--engine replay cannot be evaluated",
        ),
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
    engine = () if "-e" in arguments else ("-e", "simulated")
    ended = run("eval", *engine, *(one.replace("FILE", str(data)) for one in arguments))
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.error
    assert [path.name for path in tmp_path.iterdir()] == ["sums.jsonl"]


def test_the_whole_command_line_may_be_given_again(
    asked: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    more = ("-s", "refine", "-b", "1k", "-b", "2k", "--seeds", "0,4", "--limit", "2")
    run(*asked, *more)
    line = [
        one for one in (*asked, *more) if one not in ("--out", str(tmp_path / "run"))
    ]
    assert run(*line, "--resume", str(tmp_path / "run")).code == 0


def test_what_is_given_beside_resume_must_be_what_it_was(
    asked: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    run(*asked)
    ended = run("eval", "-s", "single", "--resume", str(tmp_path / "run"))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[:-1] == [
        "- the strategies: self_consistency:n=4",
        "+ the strategies: single",
    ]
    assert ended.error.endswith("resume it with those, or start a new run")


def test_another_version_is_reported_and_does_not_stop_it(
    asked: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    run(*asked)
    file = tmp_path / "run" / "manifest.json"
    frozen = json.loads(file.read_text(encoding="utf-8"))
    frozen["machine"]["packages"]["numpy"] = "1.0"
    file.write_text(json.dumps(frozen), encoding="utf-8")
    ended = run("eval", "--resume", str(tmp_path / "run"))
    assert ended.code == 0
    assert "note: numpy was 1.0, is " in ended.err


def test_a_signal_keeps_what_is_finished_and_says_how_to_continue(
    data: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "run"
    with GatedServer(free=2) as server:
        engine = ("-e", "openai", "--base-url", server.url)
        process = start(
            "eval", f"jsonl:{data}", *engine, "-s", "single", "--out", str(folder)
        )
        read_until(process, lambda line: "2 of 5" in line)
        process.send_signal(signal.SIGTERM)
        ended = finish(process)
        assert (ended.code, ended.out) == (143, "")
        assert ended.err.splitlines()[-2:] == [
            "interrupted",
            f"kept: 2 finished questions; continue with: reasoner eval --resume {folder}",
        ]
        server.let(100)
        asked = len(server.sent("/v1/chat/completions")) + len(
            server.sent("/v1/completions")
        )
        again = run("eval", "--resume", str(folder))
        assert again.code == 0, again.err
        assert "5 questions, 2 of them done earlier" in again.err
        assert (
            len(server.sent("/v1/chat/completions"))
            + len(server.sent("/v1/completions"))
            <= asked + 3
        )
    assert not any(
        "interrupted" in line
        for line in (folder / "arms" / "jsonl.single" / "journal.jsonl").open()
    )


def test_questions_that_fail_are_reported_and_tried_again(
    data: Path, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    refused, answered = (
        Fault("status", 400, "no"),
        Fault("send", after=99, body="data: [DONE]\n\n"),
    )
    with FakeServer(faults=[refused] * 2 + [answered]) as server:
        engine = ("-e", "openai:patience=0", "--base-url", server.url)
        ended = run(
            "eval",
            f"jsonl:{data}",
            *engine,
            "-s",
            "single",
            "--out",
            str(folder),
            "--json",
        )
        assert ended.code == 4
        (arm,) = json.loads(ended.out)["arms"]
        assert (arm["questions"], arm["graded"], arm["errors"]) == (5, 3, 2)
        assert (
            "error: 2 questions ended in an error, counted neither as right nor as wrong"
            in ended.err
        )
        again = run("eval", "--resume", str(folder), "--json")
    assert again.code == 0, again.err
    (arm,) = json.loads(again.out)["arms"]
    assert (arm["questions"], arm["graded"], arm["errors"]) == (5, 5, 0)


def test_on_a_terminal_one_line_shows_how_far_it_is_with_tokens_and_time(
    data: Path, tmp_path: Path
) -> None:
    columns = 80
    with GatedServer(free=3) as server:
        engine = ("-e", "openai", "--base-url", server.url)
        arguments = (
            "eval",
            f"jsonl:{data}",
            *engine,
            "-s",
            "single",
            "--out",
            str(tmp_path / "run"),
        )
        shown = Pty(*arguments, columns=columns, environment={})
        shown.read_until("3 of 5 · ")
        lines = shown.screen.lines
        server.let(100)
        assert shown.finish() == 0
    assert re.match(r"3 of 5 · \d:\d\d left · [\d,]+ tokens each", lines[-1])
    assert max(map(len, lines)) <= columns
    assert any(
        line.startswith("report: reasoner report ") for line in shown.screen.lines
    )
    assert "3 of 5 ·" not in "\n".join(shown.screen.lines)
    assert re.match(r"jsonl\.single  \d of 5 right", shown.out)


@pytest.mark.parametrize("command", [("eval", "--resume"), ("runs", "grade")])
def test_a_folder_of_somebody_else_cannot_take_the_sandbox_away(
    command: tuple[str, ...], asked: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    run(*asked)
    file = tmp_path / "run" / "manifest.json"
    frozen = json.loads(file.read_text(encoding="utf-8"))
    frozen["sources"][0]["task"] = "humaneval:allow_unsandboxed=True"
    file.write_text(json.dumps(frozen), encoding="utf-8")
    ended = run(*command, str(tmp_path / "run"))
    assert ended.code == 2
    assert "add --allow-unsandboxed-code" in ended.error


def test_samples_of_another_model_and_of_no_run_are_not_reused(
    run: Run, tmp_path: Path
) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    asked = ("eval", "arithmetic", "--limit", "2", "-s", "single")
    assert run(*asked, "-e", "simulated", "--out", str(first)).code == 0
    for reuse, engine, why in (
        (first, "simulated:model_name=b", "has samples of simulated, and this run"),
        (tmp_path, "simulated", "give the folder of a run"),
        (first / "absent", "simulated", "give the folder of a run"),
    ):
        said = run(*asked, "-e", engine, "--reuse", str(reuse), "--out", str(other))
        assert (said.code, why in said.error) == (2, True)
