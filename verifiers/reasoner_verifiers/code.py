"""Code tests: the share of tests that the code of an answer passes: given ones, shown ones, and a model's own."""

import ast
import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from reasoner import Completion, Cost, Prompt, Question, Rating, SamplingParams
from reasoner.answers.code import CodeSpace, functions_in
from reasoner.engine import Engine, Usage
from reasoner.errors import UsageError, VerifierError
from reasoner.sandbox.check import Call, Program, Sandbox
from reasoner.sandbox.layers import SandboxLimits
from reasoner.specs import CheckedOptions, Count, Range
from reasoner.system.files import parse_json, read_whole
from reasoner.types import FALLBACK, NO_THINKING, Message
from reasoner.verifier import CostMeter, verifier_cost
from reasoner_verifiers.requests import ask
from reasoner_verifiers.shown_tests import (
    MAX_TEXT,
    AskedFunction,
    asked_function,
    shown_tests,
    written_tests,
)

SHOWN: Final = "shown"
WRITTEN: Final = "written"
DRAFT: Final = SamplingParams(max_tokens=512)
WRITE_TESTS: Final = (
    "Do not write `{name}`. Write {count} tests of it instead: each is one line `assert {name}(...) == ...` with the "
    "arguments of a call and the result that is asked for above, both as plain values. Choose different calls than "
    "the examples, edge cases too. Give them in one ```python block."
)


@dataclass(slots=True)
class WrittenTests:
    """The tests that the model wrote for an open question; None until it has."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    tests: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CodeTests(CheckedOptions):
    """Rates an answer by the share of tests its code passes, in a sandbox.

    Each of `tests` is Python with assertions, or a JSON object: `{"args": [1], "expected": 2}` for a call of
    `entry_point`, `{"stdin": "1", "expected": "2"}` for a program. `tests_file` has the tests of many questions: on
    each line a JSON object with `id`, `tests` and, if needed, `entry_point`. Give tests that are part of the problem:
    hidden ones would make this an oracle.

    `tests` "shown" reads those that the question itself shows: doctests, assertions, lines such as `f(1) == 2` or
    `f(1) -> 2`, and inputs with outputs. "written" lets the model write tests, once for each question, in `drafts`
    replies, which are verifier tokens; an interrupted question writes them again. `[shown,written]` takes both: then an
    answer that fails a shown or given test is rated 0, and another one by the written tests. `parts` say which tests
    it passes, so `best_of_n:selector=consensus` ranks by the agreement of programs and tests, as CodeT does (Chen 2022,
    2207.10397; filtered by public tests as in S*: Li 2025, 2502.14382).

    A question without tests gives an error and no rating. An answer without code passes no test. Code that hangs or
    crashes has passed the tests before. `timeout` is seconds of processor time; the wall-clock limit is twice as long.

    `allow_unsandboxed` runs the code without a sandbox where the machine offers none.
    """

    example: ClassVar[str] = "-a code -s best_of_n:n=4 --verifier code:tests=shown"
    logprobs: ClassVar[None] = None

    tests: tuple[str, ...] = ()
    entry_point: str = ""
    tests_file: str = ""
    drafts: Count = 2
    timeout: Annotated[float, Range(above=0, at_most=3600)] = 5.0
    allow_unsandboxed: bool = False
    _open: dict[str, WrittenTests] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def complete(self) -> None:
        for test in self.tests:
            if test not in (SHOWN, WRITTEN):
                _test(test)

    async def start(self, policy: Engine) -> None:
        """Nothing to do: the policy writes the tests."""

    def release(self, question_id: str) -> None:
        """The question has ended: forget the tests that were written for it."""
        self._open.pop(question_id, None)

    async def close(self) -> None:
        """Forget all written tests."""
        self._open.clear()

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        """Nothing, unless tests must be written first: then all drafts, with nothing cached."""
        _, asked = self._given(question)
        if WRITTEN not in self.tests or asked is None:
            return Cost()
        drafts = self._open.setdefault(question.id, WrittenTests())
        async with drafts.lock:
            if drafts.tests is not None:
                return Cost()
            rendered = await policy.render(tests_prompt(question, asked))
        worst = Usage(rendered.tokens, 0, DRAFT.limit)
        return sum([verifier_cost(policy.model, worst)] * self.drafts, Cost())

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The share of tests passed; 0 for one that fails a shown or given test, where the model wrote others."""
        cost_meter.cost = Cost()
        limits = SandboxLimits(
            seconds=2 * self.timeout, cpu_seconds=math.ceil(self.timeout)
        )
        sandbox = Sandbox(limits, self.allow_unsandboxed)
        try:
            given, asked = self._given(question)
            if not given and (WRITTEN not in self.tests or asked is None):
                raise VerifierError(self._missing(question))
            space = CodeSpace((self.entry_point, *functions_in(question.text)))
            answer = None if candidate.truncated else space.read(candidate.chain)
            if answer is None:
                return Rating(0.0, Cost())
            written = tuple[str, ...]()
            if WRITTEN in self.tests and asked is not None:
                written = await self._written(question, asked, policy, cost_meter)
                written = tuple(test for test in written if test not in given)
            if not given and not written:
                raise VerifierError(
                    f"the model wrote no tests of {asked and asked.name} that can be read: raise drafts"
                )
            code = asked.preamble + answer.text if asked else answer.text
            verdict = await sandbox.check(
                code, [*given, *written], entry_point=asked.name if asked else ""
            )
        except UsageError as error:
            raise VerifierError(
                f"the tests of question {question.id!r} cannot be used: {error}"
            ) from None
        if not verdict.judged:
            raise VerifierError(
                f"the code was not judged, {verdict.status}: {verdict.detail}"
            )
        kept, ranked = verdict.passes[: len(given)], verdict.passes[len(given) :]
        value = _share(ranked) * all(kept) if ranked else _share(kept)
        return Rating(value, cost_meter.cost, parts=tuple(map(float, verdict.passes)))

    def _given(
        self, question: Question
    ) -> tuple[tuple[str | Call | Program, ...], AskedFunction | None]:
        """The tests of a question that are trusted, given and shown ones, and the function that they call."""
        record = (
            _records(self.tests_file).get(question.id, {}) if self.tests_file else {}
        )
        entry_point = record.get("entry_point", self.entry_point)
        names = getattr(question.space, "asked", ()) or functions_in(question.text)
        asked = asked_function(
            question.text, (entry_point.rpartition(".")[2],) if entry_point else names
        )
        if entry_point:
            asked = (
                replace(asked, name=entry_point)
                if asked
                else AskedFunction(entry_point)
            )
        given = [
            _test(test)
            for test in (*self.tests, *record.get("tests", ()))
            if test not in (SHOWN, WRITTEN)
        ]
        text = question.text[:MAX_TEXT]
        shown = _shown(text, asked) if SHOWN in self.tests else ()
        return (*given, *shown), asked

    def _missing(self, question: Question) -> str:
        """Why there is no test, and what to do."""
        if WRITTEN in self.tests:
            return f"question {question.id!r} names no function that tests could call: give entry_point"
        if SHOWN in self.tests:
            return f"question {question.id!r} shows no tests that can be read: add written, or give tests of your own"
        file = f" in {self.tests_file}" if self.tests_file else ""
        return f"question {question.id!r} has no tests{file}: give `tests`, or a line with its id"

    async def _written(
        self,
        question: Question,
        asked: AskedFunction,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> tuple[str, ...]:
        """The tests of the model; the first rating of a question has it write them, and pays."""
        drafts = self._open.setdefault(question.id, WrittenTests())
        async with drafts.lock:
            if drafts.tests is None:
                replies = await self._replies(
                    question, tests_prompt(question, asked), policy, cost_meter
                )
                tests = dict.fromkeys(
                    test
                    for reply in replies
                    for test in written_tests(reply.text, asked)
                )
                # The most tests of a model that a program has to pass
                drafts.tests = tuple(tests)[:40]
        return drafts.tests

    async def _replies(
        self, question: Question, prompt: Prompt, policy: Engine, cost_meter: CostMeter
    ) -> list[Completion]:
        """The drafts, side by side. The first failure cancels the others; what all have cost is booked."""
        params = DRAFT.over(policy.model.sampling, FALLBACK)
        meters = [CostMeter(Cost()) for _ in range(self.drafts)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        ask(
                            policy,
                            question.id,
                            prompt,
                            params,
                            meter,
                            index=index,
                            seed=_seed(question, index),
                        )
                    )
                    for index, meter in enumerate(meters)
                ]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            costs = [meter.cost for meter in meters]
            cost_meter.cost = (
                None if None in costs else sum((cost for cost in costs if cost), Cost())
            )
        return [task.result() for task in tasks]


def tests_prompt(question: Question, asked: AskedFunction) -> Prompt:
    """The question up to the end of its text, which is in the prefix cache, and a request for tests."""
    messages = question.prompt.messages
    head, shared, _ = (messages[-1].content if messages else "").partition(
        question.text
    )
    # How many tests a draft is asked for
    request = WRITE_TESTS.format(name=asked.called, count=10)
    text = f"{head if shared else ''}{question.text}\n\n{request}"
    return Prompt(messages=(*messages[:-1], Message("user", text))).at_level(
        NO_THINKING
    )


def _seed(question: Question, index: int) -> int:
    """The seed of a draft: of the question alone, so that a question that is continued has the same tests."""
    digest = hashlib.blake2b(
        f"{question.id}\0{index}".encode("utf-8", "surrogatepass"), digest_size=8
    ).digest()
    return int.from_bytes(digest, "big") >> 1


def _share(passes: Sequence[bool]) -> float:
    return sum(passes) / len(passes)


def _test(written: object) -> str | Call | Program:
    """A test as it is configured: an object, its JSON, or Python."""
    if isinstance(written, str) and written.lstrip().startswith("{"):
        try:
            written = parse_json(written)
        except ValueError:
            return str(written)
    match written:
        case str():
            if written.isidentifier():
                raise UsageError(
                    f"{written!r:.80} is not a test: write {SHOWN}, {WRITTEN}, or tests in Python"
                )
            try:
                ast.parse(written)
            except (SyntaxError, ValueError) as error:
                raise UsageError(
                    f"{written!r:.80} is not Python ({error}): tests_file names a file of tests"
                ) from None
            return written
        case {"args": [*args], "expected": expected, **rest} if rest.keys() <= {
            "entry_point"
        }:
            return Call(tuple(args), expected, str(rest.get("entry_point", "")))
        case {"stdin": str(stdin), "expected": str(expected), **rest} if not rest:
            return Program(stdin, expected)
    raise UsageError(
        f"{written!r:.80} is not a test: write Python, args and expected, or stdin and expected"
    )


_shown = lru_cache(maxsize=256)(shown_tests)
"""The tests that a question shows, read once for all of its candidates."""


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
            case {"id": str(id), "tests": [*_], **rest} if rest.keys() <= {
                "entry_point"
            }:
                if id in records:
                    raise UsageError(
                        f"{path}, line {number}: question {id!r} has a line already"
                    )
                records[id] = record
            case _:
                raise UsageError(
                    f'{path}, line {number}: write {{"id": "...", "tests": [...], "entry_point": "..."}}'
                )
    return records
