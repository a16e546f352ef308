"""Workers that are killed at their limits, and a pool that continues to serve whatever happens to one of them."""

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from reasoner.errors import UsageError
from reasoner.system import process_pool
from reasoner.system.process_pool import FailedCall, JobResult, ProcessPool
from tests.running import running
from tests.waiting import PATIENCE, all_end, gone, until

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def pool(workers: int = 2, memory_mib: int = 2048) -> AsyncIterator[ProcessPool]:
    made = ProcessPool(workers, memory_mib=memory_mib)
    try:
        yield made
    finally:
        await made.close()


def endless(folder: str) -> None:
    """Says which process runs it, and never ends."""
    pid = os.getpid()
    (Path(folder) / "pid.tmp").write_text(str(pid))
    (Path(folder) / "pid.tmp").rename(Path(folder) / "pid")
    while True:
        pass


def deaf() -> None:
    """Computes for minutes and looks at no signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGPROF})
    while True:
        pass


def unpicklable() -> object:
    return lambda: None


def rude() -> None:
    raise SystemExit("no")


def limits() -> tuple[int, int]:
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(
        resource.RLIMIT_CORE
    )[0]


def workers() -> list[psutil.Process]:
    living = (
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
    )
    return [child for child in living if "--multiprocessing-fork" in child.cmdline()]


async def until_gone(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        await until(lambda: gone(process))


@running
async def test_a_function_runs_elsewhere_and_returns() -> None:
    async with pool() as made:
        assert await made.call(math.factorial, 5, seconds=PATIENCE) == JobResult(120)
        found = await made.call(os.getpid, seconds=PATIENCE)
        assert isinstance(found, JobResult)
        assert found.value != os.getpid()


@running
async def test_what_never_ends_is_killed_and_the_pool_serves_the_next(
    tmp_path: Path,
) -> None:
    async with pool() as made:
        bombs = [
            made.call(endless, str(tmp_path), seconds=0.3),
            made.call(pow, 9, 9**9, seconds=0.3),
            made.call(time.sleep, PATIENCE, seconds=0.3),
        ]
        *stopped, served = await asyncio.gather(
            *bombs, made.call(pow, 2, 10, seconds=PATIENCE)
        )
        assert stopped == [FailedCall("timeout", "it was stopped after 0.3 s")] * 3
        assert served == JobResult(1024)
        started = workers()
        assert len(started) == 2
    all_end(started)


@running
async def test_a_c_function_that_never_looks_up_ends_its_worker_only() -> None:
    async with pool() as made:
        stuck, served = await asyncio.gather(
            made.call(deaf, seconds=0.1, cpu_seconds=0.1),
            made.call(time.sleep, 1.0, seconds=PATIENCE),
        )
        assert isinstance(stuck, FailedCall)
        assert served == JobResult(None)
        assert await made.call(abs, -1, seconds=PATIENCE) == JobResult(1)


@running
async def test_what_a_function_raises_is_a_crash() -> None:
    async with pool() as made:
        found = await made.call(int, "x", seconds=PATIENCE)
        assert found == FailedCall(
            "crash", "ValueError: invalid literal for int() with base 10: 'x'"
        )
        assert await made.call(rude, seconds=PATIENCE) == FailedCall(
            "crash", "SystemExit: no"
        )
        assert isinstance(await made.call(unpicklable, seconds=PATIENCE), FailedCall)
        assert await made.call(abs, -1, seconds=PATIENCE) == JobResult(1)


@running
async def test_a_worker_that_dies_is_a_crash_and_is_replaced() -> None:
    async with pool() as made:
        for _ in range(3):
            found = await made.call(os._exit, 3, seconds=PATIENCE)
            assert isinstance(found, FailedCall)
            assert found.kind == "crash"
        assert await made.call(abs, -1, seconds=PATIENCE) == JobResult(1)


@running
async def test_memory_is_bounded() -> None:
    async with pool(memory_mib=1024) as made:
        assert await made.call(limits, seconds=PATIENCE) == JobResult((1024 << 20, 0))
        assert await made.call(bytearray, 2048 << 20, seconds=PATIENCE) == FailedCall(
            "crash", "MemoryError"
        )
        assert await made.call(abs, -1, seconds=PATIENCE) == JobResult(1)


@running
async def test_a_pool_whose_workers_cannot_start_says_so() -> None:
    made = ProcessPool(1, prepare=rude)
    assert isinstance(await made.call(abs, -1, seconds=PATIENCE), FailedCall)
    await made.close()


@running
async def test_a_worker_is_replaced_after_its_number_of_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_pool, "MAX_TASKS", 2)
    async with pool(workers=1) as made:
        pids = [await made.call(os.getpid, seconds=PATIENCE) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


@running
async def test_cancelling_kills_what_runs(tmp_path: Path) -> None:
    async with pool(workers=1) as made:
        task = asyncio.create_task(made.call(endless, str(tmp_path), seconds=PATIENCE))
        await until((tmp_path / "pid").exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_gone(int((tmp_path / "pid").read_text()))
        assert await made.call(abs, -1, seconds=PATIENCE) == JobResult(1)


@running
async def test_closing_ends_what_runs(tmp_path: Path) -> None:
    made = ProcessPool(1)
    task = asyncio.create_task(made.call(endless, str(tmp_path), seconds=PATIENCE))
    await until((tmp_path / "pid").exists)
    await made.close()
    assert isinstance(await task, FailedCall)
    await until_gone(int((tmp_path / "pid").read_text()))
    await made.close()
    assert await made.call(abs, -1, seconds=PATIENCE) == JobResult(1)
    await made.close()


def test_event_loops_one_after_another_and_in_threads_share_a_pool() -> None:
    made = ProcessPool(2)
    assert asyncio.run(made.call(abs, -1, seconds=PATIENCE)) == JobResult(1)
    with ThreadPoolExecutor(4) as threads:
        found = list(
            threads.map(
                lambda n: asyncio.run(made.call(abs, -n, seconds=PATIENCE)), range(20)
            )
        )
    asyncio.run(made.close())
    assert found == [JobResult(n) for n in range(20)]


@running
async def test_a_function_that_no_worker_can_import_is_refused() -> None:
    async with pool() as made:
        with pytest.raises(UsageError, match="cannot run in another process"):
            await made.call(lambda: 1, seconds=PATIENCE)


SCRIPT = """
import asyncio, math
from reasoner.system.process_pool import ProcessPool

print("main runs")
print(asyncio.run(ProcessPool().call(math.factorial, 5, seconds=60)))
"""


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Its main part runs once, in the parent, and it ends, though the pool was not closed."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (run.returncode, run.stderr, run.stdout) == (
        0,
        "",
        "main runs\nJobResult(value=120)\n",
    )


INTERRUPTED = """
import asyncio, time
from reasoner.system.process_pool import ProcessPool

async def main():
    pool = ProcessPool()
    try:
        await pool.warm()
        tasks = [asyncio.create_task(pool.call(time.sleep, 600, seconds=600)) for _ in range(4)]
        await asyncio.sleep(0)
        print("ready", flush=True)
        await asyncio.gather(*tasks)
    finally:
        await pool.close()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_prints_no_traceback_of_a_worker(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole process group."""
    path = tmp_path / "script.py"
    path.write_text(INTERRUPTED)
    with subprocess.Popen(
        [sys.executable, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=PATIENCE)
    assert (out, err, run.returncode) == ("interrupted\n", "", 0)


ORPHANED = """
import asyncio, sys
from reasoner.system.process_pool import ProcessPool
from tests.system.test_process_pool import endless

asyncio.run(ProcessPool().call(endless, sys.argv[1], seconds=5))
"""


@running
async def test_a_worker_does_not_outlive_its_limit_though_the_parent_was_killed(
    tmp_path: Path,
) -> None:
    run = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ORPHANED,
        str(tmp_path),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    await until((tmp_path / "pid").exists)
    run.kill()
    await run.wait()
    await until_gone(int((tmp_path / "pid").read_text()))
