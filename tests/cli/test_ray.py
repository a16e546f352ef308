"""Commands on Ray: quiet, ended by a signal at once, and without a process or a folder left behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.cli.command import finish, read_until, start
from tests.waiting import PATIENCE, all_end, wait_until


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a path so short that there is room for the names of Ray's sockets."""
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_an_interrupt_ends_all_and_nothing_is_said_of_ray(short_folder: Path) -> None:
    engine, environment = (
        "ray:engine=simulated(tokens=100000),replicas=2",
        {**os.environ, "TMPDIR": str(short_folder)},
    )
    process = start(
        "solve", "How many?", "-e", engine, "-n", "1000000", env=environment
    )
    lines: list[str] = []
    read_until(process, lambda line: lines.append(line) or line.startswith("1 sample"))  # type: ignore[func-returns-value]
    processes = below(process.pid)
    assert len(processes) > 3
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert [line for line in lines if "ray" in line.lower()] == ["starting Ray\n"]
    all_end(processes)
    wait_until(lambda: not list(short_folder.iterdir()))


def test_a_cluster_that_was_joined_stays_and_keeps_no_replica(
    short_folder: Path,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--head",
        "--block",
        f"--port={port}",
    ]
    options = [
        "--node-ip-address=127.0.0.1",
        "--include-dashboard=false",
        "--num-cpus=2",
        f"--temp-dir={short_folder}",
    ]
    # A token of its own, which commands must know too; Ray keeps it in the home folder.
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "HOME": str(short_folder),
    }
    joining = {**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}
    subprocess.run(
        [command[0], "get-auth-token", "--generate"],
        env=environment,
        capture_output=True,
        check=True,
    )
    with psutil.Popen(
        [*command, *options], env=environment, stdout=subprocess.PIPE, text=True
    ) as cluster:
        try:
            for line in cluster.stdout:
                if "Ray runtime started" in line:
                    break
            for code in (0, -signal.SIGKILL):
                slow = 5 if code == 0 else 100_000
                engine = f"ray:engine=simulated(tokens={slow}),replicas=2,cpus=1,address=auto"
                process = start(
                    "solve",
                    "What is 3 + 4?",
                    "-e",
                    engine,
                    "-n",
                    "4" if code == 0 else "1000000",
                    env=joining,
                )
                if code:
                    read_until(process, lambda line: line.startswith("1 sample"))
                    process.kill()
                ended = finish(process)
                assert ended.code == code, ended.err
                all_end(
                    [one for one in below(cluster.pid) if "EngineHost" in one.name()]
                )
                assert any("raylet" in one.name() for one in below(cluster.pid))
        finally:
            processes = below(cluster.pid)
            cluster.terminate()
            cluster.wait(PATIENCE)
            for one in processes:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
