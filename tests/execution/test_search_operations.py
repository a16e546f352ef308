"""What search asks of the runner: forced text, tokens held back, notes."""

import asyncio
from pathlib import Path

import pytest

from reasoner import Answer, Budget, Question, SamplingParams, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import BudgetExhausted
from reasoner.strategy import Plan, Sample, note, prefill, sample
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Planned, books, meter_of, says, write_trace
from reasoner.trace.events import Noted, Prefilled, Prompted, Sampled
from reasoner.trace.replies import completions_in
from reasoner.types import Completion, Prompt
from tests.execution.one_question import PARAMS, PROMPT, QUESTION, TOKENS, Run


def forced(question: Question) -> Plan[Answer | None]:
    """A reply that is made to begin with a word, and another one later."""
    opened = yield from prefill(question.prompt, "Well, then:")
    [first] = yield from sample(
        opened, params=SamplingParams(max_tokens=40, stop=(" is",))
    )
    again = yield from prefill(opened.then(first), " surely")
    [last] = yield from sample(again, params=PARAMS)
    yield from note("two words were forced")
    return question.read(last)


def continuing(request: SampleRequest) -> str:
    return " 7" if "surely" in request.prompt.text else "The answer is 9"


def test_forced_text_continues_as_token_ids_and_is_in_the_trace_which_replays(
    tmp_path: Path,
) -> None:
    seen: list[Prompt] = []

    def script(request: SampleRequest) -> str:
        seen.append(request.prompt)
        return continuing(request)

    engine = ScriptedEngine(script)
    run = Run(forced, engine)
    assert run.error is None
    assert (run.solution.answer and run.solution.answer.key) == "7"
    assert [prompt.text for prompt in seen] == [
        "Well, then:",
        "Well, then:The answer is surely",
    ]
    words = (
        asyncio.run(engine.encode("Well, then:")),
        asyncio.run(engine.encode(" surely")),
    )
    assert seen[0].token_ids == words[0]
    assert words[1] is not None
    assert seen[1].token_ids[-len(words[1]) :] == words[1]
    # Forced tokens are prompt tokens: none of them is generated.
    assert books(run.solution.cost) == meter_of(engine)
    [_, other] = run.seen(Sampled)
    assert other.usage.prompt_tokens == TOKENS + len(seen[1].token_ids)
    assert [event.text for event in run.seen(Noted)] == ["two words were forced"]
    assert [event.text for event in run.seen(Prefilled)] == ["Well, then:", " surely"]
    assert run.events.index(run.seen(Prompted)[0]) < run.events.index(
        run.seen(Prefilled)[0]
    )
    chains = [completion.chain for _, completion in completions_in(run.events)]
    assert chains == ["Well, then:The answer", "Well, then:The answer is surely 7"]
    replay = ReplayEngine(str(write_trace(tmp_path / "t.jsonl", run.events)))
    again = solve_sync(QUESTION, Planned(forced), replay)
    assert again.error is None
    assert again.answer == run.solution.answer
    assert again.cost.taking(0) == run.solution.cost.taking(0)


# What is held back


def thinking(reserve: int) -> Plan[Answer | None]:
    """Thinks as long as it may, then answers."""
    params = SamplingParams(max_tokens=1000)
    [thought] = yield Sample((PROMPT,), params=params, reserve=reserve)
    try:
        [closing] = yield from sample(
            PROMPT.then(thought), params=SamplingParams(max_tokens=20)
        )
    except BudgetExhausted:
        return None
    answer = QUESTION.read(closing)
    return answer


def thinks_long(request: SampleRequest) -> str:
    return "The answer is 7" if request.prompt.text else "hm " * 2000


@pytest.mark.parametrize("tokens", [120, 151, 200, 500, 997])
def test_reserved_tokens_are_left_for_the_answer(tokens: int) -> None:
    kept = Run(
        lambda _: thinking(20),
        ScriptedEngine(thinks_long),
        budget=Budget(tokens=tokens),
    )
    spent = Run(
        lambda _: thinking(0), ScriptedEngine(thinks_long), budget=Budget(tokens=tokens)
    )
    assert (
        kept.solution.answer and kept.solution.answer.key,
        spent.solution.answer,
    ) == ("7", None)
    assert kept.solution.cost.tokens <= tokens
    assert kept.error is spent.error is None


def test_preempted_sequences_are_noted() -> None:
    class Preempting(ScriptedEngine):
        async def sample(self, request: SampleRequest) -> Completion:
            request.meter.preemptions = request.index
            return await ScriptedEngine.sample(self, request)

    def plan(question: Question) -> Plan[Answer | None]:
        replies = yield from sample(question.prompt, n=3, params=PARAMS)
        return question.read(replies[0])

    run = Run(plan, Preempting(says("7")))
    assert [note.split(":")[0] for note in run.solution.notes] == ["preempted"]
