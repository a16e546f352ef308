"""Commands on Ray: quiet, ended by a signal at once, and without a process or a folder left behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.cli.command import MAIN, Run, finish, read_until, start

ENGINE = "ray:engine=simulated(tokens=5),replicas=2"
PROGRAM = """
import asyncio, sys
from reasoner import solve_many
from reasoner.engines.ray import RayEngine
from tests.engines.ray_parts import Gated

async def run():
    engine = RayEngine(Gated(folder=sys.argv[1], free=0), replicas=2)
    await solve_many(["How many?", "How few?"], "self_consistency:n=2", engine)

asyncio.run(run())
"""


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


def test_a_command_says_nothing_of_ray_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [*MAIN, "solve", "What is 3 + 4?", "-e", ENGINE, "-n", "4"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, "7")
    assert [line for line in ended.stderr.splitlines() if "ray" in line.lower()] == ["starting Ray"], ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_it_and_its_replicas() -> None:
    process = start("solve", "How many?", "-e", "ray:engine=simulated(tokens=100000),replicas=2", "-n", "1000000")
    read_until(process, lambda line: line.startswith("1 sample"))
    processes = below(process.pid)
    assert len(processes) > 3
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert all_end(processes, 20)


def test_the_end_of_a_killed_driver_ends_ray(tmp_path: Path) -> None:
    process = psutil.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=Path.cwd(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "log").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes = below(process.pid)
    assert sum("EngineHost" in one.name() or "raylet" in one.name() for one in processes) == 3
    process.kill()
    process.wait()
    assert all_end(processes, 60)


def test_a_cluster_that_was_joined_stays_and_keeps_no_replica(short_folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
    options = ["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--num-cpus=2", f"--temp-dir={short_folder}"]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with psutil.Popen([*command, *options], env=environment, stdout=subprocess.PIPE, text=True) as cluster:
        try:
            for line in cluster.stdout:
                if "Ray runtime started" in line:
                    break
            for code in (0, -signal.SIGKILL):
                address = f"address=127.0.0.1:{port}"
                slow = 5 if code == 0 else 100_000
                engine = f"ray:engine=simulated(tokens={slow}),replicas=2,cpus=1,{address}"
                process = start("solve", "What is 3 + 4?", "-e", engine, "-n", "4" if code == 0 else "1000000")
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


@pytest.mark.parametrize(
    ("address", "message"),
    [("127.0.0.1:1", "no Ray cluster answers at address=127.0.0.1:1"), ("auto", "no Ray cluster answers")],
)
def test_a_cluster_that_is_not_there(address: str, message: str, run: Run) -> None:
    ended = run("solve", "q", "-e", f"ray:engine=simulated,address={address}")
    assert message in ended.error
    assert "ray start --head" in ended.error
