"""Code that attacks processes, time and memory: it is ended at a limit, alone, and leaves nothing.

Every test ends with `place` of the conftest, which looks for processes and files that survived.
"""

import os
from pathlib import Path

import pytest

from reasoner.sandbox.check import Call
from reasoner.sandbox.layers import SandboxLimits
from tests.sandbox.attacking import CONFINED, SECCOMP, WATCH, attack, checked

pytestmark = CONFINED

# Processes

FORKS = """
import os, signal
def attack():
    made = 0
    for _ in range(200):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            signal.pause()
            os._exit(0)
        made += 1
    return made
"""


def test_a_fork_bomb_ends_at_the_limit() -> None:
    limits = SandboxLimits(seconds=8, cpu_seconds=2, processes=20)
    assert checked(FORKS, "assert 0 < attack() < 20", limits=limits).status == "pass"


DAEMON = """
import ctypes, os, signal, time
def attack(path):
    if os.fork() == 0:
        os.setsid()
        ctypes.CDLL(None).prctl(1, 0)  # the death of its parent is no signal to it
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        if os.fork() == 0:
            os.closerange(0, 64)
            while True: time.sleep(1)
        os._exit(0)
    return 'done'
"""


def test_a_daemon_does_not_outlive_the_run(outside: Path) -> None:
    assert checked(DAEMON, Call((str(outside),), "done")).status == "pass"


def test_a_daemon_does_not_outlive_a_time_out(outside: Path) -> None:
    code = DAEMON.replace(
        "    return 'done'",
        "    os.setsid()\n    ctypes.CDLL(None).prctl(1, 0)\n    while True: pass",
    )
    assert checked(code, Call((str(outside),), "done")).status == "timeout"


KILLS = {
    "its parent": "os.kill(os.getppid(), 9)",
    "the first process": "os.kill(1, 9)",
    "the first process, to dump": "os.kill(1, 11)",
    "the caller": "os.kill(caller, 9)",
    "the caller's group": "os.killpg(caller, 9)",
}


@pytest.mark.parametrize("body", KILLS.values(), ids=KILLS)
def test_no_process_outside_can_be_killed(body: str) -> None:
    # Whatever the call says, the run continues and this process is there to see it.
    code = attack(body, "caller")
    assert (
        checked(code, Call((os.getpid(),), None), Call((os.getpid(),), None)).status
        == "fail"
    )


@pytest.mark.parametrize(
    "body",
    ["os.kill(-1, 9)", "os.kill(os.getpid(), 9)", "os.abort()"],
)
def test_code_that_kills_all_it_can_kills_itself_at_most(body: str) -> None:
    assert checked(attack(body), Call((), "right")).status in {"crash", "fail"}


def test_limits_cannot_be_raised() -> None:
    code = """
import resource
def attack():
    raised = []
    for name in dir(resource):
        if name.startswith('RLIMIT_') and name[7:] in ('AS', 'CPU', 'NPROC', 'FSIZE', 'NOFILE', 'CORE'):
            try:
                resource.setrlimit(getattr(resource, name), (2**40, 2**40))
                raised.append(name)
            except (OSError, ValueError):
                pass
    return raised
"""
    assert checked(code, Call((), [])).status == "pass"


def test_the_supervisor_cannot_be_traced_or_searched() -> None:
    code = """
import ctypes, os
def attack():
    traced = ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0
    try:
        os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR)
        return 'open'
    except OSError:
        return traced
"""
    assert checked(code, Call((), expected=False)).status == "pass"


# Time

HANGS = {
    "a loop": "def attack():\n    while True: pass",
    "a loop on loading": "while True: pass",
    "threads": "import threading\ndef spin():\n    while True: pass\ndef attack():\n    for _ in range(8): threading.Thread(target=spin).start()\n    spin()",
    "ignored signals": "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",
}


@pytest.mark.parametrize("code", HANGS.values(), ids=HANGS)
def test_what_never_ends_is_ended_by_its_processor_time(code: str) -> None:
    verdict = checked(
        code, Call((), 1), limits=SandboxLimits(seconds=20, cpu_seconds=1)
    )
    assert verdict.status == "timeout"
    assert "more than 1 s of processor time" in verdict.detail


@pytest.mark.parametrize(
    "code",
    ["import time\ndef attack(): time.sleep(1000)", "import time\ntime.sleep(1000)"],
)
def test_what_waits_is_ended_by_the_clock(code: str) -> None:
    verdict = checked(code, Call((), None), limits=SandboxLimits(seconds=1))
    assert (verdict.status, verdict.detail) == (
        "timeout",
        "test 1 of 1: not finished after 1 s",
    )


# Memory

SMALL = SandboxLimits(seconds=8, cpu_seconds=4, memory_mib=256)


@pytest.mark.parametrize(
    "body",
    [
        "return len(bytes(3 * 2**30))",
        "kept = []\n    while True: kept.append(bytes(2**20))",
    ],
)
def test_a_memory_bomb_ends_at_the_limit(body: str) -> None:
    assert (
        checked(f"def attack():\n    {body}", Call((), 0), limits=SMALL).status
        == "memory"
    )


SHARED_OUT = """
import os, signal
def attack():
    for _ in range(8):
        if os.fork() == 0:
            kept = b'x' * (100 * 2**20)
            signal.pause()
    signal.pause()
"""


@WATCH
def test_memory_in_many_processes_is_counted_together() -> None:
    verdict = checked(SHARED_OUT, Call((), 0), limits=SMALL)
    assert (verdict.status, verdict.detail.rpartition(", ")[2]) == (
        "memory",
        "it held more than 256 MiB",
    )


@WATCH
def test_memory_that_processes_share_is_counted_once() -> None:
    code = """
import os
KEPT = b'x' * (100 * 2**20)
def attack():
    ends = []
    for _ in range(8):
        if os.fork() == 0:
            os.read(OPEN, 1)
            os._exit(0)
    for _ in range(20): sum(range(10**5))
    return len(KEPT)
OPEN, END = os.pipe()
"""
    assert checked(code, Call((), 100 * 2**20), limits=SMALL).status == "pass"


@SECCOMP
@pytest.mark.parametrize("call", ["shmget(0, 2**26, 0o1666)", "memfd_create(b'x', 0)"])
def test_memory_that_no_process_shows_cannot_be_had(call: str) -> None:
    code = f"import ctypes\ndef attack():\n    return ctypes.CDLL(None).{call}"
    assert checked(code, Call((), -1)).status == "pass"


@pytest.mark.parametrize(
    "body",
    [
        "import sys; sys.setrecursionlimit(10**9); return attack()",
        "return eval('(' * 10**6)",
    ],
)
def test_deep_recursion_is_contained(body: str) -> None:
    assert checked(f"def attack():\n    {body}", Call((), 0)).status in {
        "fail",
        "crash",
        "memory",
        "timeout",
    }
