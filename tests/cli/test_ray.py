"""Commands on Ray: quiet, ended by a signal at once, and without a process or a folder left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from reasoner.calibration.profile import read_profile
from reasoner.engines.ray import cluster
from reasoner_evals.runs.reading import open_run, records_in
from tests.cli.command import Run, finish, read_until, start


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the names of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def all_end(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether all end; one that waits for a parent in another container to read its status has ended."""
    deadline = time.monotonic() + seconds
    while [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_an_interrupt_ends_all_and_nothing_is_said_of_ray(short_folder: Path) -> None:
    engine, environment = "ray:engine=simulated(tokens=100000),replicas=2", {**os.environ, "TMPDIR": str(short_folder)}
    process = start("solve", "How many?", "-e", engine, "-n", "1000000", env=environment)
    lines: list[str] = []
    read_until(process, lambda line: lines.append(line) or line.startswith("1 sample"))  # type: ignore[func-returns-value]
    processes = below(process.pid)
    assert len(processes) > 3
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert [line for line in lines if "ray" in line.lower()] == ["starting Ray\n"]
    assert all_end(processes, 20)
    deadline = time.monotonic() + 20
    while list(short_folder.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_cluster_that_was_joined_stays_and_keeps_no_replica(short_folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
    options = ["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--num-cpus=2", f"--temp-dir={short_folder}"]
    # A token of its own, which commands must know too; Ray keeps it in the home folder.
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "HOME": str(short_folder)}
    subprocess.run([command[0], "get-auth-token", "--generate"], env=environment, capture_output=True, check=True)
    with psutil.Popen([*command, *options], env=environment, stdout=subprocess.PIPE, text=True) as cluster:
        try:
            for line in cluster.stdout:
                if "Ray runtime started" in line:
                    break
            for code in (0, -signal.SIGKILL):
                address = f"address=127.0.0.1:{port}"
                slow = 5 if code == 0 else 100_000
                engine = f"ray:engine=simulated(tokens={slow}),replicas=2,cpus=1,{address}"
                process = start(
                    "solve", "What is 3 + 4?", "-e", engine, "-n", "4" if code == 0 else "1000000", env=environment
                )
                if code:
                    read_until(process, lambda line: line.startswith("1 sample"))
                    process.kill()
                ended = finish(process)
                assert ended.code == code, ended.err
                assert all_end([one for one in below(cluster.pid) if "EngineHost" in one.name()], 30)
                assert any("raylet" in one.name() for one in below(cluster.pid))
        finally:
            processes = below(cluster.pid)
            cluster.terminate()
            cluster.wait(30)
            for one in processes:
                with suppress(psutil.NoSuchProcess):
                    one.kill()


def test_a_cluster_that_is_not_there(run: Run) -> None:
    # Not with "auto", which finds the clusters of other tests.
    ended = run("solve", "q", "-e", "ray:engine=simulated,address=127.0.0.1:1")
    assert "no Ray cluster answers at address=127.0.0.1:1" in ended.error
    assert "ray start --head" in ended.error


@pytest.fixture
def joined() -> Iterator[None]:
    """One cluster for several commands in this process."""
    cluster.join("")
    yield
    cluster.leave()


def test_batch_eval_and_calibrate_give_on_replicas_what_they_give_on_one_engine(
    tmp_path: Path, run: Run, joined: None
) -> None:
    questions = tmp_path / "q.jsonl"
    questions.write_text("".join(f'{{"question": "What is {number} + 4?"}}\n' for number in range(6)))
    given = []
    for name, engine in (("one", "simulated"), ("two", "ray:engine=simulated,replicas=2")):
        folder = tmp_path / name
        folder.mkdir()
        vote = ("-e", engine, "-s", "self_consistency:n=4")
        for command in (
            ("batch", str(questions), "-o", str(folder / "a.jsonl"), *vote),
            ("eval", "arithmetic", "--limit", "4", "--out", str(folder / "run"), *vote),
            ("calibrate", "arithmetic:split=development", "--limit", "4", "--out", str(folder / "profile.json"),
             "--runs", str(folder / "runs"), *vote),
        ):  # fmt: skip
            ended = run(*command)
            assert ended.code == 0, ended.err
        answers = [json.loads(line) for line in (folder / "a.jsonl").read_text().splitlines()]
        evaluation = open_run(folder / "run")
        records = [
            record.model_dump() for arm in evaluation.manifest.arms for record in records_in(evaluation, arm.name)
        ]
        assert (len(answers), len(records)) == (6, 4)
        arms = read_profile(folder / "profile.json").family().arms
        given.append((*(sorted(map(untimed, rows)) for rows in (answers, records)), arms))
    assert given[0] == given[1]


def untimed(row: dict[str, Any]) -> str:
    """A row as text, without how long it took."""
    return re.sub(r"'(?:seconds|t)': [0-9.e-]+", "", str(row))
