"""The vendor object of progress: what a page draws while samples arrive."""

from typing import Any

from reasoner import Question, Solution, build, solve
from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving.streaming import MAX_VOTES, ChatStream
from reasoner.trace.events import Event
from tests.running import running


async def streamed(spec: str, engine: SimulatedEngine) -> tuple[Solution, list[dict[str, Any]]]:
    events: list[Event] = []
    solution = await solve(
        Question.of("How many?", space="number"), build("strategy", spec), engine, trace=events.append
    )
    stream = ChatStream("id", 0, "m")
    chunks = [chunk for event in events if (chunk := stream.progress(event))]
    return solution, [chunk["reasoner"] for chunk in chunks]


@running
async def test_the_last_progress_of_a_vote_is_its_result() -> None:
    solution, reports = await streamed("self_consistency:n=8", SimulatedEngine())
    votes = [
        {"answer": vote.answer.text, "count": vote.count, "weight": vote.weight} for vote in solution.vote_state.votes
    ]
    assert reports[-1] == {"samples": 8, "votes": votes, "cost": {"tokens": solution.cost.tokens}}
    samples = [report["samples"] for report in reports]
    assert samples == sorted(samples)
    assert samples[0] == 1


@running
async def test_progress_is_bounded_however_many_answers_there_are() -> None:
    engine = SimulatedEngine(answers=tuple(map(str, range(60))))
    solution, reports = await streamed("self_consistency:n=60", engine)
    assert len(solution.vote_state.votes) > MAX_VOTES
    assert max(len(report["votes"]) for report in reports) == MAX_VOTES
