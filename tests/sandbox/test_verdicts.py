"""Verdicts: what tests of each kind say of code, and what a check leaves when it is cut short."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.sandbox.check import Call, Program, Sandbox
from reasoner.sandbox.layers import SandboxLimits
from tests.sandbox.attacking import CONFINED, alive, checked, started
from tests.waiting import all_end

pytestmark = CONFINED

ADD = "def add(a, b=1): return a + b"


def test_code_that_passes_all_tests_passes() -> None:
    humaneval = "METADATA = {}\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(1) == 2\n"
    mbpp = ("assert add(1, 2) == 3", "assert add(a=1) == 2")
    verdict = checked(ADD, Call((1, 2), 3), humaneval, *mbpp, entry_point="add")
    assert (verdict.status, verdict.passed, verdict.total, verdict.detail) == (
        "pass",
        4,
        4,
        "",
    )
    assert verdict.judged


def test_the_first_test_that_fails_speaks_and_the_others_count() -> None:
    verdict = checked(
        ADD,
        "assert add(1) == 2",
        "assert add(1) == 3, 'so there'",
        "assert add(1) == 4",
        Call((1, 1), 2),
        entry_point="add",
    )
    assert (verdict.status, verdict.passed, verdict.total) == ("fail", 2, 4)
    assert verdict.detail == "test 2 of 4: AssertionError: so there"


STATUSES = [
    ("def f(: pass", "compile_error", "SyntaxError"),
    ("x = '\ud800'", "compile_error", "UnicodeEncodeError"),
    ("def f(): return 1 / 0", "fail", "ZeroDivisionError: division by zero"),
    ("1 / 0", "crash", "ZeroDivisionError"),
    ("def f(): raise MemoryError", "memory", "MemoryError"),
    ("import os\ndef f(): os._exit(3)", "crash", "exit 3"),
    ("import os\ndef f(): os.kill(os.getpid(), 11)", "crash", "signal 11"),
    ("def f(): return object()", "fail", "an object of type object"),
    ("def f():\n    x = []\n    x.append(x)\n    return x", "fail", "RecursionError"),
]


@pytest.mark.parametrize(("code", "status", "detail"), STATUSES)
def test_what_goes_wrong_has_a_status(code: str, status: str, detail: str) -> None:
    verdict = checked(code, Call((), 1), entry_point="f")
    assert verdict.status == status
    assert detail in verdict.detail
    assert verdict.passed == 0
    assert verdict.judged


def test_tests_passed_before_a_hang_count() -> None:
    code = "def f(n):\n    while n > 1: pass\n    return n"
    limits = SandboxLimits(seconds=20, cpu_seconds=1)
    verdict = checked(
        code,
        Call((0,), 0),
        Call((1,), 1),
        Call((2,), 2),
        Call((0,), 0),
        entry_point="f",
        limits=limits,
    )
    assert (verdict.status, verdict.passed, verdict.total) == ("timeout", 2, 4)
    assert verdict.detail.startswith("test 3 of 4: ")


def test_a_call_compares_types_and_takes_tuples_for_lists() -> None:
    pairs = [
        ((1, (2,)), [1, [2]]),
        (float("nan"), float("nan")),
        (10**5000, 10**5000),
        (1, True),
        ({"a": 1}, {"a": 1.0}),
    ]
    assert (
        checked(
            "def f(x): return x", *(Call((x,), y) for x, y in pairs), entry_point="f"
        ).passed
        == 3
    )


def test_methods_are_called_by_their_class() -> None:
    code = "class Solution:\n    def twice(self, x): return 2 * x"
    assert checked(code, Call((2,), 4), entry_point="Solution.twice").status == "pass"
    assert (
        checked(
            code, Call((2,), 4, "Solution.twice"), Call((2,), 4, "Solution.thrice")
        ).passed
        == 1
    )


# Tests that are themselves wrong


BAD_TESTS = [
    ("assert f(", "SyntaxError"),
    ("def check(g): pass", "calls nothing of the code"),
    ("f(lambda: 1)", "an argument cannot be passed: an object of type function"),
]


@pytest.mark.parametrize(("test", "detail"), BAD_TESTS)
def test_a_test_that_cannot_be_run_says_nothing_of_the_code(
    test: str, detail: str
) -> None:
    verdict = checked("def f(x): return x", test, entry_point="f")
    assert (verdict.status, verdict.passed, verdict.judged) == ("test_error", 0, False)
    assert detail in verdict.detail


@pytest.mark.parametrize(
    "handler",
    ["except Exception: pass", "finally: FINE = 1"],
)
@pytest.mark.parametrize("body", ["os._exit(0)", "return object()"])
def test_no_handler_in_a_test_hides_what_broke(handler: str, body: str) -> None:
    verdict = checked(
        f"import os\ndef f():\n    {body}", f"try:\n    f()\n{handler}", entry_point="f"
    )
    assert verdict.status in {"crash", "fail"}


@pytest.mark.parametrize(
    ("tests", "complaint"),
    [
        ((Program("", ""), "f()"), "1 programs and 1 other tests"),
        ((Call((), None),), "no entry point"),
        ((Call((object(),), None, "f"),), "an object of type object"),
    ],
)
def test_tests_that_make_no_sense_are_refused(
    tests: tuple[str | Call | Program, ...], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        checked(ADD, *tests, entry_point="")


# Programs

ECHO = "import sys\nfor line in sys.stdin: print(int(line) * 2)"


def test_a_program_is_judged_by_its_output() -> None:
    assert (
        checked(
            ECHO, Program("1\n2\n", "2\n4\n"), Program("", ""), Program("5", "10  \n\n")
        ).status
        == "pass"
    )
    verdict = checked(
        ECHO,
        Program("1\n", "2"),
        Program("1\n", "3"),
        Program("2\n", "4"),
        Program("x", ""),
    )
    assert (verdict.status, verdict.passed, verdict.total) == ("fail", 2, 4)
    assert verdict.detail == r"test 2 of 4: it wrote b'2\n'"


PROGRAMS = [
    ("print(1", "crash", "exit 1"),
    ("print(1)\nimport sys\nsys.exit(3)", "crash", "exit 3"),
    ("print(1)\nimport os\nos.kill(os.getpid(), 9)", "crash", "signal 9"),
    ("if __name__ == '__main__': print(1)", "pass", ""),
    ("print(' 1.0')", "pass", ""),
    ("print('1 NaN')", "fail", "it wrote"),
    ("import sys\nprint(1 if len(sys.argv) == 1 else 2)", "pass", ""),
    (
        "class A: pass\nimport pickle\npickle.loads(pickle.dumps(A()))\nprint(1)",
        "pass",
        "",
    ),
]


@pytest.mark.parametrize(("code", "status", "detail"), PROGRAMS)
def test_a_program_ends_in_one_way(code: str, status: str, detail: str) -> None:
    verdict = checked(code, Program("", "1"))
    assert verdict.status == status
    assert detail in verdict.detail


def test_large_code_and_input_get_through() -> None:
    assert (
        checked(
            f"x = {'y' * 300_000!r}\nprint(len(x) + len(input()))",
            Program("z" * 300_000, "600000"),
        ).status
        == "pass"
    )
    assert (
        checked(
            "def f(x): return x", Call(("z" * 10**6,), "z" * 10**6), entry_point="f"
        ).status
        == "pass"
    )


def test_the_same_check_gives_the_same_verdict() -> None:
    code = "def f(): return [*{'a', 'b', 'c', 'd', 'e', 'f'}]"
    details = {checked(code, Call((), []), entry_point="f").detail for _ in range(3)}
    assert len(details) == 1


# Cut short

HANG = "import os\nif os.fork() == 0: os.setsid()\nwhile True: pass"


@pytest.mark.parametrize("test", [Call((), 1, "f"), Program("", "")])
def test_a_cancelled_check_leaves_no_process_and_no_file(
    test: Call | Program, place: Path
) -> None:
    async def go() -> None:
        task = asyncio.create_task(
            Sandbox(SandboxLimits(seconds=60, cpu_seconds=60)).check(HANG, [test])
        )
        role = "serve" if isinstance(test, Call) else "program"
        while not await asyncio.to_thread(started, place, role):
            assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left.extend(await asyncio.to_thread(lambda: [*alive(place), *place.iterdir()]))

    left: list[object] = []
    asyncio.run(go())
    assert left == []


def test_checks_that_wait_for_their_turn_do_not_run_out_of_time() -> None:
    async def go() -> list[str]:
        sandbox = Sandbox(SandboxLimits(seconds=6, cpu_seconds=3))
        code = "def f():\n    for _ in range(10**6): pass\n    return 1"
        checks = (sandbox.check(code, [Call((), 1)], entry_point="f") for _ in range(8))
        return [verdict.status for verdict in await asyncio.gather(*checks)]

    assert asyncio.run(go()) == ["pass"] * 8


def test_nothing_outlives_a_caller_that_is_killed(place: Path) -> None:
    script = (
        "import asyncio, sys, tempfile\nfrom reasoner.sandbox.check import Call, SandboxLimits, Sandbox\n"
        f"tempfile.tempdir = {str(place)!r}\n"
        f"asyncio.run(Sandbox(SandboxLimits(seconds=60, cpu_seconds=60)).check({HANG!r}, [Call((), 1, 'f')]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as caller:
        while not started(place, "serve"):
            assert caller.poll() is None
        running = alive(place)
        caller.send_signal(signal.SIGKILL)
    all_end(running)
    for left in place.iterdir():
        left.rmdir()
