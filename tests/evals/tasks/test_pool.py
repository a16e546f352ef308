"""Recorded answers: the task and the engine of a pool file, alone and together."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from reasoner import solve_many
from reasoner.answers.questions import Question
from reasoner.engine import SampleRequest
from reasoner.engines.pool import PoolEngine
from reasoner.errors import EngineError, UsageError
from reasoner.registry import build
from reasoner.types import Completion, Prompt, SamplingParams, Usage
from reasoner_strategies import SelfConsistency
from tests.evals.tasks.samples import POOL, jsonl


def questions(file: Path) -> list[Question]:
    return [item.question for item in build("task", f"pool:{file}").load().items]


def draw(
    engine: PoolEngine, question: Question, index: int, *, prompt: Prompt | None = None, **params: Any
) -> Completion:
    async def drawn() -> Completion:
        await engine.start()
        asked = prompt or question.prompt
        rendered = await engine.render(asked)
        request = SampleRequest(question.id, asked, rendered, SamplingParams(**params), index, 1)
        reply = await engine.sample(request)
        assert request.meter.usage == reply.usage
        return reply

    return asyncio.run(drawn())


def test_a_sample_is_the_recorded_answer_at_its_index_with_its_tokens(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "p.jsonl", POOL)
    first, second = questions(file)
    engine = build("engine", f"pool:{file}")
    for question, line in ((first, POOL[0]), (second, POOL[1])):
        for index, (answer, tokens) in enumerate(zip(line["answers"], line["tokens"], strict=True)):
            reply = draw(engine, question, index)
            read = question.read(reply)
            known = question.space.read(rf"\boxed{{{answer}}}") if answer else None
            assert (read and read.key) == (known and known.key)
            assert (reply.usage, reply.token_ids) == (Usage(1, 1, tokens), ())
            assert reply.finish_reason == "stop"


def test_a_limit_below_the_recorded_length_cuts_the_reply_and_its_answer(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "p.jsonl", POOL)
    [question, _] = questions(file)
    reply = draw(PoolEngine(str(file)), question, 3, max_tokens=11)
    assert (reply.text, reply.finish_reason, reply.usage.generated_tokens) == ("", "length", 11)
    assert draw(PoolEngine(str(file)), question, 3, max_tokens=12).finish_reason == "stop"


def test_what_a_pool_cannot_give_is_reported(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "p.jsonl", POOL)
    [question, _] = questions(file)
    engine = PoolEngine(str(file))
    with pytest.raises(EngineError, match=r"holds 4 answers to 'own/0', and sample 5 was requested: draw at most 4"):
        draw(engine, question, 4)
    with pytest.raises(EngineError, match="no log-probabilities"):
        draw(engine, question, 0, logprobs=0)
    with pytest.raises(EngineError, match="complete replies"):
        draw(engine, question, 0, prompt=question.prompt.extended("So", (1,)))
    with pytest.raises(EngineError, match="complete replies"):
        draw(engine, question, 0, prompt=Prompt.chat("Judge this."))
    with pytest.raises(EngineError, match="holds no question 'other'"):
        draw(engine, Question("other", "other", Prompt.chat("other"), question.space), 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no question"),
        ("{", r"p\.jsonl:1 is not a recorded question: invalid json"),
        (
            '{"question_id": "q", "answers": ["1"], "tokens": []}',
            "has 1 answers and 0 token counts: give one count per answer",
        ),
        ('{"question_id": "q", "answers": [1], "tokens": [1]}', r"answers\.0: input should be a valid string"),
        (
            '{"question_id": "q", "answers": ["1"], "tokens": [0]}',
            r"tokens\.0: input should be greater than or equal to 1",
        ),
        ('{"question_id": "q", "answers": ["1"], "tokens": [1]}\n' * 2, "p.jsonl:2 repeats the question 'q'"),
    ],
)
def test_a_file_that_is_no_pool_is_reported_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(UsageError, match=told):
        asyncio.run(PoolEngine(str(tmp_path / "p.jsonl")).start())


def test_a_vote_over_a_pool_costs_its_tokens_and_finds_its_majority(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "p.jsonl", POOL)
    solutions = asyncio.run(solve_many(questions(file), SelfConsistency(4), PoolEngine(str(file))))
    assert [solution.answer and solution.answer.key for solution in solutions] == ["33", "5/2"]
    assert [solution.cost.tokens for solution in solutions] == [30, 10]
    assert [solution.cost.samples for solution in solutions] == [4, 4]
    assert [solution.proposals[-1].cost.tokens for solution in solutions] == [30, 10]
