"""Code tests: the share of a problem's public tests that the code of an answer passes."""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from reasoner.answers.code import CodeSpace, functions_in
from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import Engine
from reasoner.errors import UsageError, VerifierError
from reasoner.sandbox.check import Call, Program, Sandbox
from reasoner.sandbox.layers import SandboxLimits
from reasoner.specs import Checked, Range
from reasoner.system.files import parse_json, read_whole
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter, FreeVerifier


@dataclass(frozen=True, slots=True)
class CodeTests(Checked, FreeVerifier):
    """Rates an answer by the share of tests its code passes, in a sandbox; it costs no tokens.

    The tests must be part of the problem: hidden ones would make this an oracle. Each of `tests` is Python with
    assertions, or a JSON object: `{"args": [1], "expected": 2}` for a call of `entry_point`, `{"stdin": "1",
    "expected": "2"}` for a program. `tests_file` has the tests of many questions: on each line a JSON object with `id`,
    `tests` and, if needed, `entry_point`.

    An answer without code passes no test. Code that hangs or crashes has passed the tests before. `timeout` is seconds
    of processor time; the wall-clock limit is twice as long.

    `allow_unsandboxed` runs the code without a sandbox where the machine offers none.
    """

    example: ClassVar[str] = "-a code -s best_of_n:n=4 --verifier code:tests_file=FILE"

    tests: tuple[str, ...] = ()
    entry_point: str = ""
    tests_file: str = ""
    timeout: Annotated[float, Range(above=0, at_most=3600)] = 5.0
    allow_unsandboxed: bool = False

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        for test in self.tests:
            _test(test)

    async def score(self, question: Question, candidate: Completion, policy: Engine, cost_meter: CostMeter) -> Rating:
        """The share of tests passed."""
        cost_meter.cost = Cost()
        limits = SandboxLimits(seconds=2 * self.timeout, cpu_seconds=math.ceil(self.timeout))
        sandbox = Sandbox(limits, self.allow_unsandboxed)
        try:
            written, entry_point = self._tests_of(question)
            tests = [_test(test) for test in written]
            space = CodeSpace((entry_point, *functions_in(question.text)))
            answer = None if candidate.truncated else space.read(candidate.chain)
            if answer is None:
                return Rating(0.0, Cost())
            verdict = await sandbox.check(answer.text, tests, entry_point=entry_point)
        except UsageError as error:
            raise VerifierError(f"the tests of question {question.id!r} cannot be used: {error}") from None
        if not verdict.judged:
            raise VerifierError(f"the code was not judged, {verdict.status}: {verdict.detail}")
        return Rating(verdict.passed / verdict.total, Cost())

    def _tests_of(self, question: Question) -> tuple[tuple[object, ...], str]:
        record = _records(self.tests_file).get(question.id, {}) if self.tests_file else {}
        tests = (*self.tests, *record.get("tests", ()))
        if not tests:
            file = f" in {self.tests_file}" if self.tests_file else ""
            raise VerifierError(f"question {question.id!r} has no tests{file}: give `tests`, or a line with its id")
        return tests, record.get("entry_point", self.entry_point)


def _test(written: object) -> str | Call | Program:
    """A test as it is configured: an object, its JSON, or Python."""
    if isinstance(written, str) and written.lstrip().startswith("{"):
        try:
            written = parse_json(written)
        except ValueError:
            return str(written)
    match written:
        case str():
            try:
                ast.parse(written)
            except (SyntaxError, ValueError) as error:
                raise UsageError(f"{written!r:.80} is not Python ({error}): tests_file names a file of tests") from None
            return written
        case {"args": [*args], "expected": expected, **rest} if rest.keys() <= {"entry_point"}:
            return Call(tuple(args), expected, str(rest.get("entry_point", "")))
        case {"stdin": str(stdin), "expected": str(expected), **rest} if not rest:
            return Program(stdin, expected)
    raise UsageError(f"{written!r:.80} is not a test: write Python, args and expected, or stdin and expected")


@lru_cache(maxsize=8)
def _records(path: str) -> Mapping[str, Mapping[str, Any]]:
    """The lines of a file of tests by the id of their question; cached."""
    records: dict[str, Mapping[str, Any]] = {}
    try:
        lines = read_whole(Path(path)).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"tests_file={path!r} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        match record:
            case {"id": str(id), "tests": [*_], **rest} if rest.keys() <= {"entry_point"}:
                if id in records:
                    raise UsageError(f"{path}, line {number}: question {id!r} has a line already")
                records[id] = record
            case _:
                raise UsageError(f'{path}, line {number}: write {{"id": "...", "tests": [...], "entry_point": "..."}}')
    return records
