"""Code that attacks the tests by what it returns: a value that stalls or breaks a test is wrong.

A verdict that says nothing of the code is for tests that are themselves broken; the code must not be able to get one.
"""

import pytest

from reasoner.sandbox.check import Call
from reasoner.sandbox.layers import SandboxLimits
from tests.sandbox.attacking import CONFINED, checked

pytestmark = CONFINED
TIGHT = SandboxLimits(seconds=20, cpu_seconds=1, memory_mib=256)

NESTED = "x = []\n    for _ in range(DEPTH): x = [x]\n    return x"
PATCHED = "import sys\nfor depth in range(1, 9):\n    try: space = sys._getframe(depth).f_globals\n    except ValueError: break\n    if 'serve' in space: break\n"

STALLS = {
    "a regular expression, whatever the test catches": (
        "def f(): return 'a' * 40 + 'b'",
        "import re\ntry:\n    re.match('(a+)+$', f())\nexcept BaseException: pass",
        "timeout",
    ),
    "hashes that collide": (
        "def f(): return [n * (2**61 - 1) for n in range(10**5)]",
        "assert set(f()) == {1}",
        "timeout",
    ),
    "a large text": ("def f(): return 2**52", "assert 'a' * f() == 'a'", "memory"),
    "a number that cannot be printed": (
        "def f(): return 10**5000",
        "raise ValueError(f())",
        "fail",
    ),
    "nesting, printed": (
        f"def f():\n    {NESTED.replace('DEPTH', '300')}",
        "assert repr(f()) == '[]'",
        "fail",
    ),
    "nesting, given back": (
        f"def f(*args):\n    if args: return 1\n    {NESTED.replace('DEPTH', '200')}",
        "x = f()\nfor _ in range(300): x = [x]\nassert f(x) == 2",
        "fail",
    ),
    "a long iterator, given back": (
        PATCHED
        + "space['encode'] = lambda value: ['iterator', *range(20_000)] if value == 1 else []\n"
        "def f(*args): return 1",
        "assert f(f()) == 2",
        "fail",
    ),
    "a message of other types": (
        PATCHED + "space['_answer'] = lambda *a: [[], {}, None]\ndef f(): return 1",
        "assert f() == 2",
        "crash",
    ),
    "the process of the tests": (
        "def f(): return 11",
        "import os\nos.kill(os.getpid(), f())",
        "crash",
    ),
}


@pytest.mark.parametrize(("code", "test", "status"), STALLS.values(), ids=STALLS)
def test_what_stalls_or_breaks_a_test_is_wrong(
    code: str, test: str, status: str
) -> None:
    verdict = checked(code, test, entry_point="f", limits=TIGHT)
    assert (verdict.status, verdict.passed, verdict.judged) == (status, 0, True), (
        verdict
    )


def test_a_test_passed_before_a_stall_counts() -> None:
    stall = "import re\nassert re.match('(a+)+$', f(40))"
    verdict = checked(
        "def f(n): return 'a' * n + 'b'",
        "assert f(0) == 'b'",
        stall,
        entry_point="f",
        limits=TIGHT,
    )
    assert (verdict.status, verdict.passed, verdict.total) == ("timeout", 1, 2)
    assert verdict.detail.startswith(
        "test 2 of 2: the test of what it returned: it took more than 1 s"
    )


@pytest.mark.parametrize("value", ["10**5000", "[10**5000]"])
def test_a_value_that_cannot_be_printed_is_wrong_all_the_same(value: str) -> None:
    verdict = checked(f"def f(): return {value}", Call((), 1), entry_point="f")
    assert (verdict.status, verdict.judged) == ("fail", True)
    assert "a value of type" in verdict.detail


OWN_FAULTS = {
    "a loop": "while True: pass",
    "memory": "x = [bytes(2**20) for n in range(2**12)]\nassert f() == 1",
    "a module that is missing": "import nowhere\nassert f() == 1",
    "an assert before the first call": "assert f.__name__ == 'f'\nassert f() == 1",
    "deep nesting": f"assert f() == {'(' * 500}1{')' * 500}",
    "an argument nested too deeply": "x = []\nfor _ in range(10**4): x = [x]\nassert f(x) == 1",
    "leaving": "import sys\nsys.exit(0)",
}


@pytest.mark.parametrize("test", OWN_FAULTS.values(), ids=OWN_FAULTS)
def test_what_a_test_does_by_itself_says_nothing_of_the_code(test: str) -> None:
    verdict = checked("def f(*args): return 1", test, entry_point="f", limits=TIGHT)
    assert (verdict.status, verdict.judged) == ("test_error", False), verdict


def test_code_that_lacks_what_the_tests_name_is_wrong() -> None:
    verdict = checked(
        "def g(): return 1", "import math\nassert f() == 1", entry_point="f"
    )
    assert (verdict.status, verdict.judged) == ("fail", True)


def test_code_that_takes_all_processors_is_still_judged() -> None:
    code = "import os\nfor _ in range(30):\n    if os.fork() == 0:\n        while True: pass\ndef f(): return 1"
    verdict = checked(
        code,
        "assert f() == 2",
        entry_point="f",
        limits=SandboxLimits(seconds=4, cpu_seconds=1),
    )
    assert verdict.judged
    assert verdict.passed == 0
