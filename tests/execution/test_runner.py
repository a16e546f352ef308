"""Answering questions: many at once, under one budget, through one engine."""

import asyncio
from contextlib import aclosing

import pytest

from reasoner import Proposal, Question, proposals, solve
from reasoner.errors import EngineUnavailable
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question, varied
from tests.running import running


def questions(count: int) -> list[Question]:
    return [number_question(f"q{place}") for place in range(count)]


@running
async def test_proposals_come_one_by_one_and_leaving_them_cancels_the_work() -> None:
    seen, asked, vote = (
        list[Proposal](),
        number_question(),
        "self_consistency:n=8,stop=lossless",
    )
    engine = ScriptedEngine(varied)
    solution = await solve(asked, vote, engine, progress=seen.append)
    async with aclosing(proposals(asked, vote, ScriptedEngine(varied))) as each:
        assert [proposal async for proposal in each] == seen == list(solution.proposals)
    async with aclosing(
        proposals(asked, "mcts:simulations=40", engine := ScriptedEngine(varied))
    ) as each:
        async for _ in each:
            break
    spent = len(engine.usage)
    await asyncio.sleep(0)
    assert len(engine.usage) == spent
    with pytest.raises(EngineUnavailable):
        async for _ in proposals(
            asked, engine="openai:base_url=http://127.0.0.1:9/v1,patience=0"
        ):
            pass
