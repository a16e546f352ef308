"""A number of thinking tokens where the engine cannot keep to it: a second request after the text that closes it."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import (
    Answer,
    Budget,
    Cost,
    Question,
    SamplingParams,
    Solution,
    solve,
    solve_many,
)
from reasoner.engine import FreeEngine, RenderedPrompt, SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import RequestLost
from reasoner.models.info import ModelInfo
from reasoner.models.thinking import ThinkingProfile, split
from reasoner.strategy import Plan, Sample, sample
from reasoner.testing.support import (
    Planned,
    course,
    number_question,
    traced_cost,
    write_trace,
)
from reasoner.trace.events import Dropped, Event, Sampled, Thought, Work
from reasoner.trace.history import read_histories
from reasoner.types import Completion, FinishReason, Logprobs, Prompt, TokenIds, Usage
from tests.running import running

THINK, CLOSE, LEAD, END, HEAD = 1, 2, 3, 0, (9,) * 5
PROFILE = ThinkingProfile(
    "always", (7,), (CLOSE,), "<think>", "</think>", "Enough.</think>"
)
CLOSING = (LEAD, CLOSE)
ANSWER = (40, 41, 42, 47)
WORDS = {
    THINK: "hm ",
    LEAD: "Enough.",
    CLOSE: "",
    40: "The ",
    41: "answer ",
    42: "is ",
    47: "7",
    END: "",
}
QUESTION = number_question()


@dataclass(slots=True)
class Thinker(FreeEngine):
    """Thinks for `thinks` tokens and answers; it ends thinking itself where it `limits_thinking`.

    `learns` makes it lose the first request, as it learns then that it cannot limit thinking. A `silent` one keeps its
    thinking to itself, as a hosted model does.
    """

    thinks: int
    limits_thinking: bool = False
    learns: bool = False
    silent: bool = False
    context: int = 0
    name: str = "thinker"
    notes: tuple[str, ...] = ()
    capacity: int | None = None
    usages: list[Usage] = field(default_factory=list)
    requests: list[SampleRequest] = field(default_factory=list)

    @property
    def model(self) -> ModelInfo:
        return ModelInfo("thinker", self.context, thinking=PROFILE)

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        if self.silent:
            return RenderedPrompt(None, len(HEAD))
        opened = split(prompt.token_ids, PROFILE, opened=True).unclosed
        return RenderedPrompt(
            HEAD + prompt.token_ids, len(HEAD) + len(prompt.token_ids), opened
        )

    async def encode(self, text: str) -> TokenIds | None:
        assert text == PROFILE.closing
        return CLOSING

    async def sample(self, request: SampleRequest) -> Completion:
        self.requests.append(request)
        request.meter.usage = Usage()
        await asyncio.sleep(0)
        if self.learns:
            self.learns = self.limits_thinking = False
            raise RequestLost("it cannot limit thinking")
        whole = (*(THINK,) * self.thinks, CLOSE, *ANSWER, END)
        level, before = request.prompt.thinking_level, request.prompt.token_ids
        if self.limits_thinking and isinstance(level, int) and level <= self.thinks:
            whole = (*(THINK,) * level, *CLOSING, *ANSWER, END)
        # What follows after what the prompt has: the rest of the thinking, or of the answer after its end.
        rest = (
            whole[len(before) :]
            if CLOSE not in before
            else (*ANSWER, END)[len(before) - 1 - before.index(CLOSE) :]
        )
        ids = rest[: request.params.max_tokens]
        finish: FinishReason = "stop" if ids[-1:] == (END,) else "length"
        where = split(before + ids, PROFILE, opened=True)
        tokens = max(where.thinking - len(before), 0)
        usage = Usage(request.rendered.tokens, 0, len(ids), tokens)
        request.meter.usage = usage
        self.usages.append(usage)
        final = "".join(WORDS[token] for token in ids[tokens:])
        logprobs = (
            None
            if request.params.logprobs is None
            else Logprobs((-0.5,) * len(ids), ((-0.5, -2.0),) * len(ids))
        )
        if self.silent:
            return Completion(
                request.prompt, final, (), finish, usage=usage, index=request.index
            )
        thinking = "".join(WORDS[token] for token in ids[:tokens])
        return Completion(
            request.prompt,
            final,
            ids,
            finish,
            None,
            usage,
            logprobs,
            request.index,
            request.seed,
            thinking,
            where.unclosed,
        )


def drawing(level: int, max_tokens: int = 60, n: int = 1, reserve: int = 0) -> Planned:
    def plan(question: Question) -> Plan[Answer | None]:
        prompt = question.prompt.at_level(level)
        reply = yield Sample(
            (prompt,),
            n,
            SamplingParams(max_tokens=max_tokens, logprobs=2),
            reserve=reserve,
        )
        return question.read(reply[0])

    return Planned(plan)


async def run(
    engine: Thinker | ReplayEngine, strategy: Planned, **options: object
) -> tuple[Solution, list[Event]]:
    events: list[Event] = []
    solution = await solve(QUESTION, strategy, engine, trace=events.append, **options)  # type: ignore[arg-type]
    return solution, events


def sampled(events: list[Event]) -> Sampled:
    [event] = [event for event in events if isinstance(event, Sampled)]
    return event


def test_the_second_request_continues_after_the_closing_text() -> None:
    engine = Thinker(thinks=20)
    solution, events = asyncio.run(run(engine, drawing(8)))
    first, second = engine.requests
    assert (first.params.max_tokens, second.params.max_tokens) == (
        8,
        60 - 8 - len(CLOSING),
    )
    assert second.rendered.token_ids == (*HEAD, *(THINK,) * 8, *CLOSING)
    assert second.seed != first.seed
    event = sampled(events)
    assert event.token_ids == (*(THINK,) * 8, *CLOSING, *ANSWER, END)
    assert event.usage == Usage(5, 0, 15, 10)
    assert (event.text, event.unclosed, event.seed) == (
        "The answer is 7",
        False,
        first.seed,
    )
    assert event.logprobs is not None
    assert event.logprobs.sampled == (*(-0.5,) * 8, 0.0, 0.0, *(-0.5,) * 5)
    assert len(event.logprobs.top) == 15
    assert replace(solution.cost.taking(0), flops=0) == Cost(
        prompt_tokens=20,
        generated_tokens=13,
        requests=2,
        samples=1,
        thinking_tokens=8,
        sequential_tokens=15,
    )
    assert str(solution.answer and solution.answer.text) == "7"
    assert traced_cost(events).taking(0) == solution.cost.taking(0)


def test_the_second_request_ends_with_the_context_window() -> None:
    engine = Thinker(thinks=20, context=len(HEAD) + 8 + len(CLOSING) + 3)
    asyncio.run(run(engine, drawing(8)))
    assert [request.params.max_tokens for request in engine.requests] == [8, 3]


@given(st.integers(0, 20), st.integers(1, 24), st.integers(1, 40))
def test_a_sequence_of_two_requests_is_the_one_that_an_engine_with_a_limit_draws(
    thinks: int, level: int, max_tokens: int
) -> None:
    _, forced = asyncio.run(run(Thinker(thinks), drawing(level, max_tokens)))
    _, native = asyncio.run(
        run(Thinker(thinks, limits_thinking=True), drawing(level, max_tokens))
    )
    ours, theirs = sampled(forced), sampled(native)
    assert ours.token_ids == theirs.token_ids[: len(ours.token_ids)]
    # The closing text is not cut in its midst: where it has no room, the thinking is all there is.
    assert len(theirs.token_ids) - len(ours.token_ids) <= len(CLOSING)
    if len(ours.token_ids) == len(theirs.token_ids):
        assert (ours.usage, ours.finish_reason, ours.unclosed) == (
            theirs.usage,
            theirs.finish_reason,
            theirs.unclosed,
        )
        assert (ours.text, ours.answer, ours.child) == (
            theirs.text,
            theirs.answer,
            theirs.child,
        )


@pytest.mark.parametrize("thinks", [4, 20])
@running
async def test_a_run_killed_between_the_two_requests_draws_only_the_second(
    thinks: int, tmp_path: Path
) -> None:
    whole, events = await run(Thinker(thinks), drawing(6))
    end = next(at for at, event in enumerate(events) if isinstance(event, Thought)) + 1
    engine, later = Thinker(thinks), events[:end]
    history = read_histories(events[:end])
    [again] = await solve_many(
        [QUESTION], drawing(6), engine, trace=later.append, history=history
    )
    assert len(engine.requests) == 1
    assert course(again) == course(whole)
    replay = ReplayEngine(str(write_trace(tmp_path / "trace.jsonl", events)))
    replayed, copy = await run(replay, drawing(6))
    assert course(replayed) == course(whole)
    drawn = [
        event.model_copy(update={"t": 0.0})
        for event in events
        if isinstance(event, Work)
    ]
    assert [
        event.model_copy(update={"t": 0.0}) for event in copy if isinstance(event, Work)
    ] == drawn


@running
async def test_where_the_budget_has_no_room_for_an_answer_the_thinking_is_kept_and_said(
    tmp_path: Path,
) -> None:
    engine = Thinker(thinks=40)

    def plan(question: Question) -> Plan[Answer | None]:
        # What the first ones leave is taken by the first requests of the others.
        prompt = question.prompt.at_level(30)
        replies = yield from sample(prompt, n=4, params=SamplingParams(max_tokens=60))
        assert any(
            completion.unclosed and question.read(completion) is None
            for completion in replies
        )
        return None

    solution, events = await run(engine, Planned(plan), budget=Budget(tokens=250))
    assert solution.error is None
    assert (
        "cut: after thinking, the budget had no room left for an answer"
        in solution.notes
    )
    replay = ReplayEngine(str(write_trace(tmp_path / "trace.jsonl", events)))
    assert course((await run(replay, Planned(plan)))[0]) == course(solution)


def test_an_engine_that_learns_that_it_cannot_limit_thinking_is_asked_again() -> None:
    engine = Thinker(thinks=20, limits_thinking=True, learns=True)
    solution, events = asyncio.run(run(engine, drawing(8)))
    assert [request.params.max_tokens for request in engine.requests] == [60, 8, 50]
    assert [event.cost.tokens for event in events if isinstance(event, Dropped)] == [0]
    assert solution.answer is not None


def test_thinking_that_nobody_shows_cannot_be_closed() -> None:
    solution, events = asyncio.run(run(Thinker(thinks=20, silent=True), drawing(8)))
    assert "thinking=8: the server does not show its thinking" in str(solution.error)
    assert "\n" not in str(solution.error)
    assert traced_cost(events).tokens == solution.cost.tokens == 13
