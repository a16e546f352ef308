"""Sampling parameters of a run: those of models that think, and schemas."""

from dataclasses import dataclass, replace

import pytest

from reasoner import Question, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.models.defaults import THINKING_MAX_TOKENS
from reasoner.models.thinking import ThinkingProfile
from reasoner.registry import build, entries
from reasoner.strategy import Strategy
from reasoner.testing.scripted import MODEL, ScriptedEngine
from reasoner.testing.support import Judge, number_question, traced_cost, varied
from reasoner.trace.events import Began, Ended, Event, Sampled
from reasoner.types import Completion, SamplingParams
from reasoner_strategies import BeamSearch, Refine, SelfConsistency

PROFILE = ThinkingProfile("on_request", (1,), (2,), "<think>", "</think>", "</think>\n")
THINKS = replace(
    MODEL,
    thinking=PROFILE,
    sampling=SamplingParams(temperature=0.6, top_p=0.95, top_k=20),
)
QUESTION = number_question()


@dataclass(slots=True)
class Thinker(ScriptedEngine):
    """An engine whose replies begin with `thought` tokens of thinking, or as many as there are."""

    thought: int = 2

    async def sample(self, request: SampleRequest) -> Completion:
        drawn = await ScriptedEngine.sample(self, request)
        if request.prompt.thinking_level == "none" or request.prompt.token_ids:
            return drawn
        thinking = min(self.thought, drawn.usage.generated_tokens)
        unclosed = (
            drawn.finish_reason == "length" and thinking == drawn.usage.generated_tokens
        )
        usage = request.meter.usage = replace(drawn.usage, thinking_tokens=thinking)
        return replace(drawn, usage=usage, thinking="hm", unclosed=unclosed)


def run(
    strategy: Strategy, thought: int = 2, **options: object
) -> tuple[Solution, list[Event], list[SampleRequest]]:
    seen: list[SampleRequest] = []

    def script(request: SampleRequest) -> str:
        seen.append(request)
        return varied(request)

    engine, events = Thinker(script, model=THINKS, thought=thought), list[Event]()
    judge = Judge() if strategy.uses_verifier else None
    solution = solve_sync(
        QUESTION,
        strategy,
        engine,
        verifier=judge,
        trace=events.append,
        **options,  # type: ignore[arg-type]
    )
    assert solution.error is None
    return solution, events, seen


@pytest.mark.parametrize("name", sorted(entries("strategy")))
def test_every_strategy_samples_with_the_models_parameters_and_room_to_think(
    name: str,
) -> None:
    solution, events, seen = run(build("strategy", name))
    chains = [each for each in seen if not each.watch]
    assert {each.params.top_k for each in chains} <= {20}
    assert {each.params.temperature for each in chains} <= {
        0.6,
        0.0,
    }  # what chooses is greedy
    assert solution.cost.thinking_tokens == sum(
        e.usage.thinking_tokens for e in events if isinstance(e, Sampled)
    )
    assert traced_cost(events).taking(0) == solution.cost.taking(0)
    [began] = [event for event in events if isinstance(event, Began)]
    assert began.model == THINKS
    assert began.strategy == name
    if "max_tokens" in began.resolved and name not in {
        "budget_forcing",
        "self_consistency",
    }:
        assert f"max_tokens={THINKING_MAX_TOKENS}" in began.resolved


@pytest.mark.parametrize(
    ("max_tokens", "thought", "cut"),
    [(1000, 2, (0, 0)), (3, 2, (8, 0)), (3, 9, (8, 8))],
)
def test_samples_cut_at_the_limit_are_counted_and_reported(
    max_tokens: int, thought: int, cut: tuple[int, int]
) -> None:
    solution, events, _ = run(
        SelfConsistency(params=SamplingParams(max_tokens=max_tokens)), thought
    )
    assert (solution.cut.cut, solution.cut.thinking, solution.cut.samples) == (*cut, 8)
    assert [event.cut for event in events if isinstance(event, Ended)] == [solution.cut]
    assert solution.to_dict()["cut"]["cut"] == cut[0]
    lines = [line for line in str(solution).splitlines() if line.startswith("cut")]
    thinking = ", 8 of them while thinking" if cut[1] else ""
    assert lines == (
        [
            f"cut      8 of 8 samples were cut at max_tokens=3{thinking}: raise max_tokens"
        ]
        if cut[0]
        else []
    )


SCHEMA = SamplingParams(json_schema='{"type": "integer"}', max_tokens=40)


def test_it_holds_for_answers_and_not_for_what_a_plan_asks_besides() -> None:
    seen: list[SampleRequest] = []

    def script(request: SampleRequest) -> str:
        seen.append(request)
        return varied(request)

    solve_sync(
        "What is 3 + 4?",
        Refine(rounds=1, critic="self", params=SCHEMA),
        ScriptedEngine(script),
    )
    schemas = {
        request.prompt.messages[-1].content[:20]: request.params.json_schema
        for request in seen
    }
    assert sorted(schemas.values()) == ["", SCHEMA.json_schema, SCHEMA.json_schema]


def test_a_search_that_continues_a_reply_is_refused_with_what_to_do() -> None:
    def steps(_: SampleRequest) -> str:
        return "1\n\n2\n\n3"

    solution = solve_sync(
        Question.of("What is 3 + 4?"),
        BeamSearch(n=2, width=1, params=SCHEMA),
        ScriptedEngine(steps),
        verifier="rules:pattern=1",
    )
    assert "json_schema holds for whole replies" in str(solution.error)


@pytest.mark.parametrize("text", ["[1]", "[" * 60_000])
def test_a_schema_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="json_schema") as raised:
        SamplingParams(json_schema=text)
    assert len(str(raised.value)) < 400
