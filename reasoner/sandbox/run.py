"""One process inside the sandbox: started, listened to, and ended with everything it started."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from weakref import WeakKeyDictionary

from reasoner.errors import ReasonerError
from reasoner.sandbox.layers import Layers, Limits, environment, other_user, scratch

START_SECONDS = 30
"""A machine that takes longer to start an interpreter is not one that judges programs."""
END_SECONDS = 2
_HERE = Path(__file__).parent
_INNER = """
import sys, types
sys.modules[{name!r}] = module = types.ModuleType({name!r})
exec({spelling!r}, module.__dict__)
exec({inner!r})
"""
_turns: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = WeakKeyDictionary()


class SandboxFailed(ReasonerError):
    """The layers that were found before could not be set up for this run."""


@cache
def _inner_source() -> str:
    spelling, inner = ((_HERE / name).read_text("utf-8") for name in ("spelling.py", "inner.py"))
    return _INNER.format(name="reasoner.sandbox.spelling", spelling=spelling, inner=inner)


def turn() -> asyncio.Semaphore:
    """One permit for each processor: more at once would fail by the clock what is right."""
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(os.cpu_count() or 1))


def pipe(stack: ExitStack | AsyncExitStack) -> tuple[FileIO, FileIO]:
    """Both ends of a new pipe, reading end first; closed with the stack, if not before."""
    reading, writing = os.pipe()
    return stack.enter_context(FileIO(reading)), stack.enter_context(FileIO(writing, "w"))


async def stream(stack: AsyncExitStack, end: FileIO) -> asyncio.StreamReader:
    """What comes out of a pipe; the pipe is closed with the stack."""
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, end)
    stack.callback(transport.close)
    return lines


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs inside; `names` are the layers that it said it has."""

    names: tuple[str, ...]
    _status: asyncio.StreamReader

    async def ending(self) -> str:
        """Wait for its end: `exit CODE`, `signal NUMBER`, `cpu`, `memory` or `files`; empty if killed."""
        return (await self._status.readline()).decode(errors="replace").strip()


@asynccontextmanager
async def running(
    layers: Layers, role: Sequence[str], *, limits: Limits, stdin: int, stdout: int, descriptors: Sequence[int]
) -> AsyncIterator[Process]:
    """A process that plays a role of `inner`; on leaving, it, all that it started and all its files are gone.

    Raises:
        SandboxFailed: it could not be confined, so it was not run.
    """
    async with AsyncExitStack() as stack:
        work = scratch()
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        reading, status = pipe(stack)
        life, hold = pipe(stack)
        lines = await stream(stack, reading)
        # -I but for the environment, which is ours and fixes the order of sets.
        program = ["-s", "-P", "-c", _inner_source(), *role]
        command = layers.command(program, work=work, limits=limits, status=status.fileno(), life=life.fileno())
        try:
            outside = await asyncio.create_subprocess_exec(
                *command,
                stdin=stdin,
                stdout=stdout,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(*descriptors, status.fileno(), life.fileno()),
                env=environment(work),
                cwd="/",
                start_new_session=True,
                **other_user(),
            )
        except OSError as error:
            raise SandboxFailed(f"the sandbox failed to start: {error}") from None
        try:
            status.close()
            # Not wait_for: in Python 3.11 it may swallow a cancellation.
            async with asyncio.timeout(START_SECONDS):
                first = (await lines.readline()).decode(errors="replace").split()
            if first[:1] != ["ready"]:
                raise SandboxFailed(f"the sandbox failed to start: {' '.join(first) or 'it ended at once'}")
            yield Process(layers.named(first[1:]), lines)
        finally:
            await _end(outside, hold)


async def _end(outside: asyncio.subprocess.Process, hold: FileIO) -> None:
    """Have the supervisor end, which ends all in its namespace, and see it gone; then kill what is left outside."""
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
