"""Answers rated by the tests that their code passes."""

import asyncio
import json
from pathlib import Path

import pytest

from reasoner import Budget, Question, Solution, solve_sync
from reasoner.budget import Cost
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError, VerifierError
from reasoner.registry import build
from reasoner.sandbox import check
from reasoner.sandbox.layers import Layers, detect
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import (
    books,
    completion,
    course,
    meter_of,
    number_question,
    says,
    traced_cost,
)
from reasoner.trace.events import Event, Scored
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter
from reasoner_evals.tasks import GradedQuestion
from reasoner_verifiers.code import CodeTests
from tests.evals.tasks.samples import HUMANEVAL, jsonl

pytestmark = pytest.mark.skipif(
    bool(detect().missing),
    reason=f"the sandbox's minimum is missing: {detect().missing}",
)

ENGINE = ScriptedEngine(says("7"))
TESTS = (
    "assert double(1) == 2",
    '{"args": [2], "expected": 4}',
    "def check(f):\n    assert f('a') == 'aa'",
)
VERIFIER = CodeTests(TESTS, "double")


def block(code: str) -> str:
    return f"So:\n```python\n{code}\n```"


def rating(
    verifier: CodeTests, candidate: str | Completion, question: str | Question = "q"
) -> Rating:
    drawn = completion(block(candidate)) if isinstance(candidate, str) else candidate
    asked = number_question(question) if isinstance(question, str) else question

    async def go() -> Rating:
        cost_meter = CostMeter()
        await verifier.start(ENGINE)
        found = await verifier.score(asked, drawn, ENGINE, cost_meter)
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
        ("import os; os._exit(0)", 0),
        ("raise MemoryError", 0),
        ("def double(x):\n    if x == 1: return 2\n    while True: pass", 1 / 3),
        (completion("I have no idea"), 0),
    ],
)
def test_the_value_is_the_share_of_tests_passed(
    code: str | Completion, value: float
) -> None:
    assert rating(CodeTests(TESTS, "double", timeout=1), code).value == pytest.approx(
        value
    )


def test_programs_are_run_with_their_input() -> None:
    tests = ('{"stdin": "2\\n", "expected": "4"}', '{"stdin": "3\\n", "expected": "9"}')
    assert rating(CodeTests(tests), "print(2 * int(input()))").value == 0.5


def test_tests_of_many_questions_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tests.jsonl"
    lines = [
        {"id": "a", "tests": ["assert f() == 1"]},
        {
            "id": "b",
            "tests": [{"args": [], "expected": 2}, {"stdin": "", "expected": ""}][:1],
            "entry_point": "g",
        },
        {"id": "c", "tests": [{"args": [], "expected": 1, "entry_point": "f"}]},
    ]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    verifier = CodeTests(tests_file=str(file))
    code = "def f(): return 1\ndef g(): return 3"
    assert [rating(verifier, code, question).value for question in "abc"] == [1, 0, 1]
    with pytest.raises(
        VerifierError, match=r"question 'd' has no tests in .*tests\.jsonl"
    ):
        rating(verifier, code, "d")


CALL = '{"args": [1], "expected": 2}'


@pytest.mark.parametrize(
    ("tests", "complaint"),
    [
        ((), "question 'q' has no tests: give `tests`"),
        (("tests.jsonl/",), "is not Python .*: tests_file names a file"),
        (("assert True",), "test_error: .*calls nothing"),
        (("shown",), "question 'q' shows no tests that can be read: add written"),
        (("written",), "question 'q' names no function that tests could call"),
        ((CALL.replace("[1]", "1"),), "is not a test"),
        ((CALL,), "no entry point"),
        ('{"id": "a"}', "line 1: write"),
        ('{"id": "a", "tests": []}\n' * 2, "line 2: question 'a' has a line already"),
    ],
)
def test_tests_that_cannot_be_run_are_an_error_and_no_rating(
    tests: tuple[str, ...] | str, complaint: str, tmp_path: Path
) -> None:
    """A text is the content of a file."""
    if isinstance(tests, str):
        (tmp_path / "tests.jsonl").write_text(tests)
    given = (
        {"tests_file": str(tmp_path / "tests.jsonl")}
        if isinstance(tests, str)
        else {"tests": tests}
    )
    with pytest.raises((UsageError, VerifierError), match=complaint):
        rating(CodeTests(**given), "def f(): return 1")


def test_a_test_that_begins_with_a_brace_may_be_python() -> None:
    assert rating(CodeTests(("{'a': 1}[f()]",)), "def f(): return 'a'").value == 1


def test_without_a_sandbox_there_is_no_rating_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = Layers(
        namespaces=False,
        private_proc=False,
        python=detect().python,
        missing="namespaces: unshare is not installed",
    )
    monkeypatch.setattr(check, "detect", lambda: bare)
    with pytest.raises(
        VerifierError, match=r"sandbox_unavailable: .*--allow-unsandboxed-code"
    ):
        rating(VERIFIER, "def double(x): return 2 * x")
    allowed = CodeTests(TESTS, "double", allow_unsandboxed=True)
    assert rating(allowed, "def double(x): return 2 * x").value == 1


# Tests that the question shows, and tests that the model writes


HALVES = Question.of(
    'import math\n\ndef half(x: int) -> int:\n    """Half, rounded down.\n    >>> half(8)\n    4\n    """',
    space="code",
    id="halves",
)
RIGHT = "def half(x):\n    return math.floor(x / 2)"
WRONG = (
    "def half(x): return 4",
    "def half(x): return 9 if x == 9 else x // 2",
    "def half(x): return x / 2",
)


def test_shown_tests_are_those_of_the_question_with_what_stands_above_its_function() -> (
    None
):
    shown = CodeTests(("shown",))
    assert [
        rating(shown, code, HALVES).value
        for code in (RIGHT, *WRONG, "def half(x): return 5")
    ] == [1, 1, 1, 1, 0]
    more = CodeTests(("shown", "assert half(9) == 4"))
    assert rating(more, WRONG[1], HALVES) == Rating(0.5, Cost(), parts=(0.0, 1.0))


def test_shown_tests_are_never_those_of_the_benchmark(tmp_path: Path) -> None:
    """A question has no field for them, so other hidden tests and another solution change nothing."""

    def loaded(**changed: str) -> GradedQuestion:
        file = jsonl(tmp_path / "problems.jsonl", [{**HUMANEVAL[0], **changed}])
        [item] = (
            build("task", f"humaneval:path={file},allow_unsandboxed=true").load().items
        )
        assert isinstance(item, GradedQuestion)
        return item

    item, other = (
        loaded(),
        loaded(
            test="def check(f): assert f([1]) == 5", canonical_solution="    return 5\n"
        ),
    )
    assert item.question == other.question
    with pytest.raises(VerifierError, match="shows no tests that can be read"):
        rating(CodeTests(("shown",)), item.gold, item.question)


def answering(tests: str, *programs: str) -> ScriptedEngine:
    """A model that writes these tests when it is asked for tests, and else its programs in launch order."""

    def script(request: SampleRequest) -> str:
        if asks_for_tests(request):
            return tests
        return block(programs[request.index % len(programs)])

    return ScriptedEngine(script)


def asks_for_tests(request: SampleRequest) -> bool:
    return "Write 10 tests" in request.prompt.messages[-1].content


def solved(
    engine: ScriptedEngine, spec: str, verifier: CodeTests, budget: Budget | None = None
) -> tuple[Solution, list[tuple[float, ...]]]:
    """The solution and what each candidate passed; every token of the engine is in the ledger and in the trace."""
    before, events = meter_of(engine), list[Event]()
    solution = solve_sync(
        HALVES,
        build("strategy", spec),
        engine,
        verifier=verifier,
        trace=events.append,
        budget=budget,
    )
    prompt, cached, generated = (
        now - then for now, then in zip(meter_of(engine), before, strict=True)
    )
    assert books(solution.cost) == books(traced_cost(events))
    assert (solution.cost.tokens, solution.cost.cached_tokens) == (
        prompt + generated,
        cached,
    )
    scored = sorted(
        (event for event in events if isinstance(event, Scored)),
        key=lambda event: event.index,
    )
    return solution, [event.rating.parts for event in scored]


WRITES = block(
    "assert half(9) == 4\nassert half(7) == 3\nassert half(1) == 1\nassert half(0) == 0"
)
"""The third is wrong."""
PROGRAMS = (
    "def half(x): return max(1, x // 2)",
    RIGHT,
    RIGHT.replace("x", "n"),
    *WRONG[:2],
)


def test_programs_and_the_tests_of_the_model_are_ranked_by_their_consensus() -> None:
    """CodeT: two programs that pass three tests outweigh one that passes three others; argmax takes the first."""
    written = CodeTests(("written",))
    solution, parts = solved(
        answering(WRITES, *PROGRAMS), "best_of_n:n=5,selector=consensus", written
    )
    assert parts == [
        (1, 1, 1, 0),
        (1, 1, 0, 1),
        (1, 1, 0, 1),
        (1, 0, 0, 0),
        (0, 1, 0, 1),
    ]
    assert [(vote.weight, vote.count) for vote in solution.vote_state.votes] == [
        (1.5, 2),
        (0.75, 1),
        (0.5, 1),
        (0.25, 1),
    ]
    for spec, best in (
        ("best_of_n:n=5,selector=consensus", RIGHT),
        ("best_of_n:n=5", PROGRAMS[0]),
    ):
        answer = solved(answering(WRITES, *PROGRAMS), spec, written)[0].answer
        assert answer == HALVES.read(completion(block(best)))


@pytest.mark.parametrize(
    "spec",
    ["best_of_n:n=5", "refine:rounds=2", "ab_mcts:n=5", "ab_mcts:n=5,concurrency=1"],
)
def test_tests_are_written_once_for_each_question_that_is_open(spec: str) -> None:
    asked = list[SampleRequest]()

    def script(request: SampleRequest) -> str:
        asked.append(request)
        return WRITES if asks_for_tests(request) else block(PROGRAMS[request.index % 5])

    engine, verifier = ScriptedEngine(script), CodeTests(("written",), drafts=3)
    first, again = (solved(engine, spec, verifier)[0] for _ in range(2))
    drafts = [request.seed for request in asked if asks_for_tests(request)]
    assert len({*drafts[:3]}) == 3
    assert drafts[:3] == drafts[3:]
    assert first.cost.verifier_tokens > 0
    assert course(first) == course(again)


def test_shown_tests_filter_and_written_ones_rank() -> None:
    both, programs = (
        CodeTests(("shown", "written")),
        (*PROGRAMS, "def half(x): return x // 2 if x != 8 else 5"),
    )
    solution, parts = solved(
        answering(WRITES, *programs), "best_of_n:n=6,selector=consensus", both
    )
    assert [found[0] for found in parts] == [1, 1, 1, 1, 1, 0]
    assert solution.vote_state.votes[-1].weight == 0
    assert solution.answer == HALVES.read(completion(block(RIGHT)))


def test_a_budget_for_the_drafts_of_one_rating_is_enough_for_all() -> None:
    """Each rating reserves the drafts, in their worst case, until one has paid for them."""
    written = CodeTests(("written",), drafts=1)
    spent = solved(answering(WRITES, *PROGRAMS), "best_of_n:n=5", written)[
        0
    ].cost.tokens
    tight, parts = solved(
        answering(WRITES, *PROGRAMS),
        "best_of_n:n=5",
        written,
        budget=Budget(tokens=spent + 520),
    )
    assert len(parts) == 5
    assert all(parts)
    assert tight.cost.tokens == spent


def test_where_no_test_was_found_nothing_is_rated_and_the_solution_says_so() -> None:
    silent, parts = solved(
        answering("I cannot.", *PROGRAMS), "best_of_n:n=5", CodeTests(("written",))
    )
    assert parts == [()] * 5
    assert silent.answer
    assert (
        "the model wrote no tests of half that can be read: raise drafts"
        in silent.unrated
    )
    shown = solved(
        answering("I cannot.", *PROGRAMS),
        "best_of_n:n=5",
        CodeTests(("shown", "written")),
    )[0]
    assert not shown.unrated
