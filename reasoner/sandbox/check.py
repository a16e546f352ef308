"""Runs code that a model wrote against tests, in the sandbox."""

import asyncio
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import partial
from io import FileIO
from typing import Final, Literal
from weakref import WeakKeyDictionary

from reasoner.errors import ReasonerError, UsageError
from reasoner.sandbox.inner import Uncrossable, encode
from reasoner.sandbox.layers import (
    Layers,
    SandboxLimits,
    detect,
    pipe,
    scratch,
    source,
    spawn_options,
)
from reasoner.strategy import Execution
from reasoner.system.machine import usable_cores
from reasoner.system.printing import printable

Status = Literal[
    "pass",
    "fail",
    "compile_error",
    "timeout",
    "memory",
    "crash",
    "test_error",
    "sandbox_unavailable",
]
NEEDED: Final = "this machine lacks the minimum of the sandbox: install unshare (util-linux) and allow user namespaces"
MAX_DETAIL = 300
START_SECONDS: Final = 30
"""Time for an interpreter to start inside."""
_turns: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = (
    WeakKeyDictionary()
)


@dataclass(frozen=True, slots=True)
class Call:
    """A test: the value of one call. Types must be equal too, except that a tuple equals a list."""

    args: tuple[object, ...]
    expected: object
    entry_point: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """A test: the standard output of a program for an input.

    Neither blanks around lines count nor how the numbers of a line are written.
    """

    stdin: str
    expected: str


@dataclass(frozen=True, slots=True)
class CodeVerdict:
    """The result of the tests: "pass" if all passed; otherwise `detail` describes the first test that did not.

    `passes` says of each test whether the code passed it. "test_error" and "sandbox_unavailable" say nothing about the
    code: the tests or the sandbox cannot run.
    """

    status: Status
    passes: tuple[bool, ...]
    detail: str = ""

    @property
    def passed(self) -> int:
        """How many tests the code passed."""
        return sum(self.passes)

    @property
    def total(self) -> int:
        """How many tests there were."""
        return len(self.passes)

    @property
    def judged(self) -> bool:
        """Whether it says anything about the code."""
        return self.status not in ("test_error", "sandbox_unavailable")


@dataclass(slots=True)
class _Findings:
    """The results so far, from which a verdict can be made at any time."""

    total: int
    seen: int = 0
    passed: set[int] = field(default_factory=set)
    status: Status | None = None
    detail: str = ""
    finished: bool = False
    alone: bool = False
    """Whether a test runs that has not called the code yet, so that its failure is not the code's."""

    def record(self, status: Status, detail: str, index: int) -> None:
        """Record the end of a test; the first one that did not pass sets the status."""
        self.seen, self.alone = index + 1, False
        if status == "pass":
            self.passed.add(index)
        elif self.status is None:
            prefix = f"test {index + 1} of {self.total}: " if index >= 0 else ""
            self.status, self.detail = status, prefix + detail

    def verdict(self) -> CodeVerdict:
        status, detail = self.status, self.detail
        if status is None and self.finished and len(self.passed) == self.total:
            status = "pass"
        elif status is None:
            status, detail = "crash", "the tests sent no valid record of their end"
        passes = tuple(index in self.passed for index in range(self.total))
        return CodeVerdict(status, passes, printable(detail, limit=MAX_DETAIL))


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Runs code with its tests, if this machine has the minimum of layers or `allow_unsandboxed` is set.

    One check runs per processor; the others wait, which counts towards no time limit.
    """

    limits: SandboxLimits = field(default_factory=SandboxLimits)
    allow_unsandboxed: bool = False

    async def check(
        self, code: str, tests: Sequence[str | Call | Program], *, entry_point: str = ""
    ) -> CodeVerdict:
        """The verdict of tests of one kind. Calls and sources share a sandbox and a time limit; a program has its own.

        A test of type str is Python that makes assertions about functions of the code. It runs in a separate process,
        where functions of these names call the code's. If it defines `check(candidate)`, as HumanEval's tests do, that
        is called with the code's `entry_point`. Cancelling ends everything that was started.

        Raises:
            UsageError: there is no test, programs are mixed with other tests, or an argument cannot be passed.
        """
        programs = [test for test in tests if isinstance(test, Program)]
        others = [test for test in tests if not isinstance(test, Program)]
        if bool(programs) == bool(others):
            raise UsageError(
                f"give one kind of tests (got {len(programs)} programs and {len(others)} other tests)"
            )
        jobs = [_job(test, entry_point) for test in others]
        layers = await asyncio.to_thread(detect)
        findings = _Findings(len(tests))
        if layers.missing and not self.allow_unsandboxed:
            return CodeVerdict(
                "sandbox_unavailable", (False,) * len(tests), _refusal(layers)
            )
        async with _turn():
            try:
                if others:
                    await self._functions(
                        layers,
                        code,
                        {"tests": jobs, "entry_point": entry_point},
                        findings,
                    )
                for index, test in enumerate(programs):
                    ending = await self._program(layers, code, test)
                    findings.record(*ending, index)
                    if ending[0] == "timeout":
                        break
            except SandboxFailed as error:
                detail = printable(str(error), limit=MAX_DETAIL)
                return CodeVerdict("sandbox_unavailable", (False,) * len(tests), detail)
            findings.finished |= bool(programs)
            return findings.verdict()

    async def _functions(
        self, layers: Layers, code: str, job: dict[str, object], findings: _Findings
    ) -> None:
        nonce = secrets.token_hex(16)
        async with AsyncExitStack() as stack:
            serve_reads, judge_calls = pipe(stack)
            judge_reads, serve_replies = pipe(stack)
            recorded, recording = pipe(stack)
            records = await _stream(stack, recorded)
            task = _file(stack, json.dumps({"nonce": nonce, **job}))
            start = partial(_running, layers, limits=self.limits)
            # The judge starts first, so that nothing the code does can prevent that.
            judge_ends, serve_ends = (
                [judge_calls, judge_reads, recording],
                [serve_reads, serve_replies],
            )
            judge = await stack.enter_async_context(
                start("judge", ends=judge_ends, stdin=task)
            )
            serve = await stack.enter_async_context(
                start("serve", ends=serve_ends, stdin=_file(stack, code))
            )
            try:
                async with asyncio.timeout(self.limits.seconds):
                    await _listen(records, nonce, findings)
                    if findings.status == "crash":
                        findings.status, why = self._reason(await _ending(serve))
                        findings.detail += f", {why}"
                    elif not findings.finished:
                        findings.record(
                            *self._end_of_tests(await _ending(judge), findings),
                            findings.seen,
                        )
            except TimeoutError:
                # A failure of the code even if a test runs alone: the code's processes may have used up the time.
                findings.record(
                    "timeout",
                    f"not finished after {self.limits.seconds:g} s",
                    findings.seen,
                )

    async def run(self, code: str) -> Execution:
        """What comes of a program without input. Cancelling ends everything that was started.

        Raises:
            SandboxFailed: this machine lacks the minimum, or the sandbox failed to start.
        """
        layers = await asyncio.to_thread(detect)
        if layers.missing and not self.allow_unsandboxed:
            raise SandboxFailed(_refusal(layers))
        async with _turn():
            written, _, why = await self._output(layers, "script", code, "")
        return Execution(
            # The most characters of a program's output that are kept, from its end
            re.sub(
                r"[^\t\n\x20-\x7e\xa0-\U0010ffff]",
                "",
                written.decode("utf-8", "replace"),
            )[-4000:],
            why,
        )

    async def _program(
        self, layers: Layers, code: str, test: Program
    ) -> tuple[Status, str]:
        written, status, why = await self._output(layers, "program", code, test.stdin)
        if status == "pass" and not _same_output(
            written.decode("utf-8", "replace"), test.expected
        ):
            return "fail", f"it wrote {written[:100]!r}"
        return status, why

    async def _output(
        self, layers: Layers, role: str, code: str, stdin: str
    ) -> tuple[bytes, Status, str]:
        """What a program wrote, and how it ended: with "pass" by itself, and else why it did not."""
        async with AsyncExitStack() as stack:
            written, writing = pipe(stack)
            output = await _stream(stack, written)
            ends, given = [_file(stack, code)], _file(stack, stdin)
            process = await stack.enter_async_context(
                _running(
                    layers,
                    role,
                    limits=self.limits,
                    ends=ends,
                    stdin=given,
                    stdout=writing,
                )
            )
            try:
                async with asyncio.timeout(self.limits.seconds):
                    written_out = await _read(output, self.limits.output_kib * 1024)
                    if written_out is None:
                        return (
                            b"",
                            "fail",
                            f"it wrote more than {self.limits.output_kib} KiB",
                        )
                    ending = await _ending(process)
            except TimeoutError:
                return b"", "timeout", f"not finished after {self.limits.seconds:g} s"
        return (
            (written_out, "pass", "")
            if ending == "exit 0"
            else (written_out, *self._reason(ending))
        )

    def _end_of_tests(self, ending: str, findings: _Findings) -> tuple[Status, str]:
        """Why the tests did not finish. What the code returned may cause that but cannot make a process exit."""
        status, why = self._reason(ending)
        if findings.alone or not ending or ending.startswith("exit"):
            return "test_error", f"the process of the tests ended: {ending}"
        return status, f"the test of what it returned: {why}"

    def _reason(self, ending: str) -> tuple[Status, str]:
        """Why a process ended early."""
        match ending:
            case "cpu":
                return (
                    "timeout",
                    f"it took more than {self.limits.cpu_seconds} s of processor time",
                )
            case "memory":
                return "memory", f"it held more than {self.limits.memory_mib} MiB"
        return "crash", f"it ended by {ending or 'being killed'}"


def _job(test: str | Call | Program, entry_point: str) -> dict[str, object]:
    if isinstance(test, str):
        return {"source": test}
    assert isinstance(test, Call)
    if not (test.entry_point or entry_point):
        raise UsageError("a call has no entry point: give the name of its function")
    try:
        return {
            "args": encode(test.args),
            "expected": encode(test.expected),
            "entry_point": test.entry_point,
        }
    except (Uncrossable, RecursionError) as error:
        raise UsageError(
            f"a test holds {error}: use numbers, strings, bytes, lists, tuples, sets, dicts"
        ) from None


def _refusal(layers: Layers) -> str:
    return (
        f"{NEEDED}, or run the code unprotected with --allow-unsandboxed-code (in Python allow_unsandboxed=True); "
        f"tried {layers.missing}"
    )


def _file(stack: AsyncExitStack, content: str) -> FileIO:
    """A read-only file in memory with this content."""
    file = stack.enter_context(
        FileIO(os.memfd_create("content", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "r+")
    )
    left = memoryview(content.encode("utf-8", "surrogatepass"))
    while left:
        left = left[file.write(left) :]
    file.seek(0)
    seals = (
        fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    )
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    return file


async def _listen(
    records: asyncio.StreamReader, nonce: str, findings: _Findings
) -> None:
    async for line in records:
        try:
            message = json.loads(line)
            valid = secrets.compare_digest(message["nonce"], nonce)
            index, status, detail = (
                message["test"],
                message["status"],
                message["detail"],
            )
        except (ValueError, TypeError, KeyError):
            continue
        if valid and status == "end":
            findings.finished = True
            return
        if valid and status in ("alone", "called"):
            findings.alone = status == "alone"
        elif valid and (index >= 0 or status != "pass"):
            findings.record(status, detail, index)


async def _read(source: asyncio.StreamReader, maximum: int) -> bytes | None:
    """The data up to the end; None if it is more than `maximum` bytes."""
    try:
        await source.readexactly(maximum + 1)
    except asyncio.IncompleteReadError as short:
        return short.partial
    return None


def _same_output(written: str, expected: str) -> bool:
    first, second = (
        [line.strip() for line in text.strip().split("\n")]
        for text in (written, expected)
    )
    return len(first) == len(second) and all(
        a == b or _same_numbers(a, b) for a, b in zip(first, second, strict=True)
    )


def _same_numbers(a: str, b: str) -> bool:
    """Whether two lines hold nothing but the same numbers."""
    try:
        return [*map(Decimal, a.split())] == [*map(Decimal, b.split())]
    except InvalidOperation:
        return False


class SandboxFailed(ReasonerError):
    """Layers that this machine has could not be set up for this run."""


def _turn() -> asyncio.Semaphore:
    """One permit per processor: with more processes at once, correct code could exceed its time."""
    return _turns.setdefault(
        asyncio.get_running_loop(), asyncio.Semaphore(usable_cores())
    )


async def _stream(stack: AsyncExitStack, end: FileIO) -> asyncio.StreamReader:
    """The data from a pipe, which is closed with the stack."""
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: protocol, end
    )
    stack.callback(transport.close)
    return lines


async def _ending(status: asyncio.StreamReader) -> str:
    """The end of a process: `exit CODE`, `signal NUMBER`, `cpu` or `memory`; empty if it was killed."""
    return (await status.readline()).decode(errors="replace").strip()


@asynccontextmanager
async def _running(
    layers: Layers,
    role: str,
    *,
    limits: SandboxLimits,
    ends: Sequence[FileIO],
    stdin: FileIO,
    stdout: FileIO | None = None,
) -> AsyncIterator[asyncio.StreamReader]:
    """A process in a role of `inner`, as the lines of its status. It takes over its ends of pipes: they are closed.

    On leaving, the process, all that it started, and its files are gone.

    Raises:
        SandboxFailed: it could not be confined, so it did not run.
    """
    async with AsyncExitStack() as stack:
        work = scratch()
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        reading, status = pipe(stack)
        life, hold = pipe(stack)
        lines = await _stream(stack, reading)
        descriptors = [end.fileno() for end in ends]
        # Like -I, but with our environment, which fixes the order of sets.
        program = ["-s", "-P", "-c", source("inner.py"), role, *map(str, descriptors)]
        command = layers.command(
            program,
            work=work,
            limits=limits,
            status=status.fileno(),
            life=life.fileno(),
        )
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
            try:
                # Not wait_for: in Python 3.11 it may swallow a cancellation.
                async with asyncio.timeout(START_SECONDS):
                    first = (await lines.readline()).decode(errors="replace").split()
            except TimeoutError:
                raise SandboxFailed(
                    f"the sandbox was not ready within {START_SECONDS} s: try again on a less busy machine"
                ) from None
            if first[:1] != ["ready"]:
                raise SandboxFailed(
                    f"the sandbox failed to start: {' '.join(first) or 'it ended at once'}"
                )
            yield lines
        finally:
            await _end(outside, hold)


async def _end(outside: asyncio.subprocess.Process, hold: FileIO) -> None:
    """End the supervisor, which ends its namespace, and wait for it; then kill its process group."""
    try:
        hold.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await outside.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(outside.pid, signal.SIGKILL)
        if outside.returncode is None:
            await outside.wait()
