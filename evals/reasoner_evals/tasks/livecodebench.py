"""LiveCodeBench (Jain 2024, 2403.07974): dated problems of programming contests, graded by hidden tests."""

import asyncio
import base64
import math
import pickletools
import re
import zlib
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from reasoner import Answer
from reasoner.answers.code import CodeSpace
from reasoner.answers.equivalence import Equivalence
from reasoner.errors import UsageError
from reasoner.sandbox.check import Program, Sandbox
from reasoner.sandbox.layers import SandboxLimits
from reasoner.specs import CheckedOptions, Range
from reasoner.system.files import parse_json
from reasoner.trace.replies import GradeStatus
from reasoner_evals.tasks import DataRow, GradedQuestion, Publication, Template
from reasoner_evals.tasks.benchmarks import CodeBenchmark
from reasoner_evals.tasks.data import published

_MODULES = (
    "string",
    "re",
    "datetime",
    "collections",
    "heapq",
    "bisect",
    "copy",
    "math",
    "random",
    "statistics",
    "itertools",
    "functools",
    "operator",
    "io",
    "sys",
    "json",
)
PREAMBLE = "\n".join(
    [
        *(f"from {name} import *" for name in (*_MODULES, "builtins", "typing")),
        *(f"import {name}" for name in _MODULES),
        "sys.setrecursionlimit(50000)\n",
    ]
)
"""What the published grader puts before every answer."""


def _tests_in(text: str) -> list[dict[str, Any]]:
    """Test cases as published: JSON, or base64 of a compressed pickle of JSON, which is read without unpickling it.

    Raises:
        ValueError: it is something else.
    """
    if not text.lstrip().startswith("["):
        try:
            unpacked = zlib.decompressobj().decompress(
                base64.b64decode(text),
                # Bytes of the hidden tests of a problem, unpacked
                1 << 28,
            )
            [text] = [
                str(argument)
                for code, argument, _ in pickletools.genops(unpacked)
                if "UNICODE" in code.name
            ]
        except zlib.error as error:
            raise ValueError(str(error)) from None
    cases = parse_json(text)
    if not isinstance(cases, list) or not all(
        isinstance(case["input"] + case["output"], str) for case in cases
    ):
        raise ValueError("it is not a list of test cases")
    return cases


def _call(function: str, case: dict[str, Any]) -> str:
    """A test of a function, whose arguments are the lines of the input; only a tuple at the top equals a list."""
    value = f"{function}(*map(json.loads, {case['input'].split(chr(10))!r}))"
    return (
        f"import json\n_value = {value}\n"
        f"assert (list(_value) if isinstance(_value, tuple) else _value) == json.loads({case['output']!r})\n"
    )


@dataclass(frozen=True, slots=True)
class CaseGrader(CheckedOptions):
    """Grades a program by its output for each input, and a `function` by its values; right is what passes all tests.

    `public` and `hidden` are the tests as published. Each may take `seconds` of processor time; tests of a function
    have those of five together, so that an endless one does not take an hour.
    """

    name: ClassVar[str] = "cases"
    version: ClassVar[int] = 1

    public: str = field(repr=False)
    hidden: str = field(repr=False)
    function: str = ""
    seconds: Annotated[float, Range(above=0, at_most=3600)] = 6.0
    allow_unsandboxed: bool = False

    @property
    def references(self) -> tuple[str, ...]:
        """The tests, as published."""
        return self.public, self.hidden

    async def grade(
        self, item: GradedQuestion, answer: Answer, equivalence: Equivalence
    ) -> GradeStatus:
        """Whether the code passes; the wall-clock limit is twice the processor time."""
        try:
            cases = await asyncio.to_thread(
                lambda: [*_tests_in(self.public), *_tests_in(self.hidden)]
            )
        except (ValueError, KeyError, TypeError):
            return "grader_crash"
        code, seconds = (
            PREAMBLE + answer.text,
            self.seconds * (5 if self.function else 1),
        )
        if self.function and "class Solution" in code:
            code += f"\n{self.function} = Solution().{self.function}\n"
        limits = SandboxLimits(
            2 * seconds, math.ceil(seconds), memory_mib=4096, output_kib=1 << 14
        )
        tests = [
            _call(self.function, case)
            if self.function
            else Program(case["input"], case["output"])
            for case in cases
        ]
        verdict = await Sandbox(limits, self.allow_unsandboxed).check(code, tests)
        if not verdict.judged:
            return "grader_crash"
        return "right" if verdict.status == "pass" else "wrong"


@dataclass(frozen=True, slots=True)
class LiveCodeBench(CodeBenchmark):
    """LiveCodeBench: 1,055 dated contest problems, graded by hidden tests in the sandbox; gigabytes without `since`.

    `since` and `before` keep the contests from one day on and before another, as in
    `since=2024-08-01,before=2025-02-01`; `release` is another published part, such as `v6`.
    """

    seconds: float = 6.0
    since: str = ""
    before: str = ""
    release: str = "release_v6"

    reads: ClassVar = (
        "question_id",
        "question_content",
        "starter_code",
        "public_test_cases",
        "private_test_cases",
        "metadata",
        "contest_date",
    )
    prompt: ClassVar = Template(
        "contest-program", 1, "Give the whole program in one ```python block."
    )

    def __post_init__(self) -> None:
        for name, day in (("since", self.since), ("before", self.before)):
            if day and not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
                raise UsageError(
                    f"{name} must be a day, as in {name}=2024-08-01 (got {day!r:.40})"
                )

    @property
    def published(self) -> Publication:
        """A configuration per release."""
        return replace(published(self.name), config=self.release)

    def item(self, row: DataRow) -> GradedQuestion | None:
        """A program reads standard input; where there is starter code, it is a function."""
        date = str(row.value("contest_date"))[:10] if self.since or self.before else ""
        if date < self.since or (self.before and date >= self.before):
            return None
        name, text, starter = (
            row.text("question_id"),
            row.text("question_content"),
            row.optional("starter_code"),
        )
        try:
            function = parse_json(row.text("metadata")).get("func_name") or ""
            if not _tests_in(row.text("public_test_cases")) or not (
                function.isidentifier() or not function
            ):
                raise ValueError("there is no test, or the function has no valid name")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise row.error(
                "public_test_cases", f"it has no test cases as published ({error})"
            ) from None
        if function:
            text += f"\n\nComplete this code:\n\n```python\n{starter}\n```"
        else:
            text += "\n\nRead the input from standard input and write the answer to standard output."
        public, hidden = row.text("public_test_cases"), row.text("private_test_cases")
        grader = CaseGrader(
            public, hidden, function, self.seconds, self.allow_unsandboxed
        )
        question = self.prompt.ask(
            text,
            CodeSpace(("Solution", function) if function else ()),
            id=f"{self.name}/{name}",
        )
        return GradedQuestion(question, "", grader=grader)
