"""Ctrl-C, at any moment: exit code 130, no traceback, and the best answer so far."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import psutil
import pytest

from reasoner.cli import interrupts
from tests.cli.command import ONE_AT_ONCE, GatedServer, Run, finish, read_until, start
from tests.engines.fake_server import FakeServer, Fault
from tests.waiting import all_end


class Interrupting:
    """An interrupt that comes while a class is made is a RuntimeError of Python 3.11."""

    def __set_name__(self, owner: type, name: str) -> None:
        signal.raise_signal(signal.SIGINT)


def test_while_a_module_is_imported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def importing(arguments: list[str]) -> int:
        type("Line", (), {"field": Interrupting()})
        raise AssertionError

    monkeypatch.setattr("reasoner.cli.group.run", importing)
    assert run("solve", "q") == (130, "", "interrupted\n")


def test_while_the_engine_starts() -> None:
    with FakeServer(start_fault=Fault("silent")) as server:
        process = start("solve", "q", "-e", "openai", "--base-url", server.url)
        read_until(process, lambda line: line.startswith("starting openai"))
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    assert (ended.code, ended.out, ended.err) == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=str,
)
def test_each_signal_gives_the_answer_so_far_and_leaves_no_process(
    signum: signal.Signals, code: int
) -> None:
    with GatedServer(free=2) as server:
        process = start(
            "solve",
            "How many?",
            "-a",
            "math",
            "-e",
            ONE_AT_ONCE,
            "--base-url",
            server.url,
        )
        read_until(process, lambda line: line.startswith("2 samples"))
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        process.send_signal(signum)
        ended = finish(process)
    assert (ended.code, ended.out) == (code, "4\n")
    assert ended.err.startswith("interrupted after 2 samples · ")
    all_end(workers)


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with GatedServer(free=2) as server:
        process = start(
            "solve",
            "How many?",
            "-e",
            ONE_AT_ONCE,
            "--base-url",
            server.url,
            preexec_fn=ignore,
        )
        read_until(process, lambda line: line.startswith("2 samples"))
        process.send_signal(signal.SIGHUP)
        server.let(6)
        ended = finish(process)
    assert (ended.code, ended.out) == (0, "4\n")


async def _deaf() -> None:
    signal.raise_signal(signal.SIGINT)
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def _busy() -> None:
    signal.raise_signal(signal.SIGINT)
    while True:
        pass


async def _waiting_for_a_thread() -> None:
    never = threading.Event()
    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
    try:
        await asyncio.to_thread(never.wait, 3600)
    finally:
        # The thread is left where it is, and this test is to leave none behind.
        never.set()


async def _twice() -> None:
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    raise AssertionError("the second one ends it at once")


@pytest.mark.parametrize(
    ("work", "code"),
    [(_deaf, 130), (_busy, 130), (_waiting_for_a_thread, 130), (_twice, 143)],
    ids=["deaf", "busy", "waiting for a thread", "twice"],
)
def test_work_that_does_not_end_is_left(
    work: Callable[[], Coroutine[Any, Any, None]], code: int
) -> None:
    with interrupts.raised(), pytest.raises(interrupts.Interrupted) as interrupted:
        interrupts.run(work)
    assert interrupts.code_of(interrupted.value) == code
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_nothing_is_imported_before_interrupts_are_caught() -> None:
    """What Python prints of an interrupt before that would be a traceback."""
    show = "import sys; before = set(sys.modules); import reasoner.cli; print(sorted(set(sys.modules) - before))"
    assert (
        finish(start(command=(sys.executable, "-c", show))).out
        == "['reasoner', 'reasoner.cli']\n"
    )
