"""What a request asks of sampling on real vLLM: its text as it comes, words and tokens that are not generated."""

import asyncio
import json

import pytest

from reasoner import Prompt, Question, SamplingParams, Solution, solve_sync
from reasoner.engine import SampleRequest, TextPiece
from reasoner.engines.vllm.engine import VllmEngine
from reasoner.errors import UsageError
from reasoner.testing.support import traced_cost
from reasoner.trace.events import AnswerExtracted, Event, Sampled
from reasoner.types import Completion, TokenIds, Usage
from reasoner_strategies import SelfConsistency
from tests.engine.test_vllm import ESSAY, draw


def test_text_is_passed_on_while_it_is_generated(engine: VllmEngine) -> None:
    async def drawn_with_pieces(
        params: SamplingParams,
    ) -> tuple[Completion, list[TextPiece]]:
        pieces: list[TextPiece] = []
        request = SampleRequest(
            "q", ESSAY, await engine.render(ESSAY), params, 0, 5, on_text=pieces.append
        )
        return await engine.sample(request), pieces

    for stop in ((), ("and",)):
        completion, pieces = asyncio.run(
            drawn_with_pieces(SamplingParams(temperature=0.7, max_tokens=32, stop=stop))
        )
        assert len(pieces) > 2
        assert completion.text.startswith("".join(piece.text for piece in pieces))
        assert len(completion.text) - sum(len(piece.text) for piece in pieces) < 8
        assert not any(piece.thinking for piece in pieces)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        (
            SamplingParams(max_tokens=4, logit_bias=((10**7, 1.0),)),
            "vLLM refused the request: .*out-of-vocab",
        ),
        (
            SamplingParams(max_tokens=4, lora="./mine"),
            "lora=./mine needs a server: start `vllm serve",
        ),
    ],
)
def test_a_parameter_that_vllm_refuses_is_the_callers_error(
    engine: VllmEngine, params: SamplingParams, why: str
) -> None:
    async def refused() -> Usage | None:
        request = SampleRequest("q", ESSAY, await engine.render(ESSAY), params, 0, 5)
        with pytest.raises(UsageError, match=why) as raised:
            await engine.sample(request)
        assert len(str(raised.value)) < 400
        return request.meter.usage

    assert asyncio.run(refused()) == Usage()


SCHEMA = {
    "type": "object",
    "properties": {
        "sum": {"type": "integer", "minimum": 0, "maximum": 99},
        "sure": {"type": "boolean"},
    },
    "required": ["sum", "sure"],
    "additionalProperties": False,
}


def follows_schema(text: str) -> bool:
    value = json.loads(text)
    return (value.keys(), type(value["sum"]), type(value["sure"])) == (
        {"sum", "sure"},
        int,
        bool,
    )


def test_a_reply_satisfies_its_json_schema(engine: VllmEngine) -> None:
    params = SamplingParams(max_tokens=60, json_schema=json.dumps(SCHEMA))
    completions = asyncio.run(
        draw(engine, Prompt.chat("What is 3 + 4? Answer in JSON."), params, range(6))
    )
    whole = [completion for completion in completions if completion.ended]
    assert whole
    assert all(follows_schema(completion.text) for completion in whole)


@pytest.mark.parametrize("schema", [json.dumps(SCHEMA), ""])
def test_a_chain_that_was_cut_gets_a_json_value_by_a_probe(
    engine: VllmEngine, schema: str
) -> None:
    def asked(cut: str) -> tuple[Solution, list[Event]]:
        events: list[Event] = []
        question = Question.of(
            "What is 3 + 4? Answer in JSON.", space=f"json:cut={cut}", id="cut"
        )
        params = SamplingParams(max_tokens=5, json_schema=schema)
        return solve_sync(
            question, SelfConsistency(2, params), engine, trace=events.append
        ), events

    def chains(events: list[Event]) -> list[TokenIds]:
        drawn = [event for event in events if isinstance(event, Sampled)]
        assert [event.finish_reason for event in drawn] == ["length"] * 2
        return [event.token_ids for event in drawn]

    (solution, events), (dropped, alone) = asked("fallback"), asked("drop")
    assert chains(events) == chains(alone)
    probes = [event for event in events if isinstance(event, AnswerExtracted)]
    assert (len(probes), dropped.answer) == (2, None)
    if schema:
        assert solution.answer is not None
        assert follows_schema(solution.answer.text)
        assert all(follows_schema(event.text) for event in probes)
    assert traced_cost(events).taking(0) == solution.cost.taking(0)
    extra = solution.cost.generated_tokens - dropped.cost.generated_tokens
    assert extra == sum(event.cost.generated_tokens for event in probes)
