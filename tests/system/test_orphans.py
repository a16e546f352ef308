"""Processes without a parent: they end, at whatever point they are."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.waiting import all_end, wait_until

# What the child runs takes long to import, as vLLM does; the grandchild's program too.
SLOW = """
import multiprocessing, os, signal, sys

def tell():
    with open(os.environ["PIDS"], "a") as file:
        file.write(f"{os.getpid()}\\n")

if multiprocessing.current_process().name == "importing":
    tell()
    signal.pause()

def nothing():
    pass

def parent_of_another():
    tell()
    another = multiprocessing.get_context("spawn").Process(target=nothing, name="importing")
    another.start()
    signal.pause()
"""
STARTS = """
import multiprocessing, signal
from reasoner.system.child_processes import children_end_with_us
import slow

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with children_end_with_us():
        spawn.Process(target=slow.nothing, name="importing").start()
        spawn.Process(target=slow.parent_of_another).start()
    signal.pause()
"""
STUCK = """
import asyncio, os, sys
from reasoner.system.process_pool import ProcessPool
import stuck

asyncio.run(ProcessPool(1).call(stuck.inside_c, seconds=600))
"""
INSIDE_C = """
import os, re

def inside_c():
    with open(os.environ["PIDS"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    re.fullmatch("(a|a)*b", "a" * 60)
"""


def started(
    folder: Path, program: str, *, children: int, **modules: str
) -> tuple[psutil.Popen, list[psutil.Process]]:
    for name, source in {"program": program, **modules}.items():
        (folder / f"{name}.py").write_text(source)
    pids = folder / "pids"
    environment = {
        **os.environ,
        "PIDS": str(pids),
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
    }
    process = psutil.Popen(
        [sys.executable, str(folder / "program.py")], env=environment
    )

    def all_run() -> bool:
        assert process.poll() is None
        return pids.exists() and len(pids.read_text().split()) == children

    wait_until(all_run)
    return process, process.children(recursive=True)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_the_parent_ends_its_children_and_theirs(
    signum: signal.Signals, tmp_path: Path
) -> None:
    process, below = started(tmp_path, STARTS, children=3, slow=SLOW)
    assert len(below) >= 3
    process.send_signal(signum)
    assert process.wait() == -signum
    all_end(below)


def test_a_worker_inside_a_c_function_ends_too(tmp_path: Path) -> None:
    process, below = started(tmp_path, STUCK, children=1, stuck=INSIDE_C)
    process.kill()
    all_end(below)
