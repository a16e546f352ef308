"""The virtual clock on real vLLM: long chains take the course that their lengths alone decide, also after a kill."""

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

from reasoner import Answer, Question, SamplingParams, Solution, solve, solve_sync
from reasoner.engines.vllm import VllmEngine
from reasoner.stopping.rules import BetaRule
from reasoner.strategy import Handle, Plan, Sample, cancel, next_finished, start
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Planned, number_question, traced_cost
from reasoner.trace.events import (
    Dropped,
    Ended,
    Event,
    Sampled,
    TraceWriter,
    read_trace,
)
from reasoner.trace.history import read_histories
from reasoner_strategies import SelfConsistency
from tests.cli import command

QUESTION = number_question()
ENDLESS = ((2, -100.0), (0, -100.0))
"""No end of the embedded model's replies: its end tokens are never generated, so that `max_tokens` is the length."""
Log = list[tuple[int, Handle]]


def reacting(log: Log) -> Planned:
    """Twelve chains side by side; each that ends starts another one and stops one of those that run."""

    def plan(question: Question) -> Plan[Answer | None]:
        running, source = list[Handle](), random.Random(5)

        def chain() -> Plan[None]:
            params = SamplingParams(
                max_tokens=source.randint(8, 60), temperature=1.0, logit_bias=ENDLESS
            )
            running.append(
                (
                    yield from start(
                        Sample((question.prompt,), params=params, answers=False)
                    )
                )
            )

        for _ in range(12):
            yield from chain()
        while len(log) < 10:
            finished = yield from next_finished()
            log.append((finished.end, finished.handle))
            running.remove(finished.handle)
            yield from chain()
            if len(running) > 6:
                yield from cancel(
                    running.pop(sum(end for end, _ in log) % len(running))
                )
        return None

    return Planned(plan)


async def run(
    engine: VllmEngine | ScriptedEngine, before: list[Event]
) -> tuple[Log, Solution, list[Event]]:
    log, events = Log(), list(before)
    history = read_histories(before)
    solution = await solve(
        QUESTION, reacting(log), engine, trace=events.append, history=history
    )
    assert solution.error is None
    return log, solution, events


def test_the_course_is_that_of_the_lengths_and_survives_a_kill(
    engine: VllmEngine,
) -> None:
    endless = ScriptedEngine(lambda request: "word " * 200)
    expected, scripted, _ = asyncio.run(run(endless, []))
    log, solution, events = asyncio.run(run(engine, []))
    assert log == expected
    assert [end for end, _ in log] == sorted(end for end, _ in log)
    assert (
        solution.cost.sequential_tokens == scripted.cost.sequential_tokens == log[-1][0]
    )
    # The engine is a few steps further than the clock when it hears of a cancellation.
    dropped = sum(
        event.usage.generated_tokens
        for event in events
        if isinstance(event, Dropped) and event.usage
    )
    assert (
        scripted.cost.cancelled_tokens
        <= dropped
        <= scripted.cost.cancelled_tokens * 1.5 + 200
    )
    again, resumed, _ = asyncio.run(run(engine, events[: len(events) // 2]))
    assert (again, resumed.cost.sequential_tokens) == (log, log[-1][0])


VOTE = SelfConsistency(
    16, SamplingParams(max_tokens=64, temperature=1.0), stop=BetaRule(0.99)
)
SUM = Question.of("What is 17 + 25?", space="number", id="sum")
DRAW = "import sys; from tests.engine.test_clock_real import draw; draw(*sys.argv[1:])"


def draw(folder: str, trace: str) -> None:
    """The vote in a process of its own, which says what happens."""
    writer = TraceWriter(Path(trace))

    def write(event: Event) -> None:
        writer(event)
        sys.stdout.write(f"{event.event}\n")
        sys.stdout.flush()

    solve_sync(
        SUM,
        VOTE,
        VllmEngine(model_id=folder, max_model_len=2048, kv_gib=0.25, dtype="float32"),
        trace=write,
    )


def test_a_vote_by_length_that_is_killed_continues_its_course(
    engine: VllmEngine, embedded_model: Path, tmp_path: Path
) -> None:
    trace, after = tmp_path / "trace.jsonl", list[Event]()
    killed = command.start(
        str(embedded_model), str(trace), command=(sys.executable, "-c", DRAW)
    )
    assert killed.stdout
    delivered = (line for line in killed.stdout if line == "delivered\n")
    for _ in range(3):
        next(delivered)
    killed.kill()
    killed.communicate()
    before = list(read_trace(trace))
    assert not any(isinstance(event, Ended) for event in before)
    resumed = solve_sync(
        SUM, VOTE, engine, trace=after.append, history=read_histories(before)
    )
    whole = solve_sync(SUM, VOTE, engine)
    assert whole.answer is not None
    for solution in (resumed, whole):
        assert solution.error is None
        assert solution.cost.sequential_tokens == whole.cost.sequential_tokens
        assert [(each.answer, each.vote_state) for each in solution.proposals] == [
            (each.answer, each.vote_state) for each in whole.proposals
        ]
    drawn = Counter(
        (event.prompt, event.index)
        for event in [*before, *after]
        if isinstance(event, Sampled)
    )
    assert set(drawn.values()) == {1}
    assert traced_cost([*before, *after]).taking(0) == resumed.cost.taking(0)
