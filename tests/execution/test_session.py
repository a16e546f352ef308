"""A session: one started engine for questions that come one by one."""

import asyncio
from contextlib import suppress

import pytest

from reasoner import Question, SamplingParams, build, solve
from reasoner.engine import RequestLost, SampleRequest, TextPiece
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import UsageError
from reasoner.execution.launching import STARTS
from reasoner.execution.session import Session
from reasoner.testing.scripted import THINKER, ScriptedEngine
from reasoner.testing.support import says, turns
from reasoner_strategies import BestOfN, SelfConsistency, Single
from reasoner_verifiers import Certainty
from tests.running import running


def asked(number: int) -> Question:
    return Question.of(f"What is {number} + 4?", id=f"q{number}")


@running
async def test_questions_of_a_session_are_answered_as_by_solve() -> None:
    vote = SelfConsistency(n=6)
    async with Session(SimulatedEngine()) as session:
        together = await asyncio.gather(
            *(session.solve(asked(number), vote, seed=3) for number in range(20))
        )
    for number, solution in enumerate(together):
        alone = await solve(asked(number), vote, SimulatedEngine(), seed=3)
        assert (solution.answer, solution.text, solution.cost.tokens) == (
            alone.answer,
            alone.text,
            alone.cost.tokens,
        )


@running
async def test_a_caller_that_leaves_takes_its_sequences_along_and_no_others() -> None:
    aborted: list[str] = []
    started = asyncio.Event()

    async def pause(request: SampleRequest) -> None:
        if request.question_id != "q1":
            return
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            aborted.append(request.question_id)
            raise

    engine = ScriptedEngine(says("7"), pause=pause)
    async with Session(engine) as session:
        leaving = asyncio.ensure_future(session.solve(asked(1), SelfConsistency(n=3)))
        await started.wait()
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving
        assert aborted == ["q1"] * 3
        solution = await session.solve(asked(2), SelfConsistency(n=3))
        assert solution.answer is not None
        assert session.ledger.reserved.tokens == 0


@running
async def test_small_questions_go_before_large_ones_and_starve_none() -> None:
    began: list[str] = []

    async def pause(request: SampleRequest) -> None:
        began.append(request.question_id)
        await turns(2)

    params = SamplingParams(max_tokens=60)
    engine = ScriptedEngine(says("7"), pause=pause)
    async with Session(engine) as session:
        votes = [
            asyncio.ensure_future(
                session.solve(asked(number), SelfConsistency(300, params))
            )
            for number in range(4)
        ]
        await turns(40)
        waited = []
        while not all(vote.done() for vote in votes):
            before = len(began)
            solution = await session.solve(asked(9), Single(params=params))
            assert solution.answer is not None
            waited.append(began.index("q9", before) - before)
    assert len(waited) > 10
    assert max(waited) <= 2 * STARTS


@running
async def test_its_verifiers_start_once_and_rate() -> None:
    verifier = Certainty()
    async with Session(SimulatedEngine(), verifiers=[verifier]) as session:
        solution = await session.solve(asked(1), BestOfN(n=4), verifier=verifier)
        assert solution.answer is not None
        with pytest.raises(UsageError, match="best_of_n needs a verifier"):
            await session.solve(asked(1), build("strategy", "best_of_n"))


@running
async def test_the_first_sequence_is_passed_on_piece_by_piece() -> None:
    engine = ScriptedEngine(says("7"), model=THINKER)
    pieces: list[TextPiece] = []
    async with Session(engine) as session:
        solution = await session.solve(asked(1), Single(), on_text=pieces.append)
        assert [piece.text for piece in pieces if not piece.thinking] == [
            "The",
            " answer",
            " is",
            " 7",
        ]
        assert solution.text == "The answer is 7"
        assert (
            "".join(piece.text for piece in pieces if piece.thinking)
            == "hm, let me think"
        )
        pieces.clear()
        await session.solve(asked(1), SelfConsistency(n=3), on_text=pieces.append)
        assert [piece.text for piece in pieces if not piece.thinking] == [
            "The",
            " answer",
            " is",
            " 7",
        ]


@running
async def test_a_sequence_that_is_drawn_again_is_passed_on_once() -> None:
    tries: list[int] = []

    async def pause(request: SampleRequest) -> None:
        tries.append(request.index)
        if request.on_text and len(tries) == 1:
            request.on_text(TextPiece("It"))
            raise RequestLost("gone")

    pieces: list[TextPiece] = []
    async with Session(ScriptedEngine(says("7"), pause=pause)) as session:
        solution = await session.solve(asked(1), Single(), on_text=pieces.append)
    assert (solution.text, tries, pieces) == (
        "The answer is 7",
        [0, 0],
        [TextPiece("It")],
    )


@running
async def test_a_session_that_is_not_open_refuses() -> None:
    session = Session(SimulatedEngine())
    with pytest.raises(UsageError, match="use it as in `async with"):
        await session.solve(asked(1), Single())
