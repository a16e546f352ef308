"""Runs one process inside the sandbox, and ends it with everything that it started."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import FileIO
from weakref import WeakKeyDictionary

from reasoner.errors import ReasonerError
from reasoner.sandbox.layers import Layers, Limits, pipe, scratch, source, spawn_options
from reasoner.system.machine import usable_cores

START_SECONDS = 30
"""Time for an interpreter to start inside."""
END_SECONDS = 2
_INNER = """
import sys, types
sys.modules[{name!r}] = module = types.ModuleType({name!r})
exec({spelling!r}, module.__dict__)
exec({inner!r})
"""
_turns: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = WeakKeyDictionary()


class SandboxFailed(ReasonerError):
    """Layers that this machine has could not be set up for this run."""


@cache
def _inner_source() -> str:
    return _INNER.format(name="reasoner.sandbox.spelling", spelling=source("spelling.py"), inner=source("inner.py"))


def turn() -> asyncio.Semaphore:
    """One permit per processor: with more processes at once, correct code could exceed its time."""
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(usable_cores()))


async def stream(stack: AsyncExitStack, end: FileIO) -> asyncio.StreamReader:
    """The data from a pipe, which is closed with the stack."""
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, end)
    stack.callback(transport.close)
    return lines


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs inside; `names` are the layers that confine it."""

    names: tuple[str, ...]
    _status: asyncio.StreamReader

    async def ending(self) -> str:
        """Wait for its end: `exit CODE`, `signal NUMBER`, `cpu`, `memory` or `files`; empty if killed."""
        return (await self._status.readline()).decode(errors="replace").strip()


@asynccontextmanager
async def running(
    layers: Layers,
    role: str,
    *,
    limits: Limits,
    ends: Sequence[FileIO],
    stdin: FileIO,
    stdout: FileIO | None = None,
) -> AsyncIterator[Process]:
    """A process in a role of `inner`. It takes over its ends of pipes: they are closed here.

    On leaving, the process, all that it started, and its files are gone.

    Raises:
        SandboxFailed: it could not be confined, so it did not run.
    """
    async with AsyncExitStack() as stack:
        work = scratch()
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        reading, status = pipe(stack)
        life, hold = pipe(stack)
        lines = await stream(stack, reading)
        descriptors = [end.fileno() for end in ends]
        # Like -I, but with our environment, which fixes the order of sets.
        program = ["-s", "-P", "-c", _inner_source(), role, *map(str, descriptors)]
        command = layers.command(program, work=work, limits=limits, status=status.fileno(), life=life.fileno())
        try:
            outside = await asyncio.create_subprocess_exec(
                *command,
                stdin=stdin,
                stdout=stdout or asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                **spawn_options(work, *descriptors, status.fileno(), life.fileno()),
            )
        except OSError as error:
            raise SandboxFailed(f"the sandbox failed to start: {error}") from None
        try:
            for end in (*ends, stdin, status, *([stdout] if stdout else [])):
                end.close()
            # Not wait_for: in Python 3.11 it may swallow a cancellation.
            async with asyncio.timeout(START_SECONDS):
                first = (await lines.readline()).decode(errors="replace").split()
            if first[:1] != ["ready"]:
                raise SandboxFailed(f"the sandbox failed to start: {' '.join(first) or 'it ended at once'}")
            yield Process(layers.named(first[1:]), lines)
        finally:
            await _end(outside, hold)


async def _end(outside: asyncio.subprocess.Process, hold: FileIO) -> None:
    """End the supervisor, which ends its namespace, and wait for it; then kill its process group."""
    try:
        hold.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await outside.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(outside.pid, signal.SIGKILL)
        if outside.returncode is None:
            await outside.wait()
