"""Answers rated by the tests that their code passes."""

import asyncio
import json
from pathlib import Path

import pytest

from reasoner.budget import Cost
from reasoner.errors import UsageError, VerifierError
from reasoner.sandbox import check
from reasoner.sandbox.layers import Layers, detect
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import completion, number_question, says
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter
from reasoner_verifiers.code import CodeTests

pytestmark = pytest.mark.skipif(bool(detect().missing), reason=f"the sandbox's minimum is missing: {detect().missing}")

ENGINE = ScriptedEngine(says("7"))
TESTS = ("assert double(1) == 2", '{"args": [2], "expected": 4}', "def check(f):\n    assert f('a') == 'aa'")
VERIFIER = CodeTests(TESTS, "double")


def rating(verifier: CodeTests, candidate: str | Completion, question: str = "q") -> Rating:
    drawn = completion(f"So:\n```python\n{candidate}\n```") if isinstance(candidate, str) else candidate

    async def go() -> Rating:
        cost_meter = CostMeter()
        await verifier.start(ENGINE)
        found = await verifier.score(number_question(question), drawn, ENGINE, cost_meter)
        await verifier.close()
        assert cost_meter.cost == found.cost == Cost()
        return found

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("def double(x): return 2 * x", 1),
        ("def double(x): return x + x if x != 1 else 0", 2 / 3),
        ("def double(x): return x * x", 1 / 3),
        ("def double(x): return None", 0),
        ("def double(x): return", 0),
        ("def double(x: return 2", 0),
        ("def twice(x): return 2 * x", 0),
        ("import os; os._exit(0)", 0),
        ("raise MemoryError", 0),
        ("def double(x):\n    if x == 1: return 2\n    while True: pass", 1 / 3),
        (completion("I have no idea"), 0),
        (completion("```bash\nls\n```"), 0),
    ],
)
def test_the_value_is_the_share_of_tests_passed(code: str | Completion, value: float) -> None:
    assert rating(CodeTests(TESTS, "double", timeout=1), code).value == pytest.approx(value)


def test_programs_are_run_with_their_input() -> None:
    tests = ('{"stdin": "2\\n", "expected": "4"}', '{"stdin": "3\\n", "expected": "9"}')
    assert rating(CodeTests(tests), "print(2 * int(input()))").value == 0.5


def test_tests_of_many_questions_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tests.jsonl"
    lines = [
        {"id": "a", "tests": ["assert f() == 1"]},
        {"id": "b", "tests": [{"args": [], "expected": 2}, {"stdin": "", "expected": ""}][:1], "entry_point": "g"},
        {"id": "c", "tests": [{"args": [], "expected": 1, "entry_point": "f"}]},
    ]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    verifier = CodeTests(tests_file=str(file))
    code = "def f(): return 1\ndef g(): return 3"
    assert [rating(verifier, code, question).value for question in "abc"] == [1, 0, 1]
    with pytest.raises(VerifierError, match=r"question 'd' has no tests in .*tests\.jsonl"):
        rating(verifier, code, "d")


CALL = '{"args": [1], "expected": 2}'


@pytest.mark.parametrize(
    ("tests", "complaint"),
    [
        ((), "question 'q' has no tests: give `tests`"),
        (("tests.jsonl/",), "is not Python .*: tests_file names a file"),
        ('{"id": "q", "tests": ["assert ("]}', "is not Python"),
        (("assert True",), "test_error: .*calls nothing"),
        ((CALL.replace("[1]", "1"),), "is not a test"),
        ((CALL.replace("expected", "expect"),), "is not a test"),
        ((CALL.replace("2", '2, "more": 3'),), "is not a test"),
        ((CALL,), "no entry point"),
        ("{", "line 1: write"),
        ('{"id": "a"}', "line 1: write"),
        ('{"id": "a", "tests": [], "more": 1}', "line 1: write"),
        ('{"id": "a", "tests": []}\n' * 2, "line 2: question 'a' has a line already"),
        ("[]", "line 1: write"),
    ],
)
def test_tests_that_cannot_be_run_are_an_error_and_no_rating(
    tests: tuple[str, ...] | str, complaint: str, tmp_path: Path
) -> None:
    """A text is the content of a file."""
    if isinstance(tests, str):
        (tmp_path / "tests.jsonl").write_text(tests)
    given = {"tests_file": str(tmp_path / "tests.jsonl")} if isinstance(tests, str) else {"tests": tests}
    with pytest.raises((UsageError, VerifierError), match=complaint):
        rating(CodeTests(**given), "def f(): return 1")


def test_a_test_that_begins_with_a_brace_may_be_python() -> None:
    assert rating(CodeTests(("{'a': 1}[f()]",)), "def f(): return 'a'").value == 1


def test_without_a_sandbox_there_is_no_rating_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Layers(
        namespaces=False, private_proc=False, python=detect().python, missing="namespaces: unshare is not installed"
    )
    monkeypatch.setattr(check, "detect", lambda: bare)
    with pytest.raises(VerifierError, match=r"sandbox_unavailable: .*--allow-unsandboxed-code"):
        rating(VERIFIER, "def double(x): return 2 * x")
    allowed = CodeTests(TESTS, "double", allow_unsandboxed=True)
    assert rating(allowed, "def double(x): return 2 * x").value == 1
