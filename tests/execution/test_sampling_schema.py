"""A JSON schema among the sampling parameters: which requests it holds for, and what is refused."""

import pytest

from reasoner import Question, SamplingParams, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner_strategies import BeamSearch, Refine
from tests.helpers import varied
from tests.scripted import ScriptedEngine

SCHEMA = SamplingParams(json_schema='{"type": "integer"}', max_tokens=40)


def test_it_holds_for_answers_and_not_for_what_a_plan_asks_besides() -> None:
    seen: list[SampleRequest] = []

    def script(request: SampleRequest) -> str:
        seen.append(request)
        return varied(request)

    solve_sync("What is 3 + 4?", Refine(rounds=1, critic="self", params=SCHEMA), ScriptedEngine(script))
    schemas = {request.prompt.messages[-1].content[:20]: request.params.json_schema for request in seen}
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


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "json_schema is not JSON"),
        ("[1]", r"must be a JSON object of at most 65,536 characters, as in \{"),
        ('{"a": "' + "x" * 70_000 + '"}', "at most 65,536 characters"),
        ("[" * 60_000, "nested too deeply"),
    ],
)
def test_a_schema_that_is_none_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as raised:
        SamplingParams(json_schema=text)
    assert len(str(raised.value)) < 400
