"""What the sandbox's tests share: a check run to its end, a place of its own for all it writes, and who is left."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from reasoner.sandbox.check import Call, CodeVerdict, Program, Sandbox
from reasoner.sandbox.layers import SandboxLimits, detect

BRISK = SandboxLimits(seconds=8, cpu_seconds=1)
"""Enough for all that isn't meant to run out of time, on a busy machine too."""
NEEDS = "the sandbox's minimum is missing here: {}"


def missing() -> str:
    return detect().missing


CONFINED = pytest.mark.skipif(bool(missing()), reason=NEEDS.format(missing()))
SECCOMP = pytest.mark.skipif(
    "seccomp" not in detect().names, reason="no seccomp filter for this processor"
)
WATCH = pytest.mark.skipif(
    "memory-watch" not in detect().names,
    reason="no /proc of its own for a sandbox here",
)


def checked(
    code: str,
    *tests: str | Call | Program,
    limits: SandboxLimits = BRISK,
    entry_point: str = "attack",
    unsafe: bool = False,
) -> CodeVerdict:
    return asyncio.run(
        Sandbox(limits, allow_unsandboxed=unsafe).check(
            code, tests, entry_point=entry_point
        )
    )


def returned(code: str, *args: object, limits: SandboxLimits = BRISK) -> str:
    """The text that `attack(*args)` returns inside, read from the verdict on a test that never passes."""
    verdict = checked(code, Call(args, None), limits=limits)
    assert verdict.status == "fail", verdict
    return verdict.detail.removeprefix("test 1 of 1: AssertionError: '").removesuffix(
        "' is not None"
    )


def alive(place: Path) -> Sequence[psutil.Process]:
    """The processes with a home, now or before, below a directory: those of the sandboxes that were made there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME", "").startswith(str(place)):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def started(place: Path, role: str) -> bool:
    """Whether a process that holds an answer's code has come so far as to play its role."""
    for process in alive(place):
        with suppress(psutil.Error):
            if role in process.cmdline():
                return True
    return False


def attack(body: str, args: str = "") -> str:
    """A function that says `done` when the body got through, otherwise the error that stopped it."""
    lines = "\n".join(f"        {line}" for line in body.strip().splitlines())
    return f"import os, socket, sys\ndef attack({args}):\n    try:\n{lines}\n        return 'done'\n    except OSError as e:\n        return type(e).__name__\n"
