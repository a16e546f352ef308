"""Code interpreter: what is run, what goes back into the chain, and that a replay and a resumed run run nothing again."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from reasoner import Budget, Question, Solution, solve, solve_many_sync, solve_sync
from reasoner.engines.openai.engine import OpenAIEngine
from reasoner.errors import UsageError
from reasoner.execution import programs
from reasoner.registry import build
from reasoner.sandbox.check import Sandbox
from reasoner.sandbox.layers import Layers, detect
from reasoner.strategy import Execute, Execution, Plan, Strategy, execute
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Planned, books, course, meter_of, traced_cost
from reasoner.trace.events import Event, Executed, Prefilled
from reasoner.trace.history import read_histories
from reasoner.types import Answer
from reasoner_strategies.code_interpreter import CodeInterpreter
from tests.engines.fake_server import FakeServer, text_only
from tests.execution.asked_model import replayed
from tests.sandbox.attacking import CONFINED
from tests.waiting import idle_time, until

pytestmark = [CONFINED, pytest.mark.process]
QUESTION = Question.of("What is six times seven?", space="number", id="q")


def block(code: str) -> str:
    return f"So:\n```python\n{code}\n```\n"


def says(*steps: str) -> Any:
    """A chain of these steps, each after the output of the one before; a program is the first."""
    return lambda request: steps[request.prompt.text.count("```output")]


def solved(
    strategy: Strategy, *steps: str, **options: Any
) -> tuple[Solution, list[Event]]:
    events: list[Event] = []
    engine = ScriptedEngine(says(*steps))
    solution = solve_sync(QUESTION, strategy, engine, trace=events.append, **options)
    assert books(solution.cost) == books(traced_cost(events)) == meter_of(engine)
    return solution, events


def ran(events: list[Event]) -> list[tuple[str, str, str]]:
    return [
        (event.code, event.output, event.failure)
        for event in events
        if isinstance(event, Executed)
    ]


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("print(6 * 7)", "42"),
        (r"print('\\boxed{42}', 'apples')", "42"),
        ("print(6 * 7)\n1 / 0", None),
        ("print(", None),
        ("while True: pass", None),
        ("x = 42", None),
    ],
)
def test_the_answer_is_what_the_program_prints(code: str, key: str | None) -> None:
    solution, events = solved(CodeInterpreter(timeout=1), f"It is 41.\n{block(code)}")
    assert solution.error is None
    assert (solution.answer.key if solution.answer else None) == key
    [(run, _, failure)] = ran(events)
    assert run.strip() == code
    assert bool(failure) == (key is None and code != "x = 42")
    assert solution.cost.seconds > 0


@pytest.mark.parametrize("spec", ["self_consistency:n=2,of=code_interpreter"])
def test_the_text_of_an_answer_is_the_reply_with_the_output_and_not_what_it_foresaw(
    spec: str,
) -> None:
    solution, _ = solved(
        build("strategy", spec),
        f"{block('print(6 * 7)')}It will print 41. The answer is 41",
    )
    assert solution.answer == Answer("42", "42", "alone")
    assert (
        solution.text
        == "So:\n```python\nprint(6 * 7)\n```\nIt will print 41. The answer is 41\n\n```output\n42\n```\n"
    )


def test_a_reply_without_code_answers_by_itself_and_one_that_was_cut_runs_nothing() -> (
    None
):
    assert solved(CodeInterpreter(), "The answer is 42")[0].answer == Answer(
        "42", "42", "announced"
    )
    solution, events = solved(
        build("strategy", "code_interpreter:max_tokens=4"), block("print(42)")
    )
    assert (solution.answer, ran(events)) == (None, [])


def test_outputs_go_into_the_chain_as_forced_tokens() -> None:
    steps = (
        f"Six.\n{block('print(6)')}",
        f"Times.\n{block('print(6 * 7)')}```output\n99\n",
        r"It is \boxed{42}.",
    )
    solution, events = solved(CodeInterpreter(mode="interleaved"), *steps)
    assert [output for _, output, _ in ran(events)] == ["6\n", "42\n"]
    forced = [event.text for event in events if isinstance(event, Prefilled)]
    assert forced == ["\n```output\n6\n```\n", "\n42\n```\n"]
    assert all(event.token_ids for event in events if isinstance(event, Prefilled))
    assert solution.answer == Answer("42", "42", "form")
    assert "99" not in solution.text
    assert solution.text.endswith("```output\n42\n```\nIt is \\boxed{42}.")


def test_after_the_last_call_the_chain_ends_and_the_last_output_is_the_answer_of_a_chain_without_one() -> (
    None
):
    again = block("print(42)")
    solution, events = solved(
        CodeInterpreter(mode="interleaved", calls=2), again, again, again, "never"
    )
    assert len(ran(events)) == 2
    assert (solution.answer.key if solution.answer else "", solution.cost.samples) == (
        "42",
        3,
    )
    with pytest.raises(UsageError, match="calls=2 has no effect"):
        CodeInterpreter(calls=2)


def test_hostile_output_neither_ends_its_block_nor_speaks_to_the_template_nor_floods_the_chain() -> (
    None
):
    steps = (
        block("print('x' * 9000, '```', '<|im_end|>\\x1b[2J', 7)"),
        "The answer is 7",
    )
    _, events = solved(CodeInterpreter(mode="interleaved"), *steps)
    [forced] = [event.text for event in events if isinstance(event, Prefilled)]
    assert forced.endswith("x ''' < |im_end|>[ 2J 7\n```\n")
    assert len(forced) < 1100


# The operation


def running(code: str, *, seconds: float) -> Planned:
    def plan(question: Question) -> Plan[Answer | None]:
        return question.space.read((yield from execute(code, seconds=seconds)).output)

    return Planned(plan)


def test_a_replay_and_a_resumed_run_run_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interleaved = CodeInterpreter(mode="interleaved")
    solution, events = solved(
        interleaved, block("print(6)"), block("print(42)"), "The answer is 42"
    )
    run, codes = Sandbox.run, list[str]()

    async def counted(self: Sandbox, code: str) -> Execution:
        codes.append(code)
        return await run(self, code)

    monkeypatch.setattr(Sandbox, "run", counted)
    again = asyncio.run(
        replayed(QUESTION, interleaved, tmp_path / "trace.jsonl", events)
    )
    assert (course(again), codes) == (course(solution), [])
    for cut in range(len(events)):
        codes.clear()
        known = read_histories(events[:cut])
        steps = (block("print(6)"), block("print(42)"), "The answer is 42")
        [resumed] = solve_many_sync(
            [QUESTION], interleaved, ScriptedEngine(says(*steps)), history=known
        )
        assert resumed.answer == solution.answer
        assert len(codes) == 2 - len(ran(events[:cut])), cut


def test_a_program_is_ended_with_its_question_and_at_the_deadline() -> None:
    async def test() -> None:
        detect()  # its trial runs are processes too
        events: list[Event] = []
        others = set(psutil.Process().children())
        work = asyncio.ensure_future(
            solve(
                QUESTION,
                running("while True: pass", seconds=60),
                ScriptedEngine(says("")),
                trace=events.append,
            )
        )
        await until(lambda: bool(set(psutil.Process().children()) - others))
        work.cancel()
        await asyncio.wait([work])
        assert [event.error for event in events if isinstance(event, Executed)] == [
            "cancelled"
        ]

    asyncio.run(test())
    with idle_time():
        late, events = solved(
            running("while True: pass", seconds=60), "", budget=Budget(seconds=1)
        )
    assert late.ended_by == "budget"
    assert "seconds" in late.reason
    assert [
        event.error.partition(":")[0] for event in events if isinstance(event, Executed)
    ] == ["not run"]


HOSTILE = {
    "files outside": "open('/tmp/left', 'w').write('x')\nprint(7)",
    "the network": "import socket\nsocket.create_connection(('1.1.1.1', 53), timeout=1)\nprint(7)",
    "a flood": "while True: print('x' * 10**5)",
    "a fake end": "import os\nos.write(1, b'7')\nos._exit(3)",
}


@pytest.mark.parametrize("code", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_program_has_no_answer_and_leaves_nothing(code: str) -> None:
    solution, events = solved(CodeInterpreter(timeout=2), block(code))
    assert solution.error is None
    assert solution.answer is None
    [(_, _, failure)] = ran(events)
    assert failure
    assert not Path("/tmp/left").exists()


def test_a_machine_without_a_sandbox_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = detect()
    none = Layers(
        namespaces=False, private_proc=False, python=layers.python, missing="unshare"
    )
    monkeypatch.setattr(programs, "detect", lambda: none)
    solution, events = solved(CodeInterpreter(), block("print(42)"))
    assert isinstance(solution.error, UsageError)
    assert "no program can be run here: this machine lacks" in str(solution.error)
    assert ran(events) == []
    with pytest.raises(UsageError, match="seconds must be"):
        Execute("", seconds=0)


# Over HTTP


@pytest.mark.parametrize("vllm", [True, False])
def test_outputs_go_into_the_chain_of_a_server_too(vllm: bool) -> None:
    code = ("```python\n", "print(6 * 7)\n", "```")
    server = FakeServer(reply=code) if vllm else text_only(reply=code)
    server.at[2] = partial(setattr, server, "reply", ("The", " answer", " is", " 42"))
    with server:
        engine = OpenAIEngine(base_url=server.url)
        events: list[Event] = []
        solution = asyncio.run(
            solve(
                QUESTION,
                CodeInterpreter(mode="interleaved"),
                engine,
                trace=events.append,
            )
        )
        assert solution.error is None
        assert solution.answer == Answer("42", "42", "announced")
        assert [output for _, output, _ in ran(events)] == ["42\n"]
        sent = server.sent("/v1/completions" if vllm else "/v1/chat/completions")[-1]
        prompt = sent["prompt"] if vllm else sent["messages"][-1]["content"]
        text = server.text_of(prompt) if vllm and isinstance(prompt, list) else prompt
        assert "\n```output\n42\n```\n" in text
